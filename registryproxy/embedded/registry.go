package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the only driver
	"go.uber.org/zap"
)

const (
	// uploadAge is how old an upload must be to count as given up.
	uploadAge = 7 * 24 * time.Hour
	// purgeInterval is how often such uploads are looked for.
	purgeInterval = 24 * time.Hour
)

// registry is the reference registry on one folder, for as long as a config
// uses it.
type registry struct {
	*handlers.App
	root string

	mu     sync.Mutex // guards all following fields
	starts int        // configs that started and did not stop
	cancel context.CancelFunc
	done   chan struct{}
}

// openRegistry makes a registry. It neither reads nor writes the folder, and
// starts no goroutine.
func openRegistry(root string) (r *registry, err error) {
	// The reference registry panics where its config is wrong.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("opening the registry in %s: %v", root, p)
		}
	}()
	config := &configuration.Configuration{
		Version: configuration.CurrentVersion,
		Storage: configuration.Storage{
			"filesystem": {"rootdirectory": root},
			"delete":     {"enabled": true},
			"cache":      {"blobdescriptor": "inmemory"},
			// Ours can be stopped.
			"maintenance": {"uploadpurging": map[any]any{"enabled": false}},
		},
	}
	config.Catalog.MaxEntries = 1000
	useCaddyLog()
	return &registry{App: handlers.NewApp(context.Background(), config), root: root}, nil
}

// Destruct ends the registry with its last config.
func (r *registry) Destruct() error { return r.Shutdown() }

// startPurge removes uploads that were given up, now and once a day, until the
// last config that called it calls stopPurge.
func (r *registry) startPurge(logger *zap.Logger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.starts++; r.starts > 1 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan struct{})
	go func() {
		defer close(r.done)
		r.purge(ctx, logger)
	}()
}

func (r *registry) stopPurge() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.starts--; r.starts == 0 {
		r.cancel()
		<-r.done
	}
}

func (r *registry) purge(ctx context.Context, logger *zap.Logger) {
	ticker := time.NewTicker(purgeInterval)
	defer ticker.Stop()
	for {
		if err := purgeUploads(ctx, r.root, time.Now().Add(-uploadAge), logger); err != nil {
			logger.Warn("removing uploads that were given up failed, will be tried again",
				zap.Duration("in", purgeInterval), zap.Error(err))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// purgeUploads removes the uploads that began before a time.
func purgeUploads(ctx context.Context, root string, before time.Time, logger *zap.Logger) error {
	if _, err := os.Stat(filepath.Join(root, "docker", "registry", "v2", "repositories")); errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was pushed yet
	}
	driver, err := factory.Create(ctx, "filesystem", map[string]any{"rootdirectory": root})
	if err != nil {
		return err
	}
	deleted, errs := storage.PurgeUploads(ctx, driver, before, true)
	if len(deleted) > 0 {
		logger.Info("removed uploads that were given up", zap.Int("uploads", len(deleted)))
	}
	if len(errs) > 0 && ctx.Err() == nil {
		return errs[0]
	}
	return nil
}

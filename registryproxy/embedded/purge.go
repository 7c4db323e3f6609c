package embedded

import (
	"context"
	"errors"
	"time"

	"github.com/distribution/distribution/v3/registry/storage"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"go.uber.org/zap"
)

const (
	// uploadAge is how old an upload must be to count as given up.
	uploadAge = 7 * 24 * time.Hour
	// purgeInterval is how often such uploads are looked for.
	purgeInterval = 24 * time.Hour
)

// startPurge removes uploads that were given up, now and once a day, until the
// last config that called it calls stopPurge.
func (r *registry) startPurge() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.starts++; r.starts > 1 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r.cancel, r.done = cancel, done
	go func() {
		defer close(done)
		r.purge(ctx)
	}()
}

// stopPurge waits, where it ends the goroutine. It waits without the mutex:
// the Start of a config must not wait for a Stop.
func (r *registry) stopPurge() {
	r.mu.Lock()
	r.starts--
	last, cancel, done := r.starts == 0, r.cancel, r.done
	r.mu.Unlock()
	if last {
		cancel()
		<-done
	}
}

func (r *registry) purge(ctx context.Context) {
	ticker := time.NewTicker(purgeInterval)
	defer ticker.Stop()
	for {
		if err := purgeUploads(ctx, r.driver, time.Now().Add(-uploadAge)); err != nil {
			currentLogger().Warn("removing uploads that were given up failed, will be tried again",
				zap.Duration("in", purgeInterval), zap.Error(err))
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// purgeUploads removes the uploads that began before a time. It ends early,
// and without an error, when ctx is done.
func purgeUploads(ctx context.Context, driver storagedriver.StorageDriver, before time.Time) error {
	var notFound storagedriver.PathNotFoundError
	if _, err := driver.Stat(ctx, "/docker/registry/v2/repositories"); errors.As(err, &notFound) {
		return nil // nothing was pushed yet
	}
	deleted, errs := storage.PurgeUploads(ctx, stoppable{driver}, before, true)
	if len(deleted) > 0 {
		currentLogger().Info("removed uploads that were given up", zap.Int("uploads", len(deleted)))
	}
	if len(errs) > 0 && ctx.Err() == nil {
		return errs[0]
	}
	return nil
}

// stoppable is a storage driver for storage.PurgeUploads, which walks through
// all repositories and then deletes: both end when the context is done, at
// which neither that function nor the filesystem driver looks.
type stoppable struct{ storagedriver.StorageDriver }

// Walk calls f for each file and folder until ctx is done. It leaves the walk
// to the driver: storagedriver.WalkFallback on a wrapped one would stop at
// names that the registry doesn't use itself, such as a NAS's @eaDir.
func (s stoppable) Walk(ctx context.Context, path string, f storagedriver.WalkFn, options ...func(*storagedriver.WalkOptions)) error {
	return s.StorageDriver.Walk(ctx, path, func(info storagedriver.FileInfo) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return f(info)
	}, options...)
}

// Delete deletes what is at path, unless ctx is done.
func (s stoppable) Delete(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.StorageDriver.Delete(ctx, path)
}

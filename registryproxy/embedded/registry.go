package embedded

import (
	"context"
	"fmt"
	"sync"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the only driver
)

// registries holds the registry of each folder that a config of this process
// named.
//
// An upload that began before a reload goes on after it only with the same
// registry, since its state is signed with a secret of the registry. And a
// registry is kept even after its last config, unlike in a caddy.UsagePool,
// because it can't be closed: handlers.NewApp starts a goroutine (the
// broadcaster of its events) that its Shutdown does not end. So there is one
// such goroutine per folder and not one per reload.
var registries = registryPool{byRoot: make(map[string]*registry)}

// registryPool opens one registry per folder and keeps it as long as the
// process lives.
type registryPool struct {
	mu     sync.Mutex // guards all following fields
	byRoot map[string]*registry
}

func (p *registryPool) get(root string) (*registry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r, ok := p.byRoot[root]; ok {
		return r, nil
	}
	r, err := openRegistry(root)
	if err != nil {
		return nil, err
	}
	p.byRoot[root] = r
	return r, nil
}

// registry is the reference registry on one folder.
type registry struct {
	*handlers.App
	driver storagedriver.StorageDriver // of the same folder, for the purge

	mu     sync.Mutex // guards all following fields
	starts int        // configs that started and did not stop
	cancel context.CancelFunc
	done   chan struct{}
}

// openRegistry makes a registry. It neither reads nor writes the folder. The
// registry can't be closed; see [registries].
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
	driver, err := filesystem.FromParameters(map[string]any{"rootdirectory": root})
	if err != nil {
		return nil, fmt.Errorf("opening the registry in %s: %w", root, err)
	}
	useCaddyLog()
	return &registry{App: handlers.NewApp(context.Background(), config), driver: driver}, nil
}

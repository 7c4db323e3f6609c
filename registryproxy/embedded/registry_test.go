package embedded

import (
	"path/filepath"
	"sync"
	"testing"
)

// TestRegistryPool guards that a reload does not open a folder's registry
// again: the new one would refuse the uploads that the old one began, and the
// old one's goroutine would stay.
func TestRegistryPool(t *testing.T) {
	pool := registryPool{byRoot: make(map[string]*registry)}
	root := t.TempDir()
	got := make([]*registry, 4)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = pool.get(root); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, r := range got {
		if r == nil || r != got[0] {
			t.Fatalf("registries of one folder: %p", got)
		}
	}
	other, err := pool.get(filepath.Join(root, "other"))
	if err != nil || other == got[0] {
		t.Errorf("another folder has the same registry (%v)", err)
	}
}

package embedded

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	storagedriver "github.com/distribution/distribution/v3/registry/storage/driver"
)

// beginUpload begins an upload and returns its file that says when.
func beginUpload(t *testing.T, r *registry, root, repository string) string {
	t.Helper()
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil))
	if w.Code != http.StatusAccepted {
		t.Fatalf("beginning an upload: %d %s", w.Code, w.Body)
	}
	found, err := filepath.Glob(filepath.Join(root, "docker/registry/v2/repositories", repository, "_uploads/*/startedat"))
	if err != nil || len(found) != 1 {
		t.Fatalf("uploads: %v (%v)", found, err)
	}
	return found[0]
}

// TestPurge removes uploads that were given up, and leaves those that go on. A
// file that the registry would not make itself is no obstacle.
func TestPurge(t *testing.T) {
	root := t.TempDir()
	r, err := openRegistry(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := purgeUploads(t.Context(), r.driver, time.Now()); err != nil {
		t.Errorf("in an empty folder: %v", err)
	}
	old, young := beginUpload(t, r, root, "old"), beginUpload(t, r, root, "young")
	weekAgo := time.Now().Add(-uploadAge - time.Hour).UTC().Format(time.RFC3339)
	if err := os.WriteFile(old, []byte(weekAgo), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "docker/registry/v2/repositories/@eaDir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := purgeUploads(t.Context(), r.driver, time.Now().Add(-uploadAge)); err != nil {
		t.Fatal(err)
	}
	if exists(old) {
		t.Error("the old upload is still there")
	}
	if !exists(young) {
		t.Error("the young upload is gone with it")
	}
}

// watchedDriver calls functions before it lists and after it deletes.
type watchedDriver struct {
	storagedriver.StorageDriver
	beforeList, afterDelete func()
}

func (d *watchedDriver) List(ctx context.Context, path string) ([]string, error) {
	d.beforeList()
	return d.StorageDriver.List(ctx, path)
}

func (d *watchedDriver) Delete(ctx context.Context, path string) error {
	defer d.afterDelete()
	return d.StorageDriver.Delete(ctx, path)
}

// Walk is the filesystem driver's, through our List.
func (d *watchedDriver) Walk(ctx context.Context, path string, f storagedriver.WalkFn, options ...func(*storagedriver.WalkOptions)) error {
	return storagedriver.WalkFallback(ctx, d, path, f, options...)
}

// TestPurgeStops guards that stopping Caddy does not wait until all of a large
// tree is walked, or all that was found in it is deleted.
func TestPurgeStops(t *testing.T) {
	for _, tc := range []struct {
		name          string
		cancelAtList  int // 0: at the first deletion
		deletes, left int
	}{
		{"in the walk", 2, 0, 3},
		{"between deletions", 0, 1, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			r, err := openRegistry(root)
			if err != nil {
				t.Fatal(err)
			}
			uploads := []string{beginUpload(t, r, root, "a"), beginUpload(t, r, root, "b"), beginUpload(t, r, root, "c")}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			lists, deletes := 0, 0
			driver := &watchedDriver{
				StorageDriver: r.driver,
				beforeList: func() {
					if lists++; lists == tc.cancelAtList {
						cancel()
					}
				},
				afterDelete: func() {
					deletes++
					cancel()
				},
			}
			if err := purgeUploads(ctx, driver, time.Now().Add(time.Hour)); err != nil {
				t.Errorf("being stopped counts as a failure: %v", err)
			}
			left := 0
			for _, upload := range uploads {
				if exists(upload) {
					left++
				}
			}
			if deletes != tc.deletes || left != tc.left {
				t.Errorf("%d deletions, %d uploads left; want %d, %d", deletes, left, tc.deletes, tc.left)
			}
			if tc.cancelAtList != 0 && lists != tc.cancelAtList {
				t.Errorf("%d folders listed, want %d", lists, tc.cancelAtList)
			}
		})
	}
}

// TestPurgeEnds: the last config that stops ends the goroutine, and waits. The
// next config to start, with the same registry, begins anew.
func TestPurgeEnds(t *testing.T) {
	r, err := openRegistry(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.startPurge()
		r.startPurge() // a reload: the new config starts before the old one stops
		r.stopPurge()
		select {
		case <-r.done:
			t.Error("ended while a config uses it")
		default:
		}
		r.stopPurge()
		select {
		case <-r.done:
		default:
			t.Error("not ended, or not waited for")
		}
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

package embedded

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
)

// TestPurge removes uploads that were given up, and leaves those that go on.
func TestPurge(t *testing.T) {
	root := t.TempDir()
	r, err := openRegistry(root)
	if err != nil {
		t.Fatal(err)
	}
	if err := purgeUploads(t.Context(), root, time.Now(), zap.NewNop()); err != nil {
		t.Errorf("in an empty folder: %v", err)
	}
	begin := func(repository string) {
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil))
		if w.Code != http.StatusAccepted {
			t.Fatalf("beginning an upload: %d %s", w.Code, w.Body)
		}
	}
	begin("old")
	begin("young")
	uploads := func(repository string) []string {
		found, err := filepath.Glob(filepath.Join(root, "docker/registry/v2/repositories", repository, "_uploads/*/startedat"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	old := uploads("old")
	if len(old) != 1 {
		t.Fatalf("uploads: %v", old)
	}
	weekAgo := time.Now().Add(-uploadAge - time.Hour).UTC().Format(time.RFC3339)
	if err := os.WriteFile(old[0], []byte(weekAgo), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := purgeUploads(t.Context(), root, time.Now().Add(-uploadAge), zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	if left := uploads("old"); len(left) != 0 {
		t.Errorf("still there: %v", left)
	}
	if left := uploads("young"); len(left) != 1 {
		t.Errorf("gone with it: %v", left)
	}
}

// TestPurgeEnds: the last config that stops ends the goroutine, and waits.
func TestPurgeEnds(t *testing.T) {
	r, err := openRegistry(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r.startPurge(zap.NewNop())
	r.startPurge(zap.NewNop())
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

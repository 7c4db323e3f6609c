package embedded

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	specs "github.com/opencontainers/distribution-spec/specs-go/v1"
	"go.uber.org/zap"
)

const repositories = "docker/registry/v2/repositories"

// newHandler returns a handler as Provision leaves it.
func newHandler(t *testing.T, root string) *Handler {
	t.Helper()
	r, err := openRegistry(root)
	if err != nil {
		t.Fatal(err)
	}
	return &Handler{Root: root, registry: r, logger: zap.NewNop()}
}

func serve(t *testing.T, h *Handler, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := h.ServeHTTP(w, httptest.NewRequest(method, path, nil), nil); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestStorageErrors puts a plain file where a folder must be, which stops root,
// too. The client learns what is wrong and no path of this machine.
func TestStorageErrors(t *testing.T) {
	const uploads = "/v2/app/blobs/uploads/"
	for _, tc := range []struct {
		name, file   string // below a folder whose folder "root" is the registry's
		method, path string
		message      string
	}{
		{"write, root", "root", http.MethodPost, uploads,
			"the registry can't write to its storage: not a directory"},
		{"write, repositories", "root/" + repositories, http.MethodPost, uploads,
			"the registry can't write to its storage: not a directory"},
		{"write, above blobs", "root/docker/registry", http.MethodPost, uploads,
			"the registry can't write to its storage: not a directory"},
		{"write, one repository", "root/" + repositories + "/app", http.MethodPost, uploads,
			"the registry failed; its operator's log says why"},
		{"delete, one repository", "root/" + repositories + "/app", http.MethodDelete, "/v2/app/manifests/v1",
			"the registry failed; its operator's log says why"},
		{"read, repositories", "root/" + repositories, http.MethodGet, "/v2/_catalog",
			"the registry failed; its operator's log says why"},
		{"read, one repository", "root/" + repositories + "/app", http.MethodGet, "/v2/app/tags/list",
			"the registry failed; its operator's log says why"},
		{"read, manifest", "root/" + repositories + "/app", http.MethodGet, "/v2/app/manifests/v1",
			"the registry failed; its operator's log says why"},
		{"read, no body", "root/" + repositories + "/app", http.MethodHead, "/v2/app/manifests/v1", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, filepath.FromSlash(tc.file))
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			w := serve(t, newHandler(t, filepath.Join(dir, "root")), tc.method, tc.path)
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
				t.Errorf("%d, Retry-After %q, want 503", w.Code, w.Header().Get("Retry-After"))
			}
			if strings.Contains(w.Body.String(), dir) {
				t.Errorf("the answer names a path of this machine: %s", w.Body)
			}
			if tc.message == "" {
				if w.Body.Len() != 0 {
					t.Errorf("a body: %s", w.Body)
				}
				return
			}
			var body specs.ErrorResponse
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || len(body.Errors) != 1 {
				t.Fatalf("not one OCI error: %s (%v)", w.Body, err)
			}
			if e := body.Errors[0]; e.Code != "UNAVAILABLE" || e.Message != tc.message || e.Detail != "" {
				t.Errorf("got %+v, want %q", e, tc.message)
			}
			noProbe(t, dir)
		})
	}
}

// TestStorageErrorLate: an error after the answer began is no part of it.
func TestStorageErrorLate(t *testing.T) {
	recorder := httptest.NewRecorder()
	w := &storageErrors{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: recorder},
		handler:               newHandler(t, t.TempDir()),
		request:               httptest.NewRequest(http.MethodGet, "/v2/app/blobs/x", nil),
	}
	for _, step := range []func() error{
		func() error { _, err := w.Write([]byte("half of a blob")); return err },
		func() error { w.WriteHeader(http.StatusInternalServerError); return nil },
		func() error { _, err := w.Write([]byte(`{"errors":[{"detail":"/a/path"}]}`)); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	if recorder.Code != http.StatusOK || recorder.Body.String() != "half of a blob" {
		t.Errorf("%d %s", recorder.Code, recorder.Body)
	}
}

// TestProbe: a probe leaves nothing behind, and the registry doesn't mind one
// that it meets.
func TestProbe(t *testing.T) {
	root := t.TempDir()
	h := newHandler(t, root)
	beginUpload(t, h.registry, root, "app")
	blobs := filepath.Join(root, "docker/registry/v2/blobs")
	for _, dir := range []string{blobs, filepath.Join(root, repositories, "app/_manifests")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := unwritable(root); err != nil {
		t.Fatal(err)
	}
	noProbe(t, root)

	for _, dir := range []string{root, blobs, filepath.Join(root, repositories)} {
		if err := os.WriteFile(filepath.Join(dir, ".probe-1"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if w := serve(t, h, http.MethodGet, "/v2/_catalog"); w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"repositories":["app"]}` {
		t.Errorf("catalog: %d %s", w.Code, w.Body)
	}
	if err := purgeUploads(t.Context(), h.registry.driver, time.Now()); err != nil {
		t.Errorf("purge: %v", err)
	}
}

func noProbe(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), ".probe") {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

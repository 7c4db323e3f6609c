package blobs_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestCutShort: a file that is shorter than it was when its answer began, as a
// broken disk may have it, ends the answer in a way that the client notices.
func TestCutShort(t *testing.T) {
	h := newHouse(t)
	sum := h.pushBlob(t, "app", []byte("blob"))
	data := filepath.Join(h.dir, "docker/registry/v2/blobs/sha256", sum[7:9], sum[7:], "data")
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP %d", version), func(t *testing.T) {
			// More than there is room for on the way.
			if err := os.Truncate(data, 256<<20); err != nil {
				t.Fatal(err)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL("/v2/app/blobs/"+sum), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth("a", "b")
			resp, err := h.ClientOf(t, version).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.ProtoMajor != version || resp.ContentLength != 256<<20 {
				t.Fatalf("%s %s, %d bytes", resp.Proto, resp.Status, resp.ContentLength)
			}
			if err := os.Truncate(data, 1<<20); err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, resp.Body); err == nil {
				t.Errorf("the client takes %d bytes for the whole", n)
			}
		})
	}
}

// TestConcurrent pushes, pulls and deletes the same blobs from several sides
// at once. A pull gets the whole blob or none; and once nobody writes, ours
// and the registry's answers are the same.
func TestConcurrent(t *testing.T) {
	h := newHouse(t)
	const size = 300_000
	var contents [3][]byte
	paths := make(map[string]string)
	for i := range contents {
		contents[i] = make([]byte, size)
		_, _ = rand.Read(contents[i])
		sum := digest.FromBytes(contents[i]).String()
		paths["/v2/app/blobs/"+sum] = sum
	}
	writers, readers := new(sync.WaitGroup), new(sync.WaitGroup)
	done := make(chan struct{})
	for _, content := range contents {
		writers.Go(func() {
			path := "/v2/app/blobs/" + digest.FromBytes(content).String()
			for range 10 {
				h.pushBlob(t, "app", content)
				// Another push may be at work on it: whatever comes of it.
				h.send(t, http.DefaultClient, "http://"+h.registry, request{method: http.MethodDelete, path: path})
			}
		})
	}
	for path, sum := range paths {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				got := h.send(t, h.Client, "https://"+h.Host, request{method: http.MethodGet, path: path})
				if got.Status == http.StatusOK && digest.FromString(got.Body).String() != sum {
					t.Errorf("%d bytes that are not the blob", len(got.Body))
				}
				// The registry has a 500 for a blob that is deleted while it opens it.
				none := got.Status == http.StatusNotFound ||
					got.Status == http.StatusInternalServerError && strings.Contains(got.Body, `"detail":"unknown blob"`)
				if got.Status != http.StatusOK && !none {
					t.Errorf("%d %s", got.Status, got.Body)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	for path := range paths {
		h.check(t, request{method: http.MethodGet, path: path}, false)
	}
	for _, content := range contents {
		sum := h.pushBlob(t, "app", content)
		h.check(t, request{method: http.MethodGet, path: "/v2/app/blobs/" + sum}, true)
	}
}

// TestGarbageCollection: what the registry's own garbage collection takes away
// is gone for us, too; what it keeps is not.
func TestGarbageCollection(t *testing.T) {
	h := newHouse(t)
	c := h.push(t)
	for _, path := range []string{c.blob, c.other} {
		h.check(t, request{method: http.MethodGet, path: path}, true)
	}
	// No manifest names this one, and so it is garbage.
	lone := "/v2/app/blobs/" + h.pushBlob(t, "app", []byte("of no image"))
	h.check(t, request{method: http.MethodGet, path: lone}, true)

	config := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "version: 0.1\nstorage:\n  filesystem: {rootdirectory: %q}\n", h.dir), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), testenv.Program(t, "registry"), "garbage-collect", config)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("garbage-collect: %v\n%s", err, out)
	}
	h.check(t, request{method: http.MethodGet, path: lone}, false)
	for _, path := range []string{c.blob, c.other} {
		h.check(t, request{method: http.MethodGet, path: path}, true)
	}
}

// TestRemount: another folder in the place of the first counts from the next
// request on, and without one the registry serves all.
func TestRemount(t *testing.T) {
	h := newHouse(t)
	content := bytes.Repeat([]byte("blob"), 1000)
	path := "/v2/app/blobs/" + h.pushBlob(t, "app", content)
	mount := filepath.Join(t.TempDir(), "mount")
	h.load(t, mount) // missing: the config loads
	for _, step := range []struct {
		to         string
		fromFolder bool
	}{{"", false}, {h.dir, true}, {t.TempDir(), false}, {h.dir, true}, {"", false}} {
		if err := os.Remove(mount); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if step.to != "" {
			if err := os.Symlink(step.to, mount); err != nil {
				t.Fatal(err)
			}
		}
		h.check(t, request{method: http.MethodGet, path: path}, step.fromFolder)
	}
}

// TestPlaceholder: the folder may come from the environment.
func TestPlaceholder(t *testing.T) {
	h := newHouse(t)
	t.Setenv("TEST_REGISTRY_DIR", h.dir)
	path := "/v2/app/blobs/" + h.pushBlob(t, "app", []byte("blob"))
	h.load(t, "{env.TEST_REGISTRY_DIR}")
	h.check(t, request{method: http.MethodGet, path: path}, true)
	if status := anonymous(t, h, path); status != http.StatusUnauthorized {
		t.Errorf("without a login: %d", status)
	}
}

// anonymous asks for a path without a login.
func anonymous(t *testing.T, h *house, path string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := h.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestBrokenManifest: a manifest that is half written, as older registries may
// leave it, or that is not the one that its digest names, is left to the
// registry, which may think what it likes of it.
func TestBrokenManifest(t *testing.T) {
	h := newHouse(t)
	path := h.push(t).manifests[ociManifest]
	get := request{http.MethodGet, path, header("Accept", ociManifest)}
	h.check(t, get, true)
	_, sum, _ := strings.Cut(path, "sha256:")
	data := filepath.Join(h.dir, "docker/registry/v2/blobs/sha256", sum[:2], sum, "data")
	content, err := os.ReadFile(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range [][]byte{content[:len(content)/2], append(bytes.Clone(content), '\n'), nil} {
		if err := os.WriteFile(data, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		h.check(t, get, false)
	}
	if err := os.WriteFile(data, content, 0o600); err != nil {
		t.Fatal(err)
	}
	h.check(t, get, true)
}

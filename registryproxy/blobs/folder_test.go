package blobs

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/opencontainers/go-digest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/access"
)

const testBlob = "the content of a blob"

// volume is a folder with one blob, that the repository app links.
type volume struct{ dir, link, data string }

func newVolume(t *testing.T) volume {
	t.Helper()
	v := volume{dir: t.TempDir()}
	c := access.Content{Repository: "app", Digest: digest.FromString(testBlob).String()}
	v.link = filepath.Join(v.dir, "docker/registry/v2", linkPath(c))
	v.data = filepath.Join(v.dir, "docker/registry/v2", dataPath(c.Digest))
	v.write(t, v.link, c.Digest)
	v.write(t, v.data, testBlob)
	return v
}

func (v volume) write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newTestHandler(dir string) (*Handler, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return &Handler{folder: &folder{path: dir, logger: zap.New(core)}}, logs
}

var errRegistry = errors.New("the registry was asked")

// get asks for the blob, and returns its content or errRegistry.
func get(t *testing.T, h *Handler) (string, error) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/v2/app/blobs/"+digest.FromString(testBlob).String(), nil)
	err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return errRegistry }))
	return w.Body.String(), err
}

// TestTampered: what is not as the registry writes it is not served, and
// nothing outside of the folder is read.
func TestTampered(t *testing.T) {
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	outside := newVolume(t)
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, v volume)
	}{
		{"no link", func(t *testing.T, v volume) { must(t, os.Remove(v.link)) }},
		{"empty link", func(t *testing.T, v volume) { v.write(t, v.link, "") }},
		{"half of a link", func(t *testing.T, v volume) { v.write(t, v.link, digest.FromString(testBlob).String()[:40]) }},
		{"link and more", func(t *testing.T, v volume) { v.write(t, v.link, digest.FromString(testBlob).String()+"\n") }},
		{"link to other content", func(t *testing.T, v volume) { v.write(t, v.link, digest.FromString("x").String()) }},
		{"link as a path", func(t *testing.T, v volume) { v.write(t, v.link, "../../../../../../../etc/passwd") }},
		{"link is a folder", func(t *testing.T, v volume) { must(t, os.Remove(v.link)); must(t, os.Mkdir(v.link, 0o700)) }},
		{"link is a pipe", func(t *testing.T, v volume) { must(t, os.Remove(v.link)); must(t, syscall.Mkfifo(v.link, 0o600)) }},
		{"no data", func(t *testing.T, v volume) { must(t, os.Remove(v.data)) }},
		{"empty data", func(t *testing.T, v volume) { v.write(t, v.data, "") }},
		{"data is a folder", func(t *testing.T, v volume) { must(t, os.Remove(v.data)); must(t, os.Mkdir(v.data, 0o700)) }},
		{"data is a pipe", func(t *testing.T, v volume) { must(t, os.Remove(v.data)); must(t, syscall.Mkfifo(v.data, 0o600)) }},
		{"data leads out", func(t *testing.T, v volume) {
			must(t, os.Remove(v.data))
			must(t, os.Symlink(outside.data, v.data))
		}},
		{"folder of the data leads out", func(t *testing.T, v volume) {
			must(t, os.RemoveAll(filepath.Dir(v.data)))
			must(t, os.Symlink(filepath.Dir(outside.data), filepath.Dir(v.data)))
		}},
		{"repository leads out", func(t *testing.T, v volume) {
			repository := filepath.Join(v.dir, "docker/registry/v2/repositories/app")
			must(t, os.RemoveAll(repository))
			must(t, os.Symlink(filepath.Join(outside.dir, "docker/registry/v2/repositories/app"), repository))
		}},
		{"all leads out, by a relative link", func(t *testing.T, v volume) {
			to, err := filepath.Rel(v.dir, filepath.Join(outside.dir, "docker"))
			must(t, err)
			must(t, os.RemoveAll(filepath.Join(v.dir, "docker")))
			must(t, os.Symlink(to, filepath.Join(v.dir, "docker")))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := newVolume(t)
			h, _ := newTestHandler(v.dir)
			if body, err := get(t, h); err != nil || body != testBlob {
				t.Fatalf("before: %q %v", body, err)
			}
			tc.change(t, v)
			if body, err := get(t, h); !errors.Is(err, errRegistry) {
				t.Errorf("served %q (%v)", body, err)
			}
		})
	}
}

// TestFolderIsTold: a folder that goes away is told once, and so is its return.
// A folder that is itself a symbolic link is the operator's own.
func TestFolderIsTold(t *testing.T) {
	v := newVolume(t)
	dir := filepath.Join(t.TempDir(), "registry")
	h, logs := newTestHandler(dir)
	step := func(name string, asked bool, want ...string) {
		t.Helper()
		for range 3 {
			if _, err := get(t, h); errors.Is(err, errRegistry) != asked {
				t.Errorf("%s: %v; the registry is to be asked: %t", name, err, asked)
			}
		}
		var got []string
		for _, entry := range logs.TakeAll() {
			got = append(got, entry.Level.String()+" "+entry.Message)
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: the log has %q, want %q", name, got, want)
		}
	}
	const gone = "warn folder of the registry's blobs can't be used; the registry serves them itself"
	const back = "info folder of the registry's blobs can be used"

	step("missing", true, gone)
	if err := os.Symlink(v.dir, dir); err != nil {
		t.Fatal(err)
	}
	step("there", false, back)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	step("gone", true, gone)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	step("empty", true, gone) // another trouble
	if err := os.Rename(filepath.Join(v.dir, "docker"), filepath.Join(dir, "docker")); err != nil {
		t.Fatal(err)
	}
	step("filled", false, back)
}

// TestUnreadable: a file that we may not read is left to the registry, and
// told once.
func TestUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read every file")
	}
	v := newVolume(t)
	if err := os.Chmod(v.data, 0); err != nil {
		t.Fatal(err)
	}
	h, logs := newTestHandler(v.dir)
	for range 3 {
		if _, err := get(t, h); !errors.Is(err, errRegistry) {
			t.Fatal(err)
		}
	}
	if n := logs.FilterLevelExact(zap.WarnLevel).Len(); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
}

// TestProvision: a folder that is missing is no reason to refuse a config, one
// that is not named is.
func TestProvision(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	for root, ok := range map[string]bool{
		"": false, "{env.TEST_NOT_SET}": false,
		"./relative": true, filepath.Join(t.TempDir(), "missing"): true, newVolume(t).dir: true,
	} {
		h := &Handler{Root: root}
		if err := h.Provision(ctx); (err == nil) != ok {
			t.Errorf("%q: %v", root, err)
		} else if ok && !filepath.IsAbs(h.folder.path) {
			t.Errorf("%q became %s", root, h.folder.path)
		}
	}
}

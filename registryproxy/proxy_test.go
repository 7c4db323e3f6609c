package registryproxy_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// upstreams returns, by name, each way to a registry that needs no Docker, as
// an option of the directive.
func upstreams(t *testing.T) map[string]string {
	t.Helper()
	tcp := httptest.NewServer(realRegistry(t))
	t.Cleanup(tcp.Close)

	socket := filepath.Join(t.TempDir(), "registry.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	unix := &httptest.Server{Listener: listener, Config: &http.Server{Handler: realRegistry(t)}}
	unix.Start()
	t.Cleanup(unix.Close)

	return map[string]string{
		"to_tcp":   "to " + strings.TrimPrefix(tcp.URL, "http://"),
		"to_unix":  "to unix/" + socket,
		"embedded": "embedded " + filepath.Join(t.TempDir(), "made", "when", "missing"),
	}
}

// TestPushPullDelete takes an image through its life, by each way to a
// registry: pushed, listed, pulled with its digest verified, deleted.
func TestPushPullDelete(t *testing.T) {
	users := testenv.Users(t, "admin", "secret")
	for way, option := range upstreams(t) {
		t.Run(way, func(t *testing.T) {
			c := testenv.NewCaddy(t)
			c.Load("registry_proxy {\n" + option + "\nhtpasswd " + users + "\n}")

			if status, body := get(t, c, "admin:secret", "/v2/_catalog"); status != 200 || body != `{"repositories":[]}` {
				t.Fatalf("catalog of an empty registry: %d %s", status, body)
			}
			ref := reference(t, c, "team/app:v1")
			options := as(c, "admin", "secret")
			image, err := random.Image(1<<20, 3)
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(ref, image, options...); err != nil {
				t.Fatalf("push: %v", err)
			}
			if tags, err := remote.List(ref.Context(), options...); err != nil || len(tags) != 1 || tags[0] != "v1" {
				t.Fatalf("tags: %v %v", tags, err)
			}
			if status, body := get(t, c, "admin:secret", "/v2/_catalog"); status != 200 || body != `{"repositories":["team/app"]}` {
				t.Fatalf("catalog: %d %s", status, body)
			}
			pulled, err := remote.Image(ref, options...)
			if err != nil {
				t.Fatalf("pull: %v", err)
			}
			layers, err := pulled.Layers()
			if err != nil || len(layers) != 3 {
				t.Fatalf("layers: %d %v", len(layers), err)
			}
			for _, layer := range layers {
				content, err := layer.Compressed() // verifies the digest at the end
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, content); err != nil {
					t.Fatalf("pulling a layer: %v", err)
				}
			}
			digest, err := image.Digest()
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Delete(ref.Context().Digest(digest.String()), options...); err != nil {
				t.Fatalf("delete: %v", err)
			}
			if _, err := remote.Head(ref, options...); !isStatus(err, http.StatusNotFound) {
				t.Fatalf("after its deletion the image answers: %v", err)
			}
		})
	}
}

// TestRules pushes and pulls as users with rules: what they allow works, and
// all else is refused with a sentence that names who may not do what.
func TestRules(t *testing.T) {
	users := testenv.Users(t, "alice", "a", "bob", "b", "carol", "c")
	c := testenv.NewCaddy(t)
	c.Load(`registry_proxy {
		embedded ` + t.TempDir() + `
		htpasswd ` + users + `
		group ci bob
		allow alice pull,push,delete **
		allow @ci pull,push team/**
		allow anonymous pull public/**
	}`)
	image, err := random.Image(1024, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	push := func(user, repository string) error {
		return remote.Write(reference(t, c, repository+":v1"), image, as(c, user, user[:1])...)
	}
	pull := func(user, repository string) error {
		options := as(c, user, user[:min(1, len(user))])
		_, err := remote.Get(reference(t, c, repository+":v1"), options...)
		return err
	}
	remove := func(user, repository string) error {
		return remote.Delete(reference(t, c, repository+":v1").Context().Digest(digest.String()), as(c, user, user[:1])...)
	}
	for _, step := range []struct {
		name   string
		do     func() error
		status int // 0: it works
		says   string
	}{
		{"alice pushes anywhere", func() error { return push("alice", "public/web") }, 0, ""},
		{"alice pushes a secret", func() error { return push("alice", "secret") }, 0, ""},
		{"bob pushes to the team", func() error { return push("bob", "team/app") }, 0, ""},
		{"bob pulls from the team", func() error { return pull("bob", "team/app") }, 0, ""},
		{"bob may not push elsewhere", func() error { return push("bob", "other") }, 403, "HEAD responses have no body"},
		{"bob may not pull a secret", func() error { return pull("bob", "secret") }, 403, "user bob may not pull from secret"},
		{"bob may not delete", func() error { return remove("bob", "team/app") }, 403, "user bob may not delete from team/app"},
		{"carol has only what everybody has", func() error { return pull("carol", "public/web") }, 0, ""},
		{"carol may not pull from the team", func() error { return pull("carol", "team/app") }, 403, "user carol may not pull from team/app"},
		{"alice deletes", func() error { return remove("alice", "team/app") }, 0, ""},
	} {
		err := step.do()
		if step.status == 0 && err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if step.status != 0 && (!isStatus(err, step.status) || !strings.Contains(err.Error(), step.says)) {
			t.Errorf("%s: got %v, want %d %q", step.name, err, step.status, step.says)
		}
	}

	// Clients ask by HEAD before they push; this is what they see if they don't.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL("/v2/other/blobs/uploads/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("bob", "b")
	if status, _, body := do(t, c, req); status != 403 || !strings.Contains(body, `"DENIED","message":"user bob may not push to other"`) {
		t.Errorf("bob begins an upload elsewhere: %d %s", status, body)
	}

	for _, tc := range []struct {
		name, login, path, body string
		status                  int
	}{
		{"the catalog shows what a user may pull", "bob:b", "/v2/_catalog", `{"repositories":["public/web","team/app"]}`, 200},
		{"the catalog without a login", "", "/v2/_catalog", `{"repositories":["public/web"]}`, 200},
		{"the base asks for a login all the same", "", "/v2/", "authentication required", 401},
		{"anonymous pull", "", "/v2/public/web/manifests/v1", "schemaVersion", 200},
		{"anonymous may not pull a secret", "", "/v2/secret/manifests/v1", "authentication required to pull from secret", 401},
		{"wrong credentials are not anonymous", "bob:x", "/v2/public/web/manifests/v1", "wrong user name or password", 401},
	} {
		if status, body := get(t, c, tc.login, tc.path); status != tc.status || !strings.Contains(body, tc.body) {
			t.Errorf("%s: %d %s, want %d with %s", tc.name, status, body, tc.status, tc.body)
		}
	}
}

// TestOtherPaths: only /v2/ is the registry's.
func TestOtherPaths(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("a page"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := testenv.NewCaddy(t)
	c.Load("root " + dir + "\nfile_server\nregistry_proxy {\nembedded " + t.TempDir() + "\nhtpasswd " + testenv.Users(t, "a", "b") + "\n}")
	for path, want := range map[string]int{"/": 200, "/v2x": 404, "/v2": 401, "/v2/": 401, "/v2/anything": 401, "/other/v2/": 404} {
		if status, body := get(t, c, "", path); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
}

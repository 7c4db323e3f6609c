package registryproxy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestAnonymousClients pulls without a login by crane and by curl, and shows
// the documented limit: Docker asks first whether it needs a login, and gives
// up when it has none.
func TestAnonymousClients(t *testing.T) {
	crane, curl := testenv.Program(t, "crane"), testenv.Program(t, "curl")
	c := testenv.NewCaddy(t)
	c.Load(`registry_proxy {
		embedded ` + t.TempDir() + `
		htpasswd ` + testenv.Users(t, "admin", "secret") + `
		allow admin pull,push **
		allow anonymous pull public/**
	}`)
	image, err := random.Image(1024, 2)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, repository := range []string{"public/app", "private/app"} {
		if err := remote.Write(reference(t, c, repository+":v1"), image, as(c, "admin", "secret")...); err != nil {
			t.Fatal(err)
		}
	}
	root := c.RootFile
	dir := t.TempDir()
	run := func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		// No login of the machine's user.
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+root, "SSL_CERT_DIR="+dir, "DOCKER_CONFIG="+dir, "HOME="+dir)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}

	if out, err := run(crane, "pull", c.Host+"/public/app:v1", filepath.Join(dir, "image.tar")); err != nil {
		t.Errorf("crane pulls the public image: %v %s", err, out)
	}
	if out, err := run(crane, "digest", c.Host+"/public/app:v1"); err != nil || out != digest.String() {
		t.Errorf("crane digest: %v %s, want %s", err, out, digest)
	}
	if out, err := run(crane, "pull", c.Host+"/private/app:v1", filepath.Join(dir, "private.tar")); err == nil {
		t.Errorf("crane pulls the private image: %s", out)
	}
	manifest := c.URL("/v2/public/app/manifests/" + digest.String())
	if out, err := run(curl, "--silent", "--show-error", "--fail", "--cacert", root,
		"--header", "Accept: application/vnd.docker.distribution.manifest.v2+json", manifest); err != nil || !strings.Contains(out, "layers") {
		t.Errorf("curl gets the public manifest: %v %s", err, out)
	}

	t.Run("docker", func(t *testing.T) {
		testenv.Docker(t)
		name := c.Host + "/public/app:v1"
		// It says "no basic auth credentials", or, since it then tries plain HTTP
		// with a registry on localhost, what comes of that.
		if out, err := run("docker", "pull", name); err == nil {
			t.Errorf("docker pulls without a login, the README says that it can't: %s", out)
		}
		if out, err := run("docker", "login", "--username", "admin", "--password", "secret", c.Host); err != nil {
			t.Fatalf("docker login: %v %s", err, out)
		}
		// Not a pull: the layers of a random image are no archives.
		if out, err := run("docker", "manifest", "inspect", "--insecure", name); err != nil {
			t.Errorf("docker with a login: %v %s", err, out)
		}
	})
}

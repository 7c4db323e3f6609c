package registryproxy_test

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestDockerEngine lets the real Docker engine log in, push, pull and delete,
// against Caddy in front of a real registry:3 container that only the label
// tells. Then the container comes back with another address, and the next pull
// works with nothing reloaded.
func TestDockerEngine(t *testing.T) {
	container := testenv.StartRegistryContainer(t)
	c := testenv.NewCaddy(t)
	users := testenv.Users(t, "alice", "right", "bob", "b")
	c.Load("registry_proxy {\ndocker {\nlabel " + container.Label + "\n}\nhtpasswd " + users +
		"\nallow alice pull,push,delete **\nallow bob pull public/**\n}")

	// The engine trusts every certificate of localhost.
	config := t.TempDir()
	docker := func(stdin string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "docker", args...)
		cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+config)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(stdin string, args ...string) string {
		t.Helper()
		out, err := docker(stdin, args...)
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	if out, err := docker("wrong", "login", "--username", "alice", "--password-stdin", c.Host); err == nil || !strings.Contains(out, "401 Unauthorized") {
		t.Errorf("login with a wrong password: %v %s", err, out)
	}
	image := c.Host + "/team/app:v1"
	// Nothing else has its layer: without this name the engine has to pull it.
	must(randomTar(t), "import", "-", image)
	// Not the test's context: that has ended by then.
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "--force", image).Run() })

	must("b", "login", "--username", "bob", "--password-stdin", c.Host)
	if out, err := docker("", "push", image); err == nil || !strings.Contains(out, "denied") {
		t.Errorf("bob pushes: %v %s", err, out)
	}
	must("right", "login", "--username", "alice", "--password-stdin", c.Host)
	must("", "push", image)
	remove := func() {
		t.Helper()
		if out := must("", "rmi", image); !strings.Contains(out, "Deleted: sha256:") {
			t.Fatalf("removing the image left its layer: %s", out)
		}
	}
	pull := func() {
		t.Helper()
		remove()
		if out := must("", "pull", image); !strings.Contains(out, "Pull complete") {
			t.Errorf("no layer was pulled: %s", out)
		}
	}
	pull()

	before := container.Address()
	container.Run("stop", container.Name)
	// Another container takes the address meanwhile.
	blocker := container.Name + "-blocker"
	container.Run("run", "--detach", "--name", blocker, "registry:3")
	t.Cleanup(func() { container.Run("rm", "--force", "--volumes", blocker) })
	container.Run("start", container.Name)
	if after := container.Address(); after == before {
		t.Fatalf("the container came back with its old address %s", after)
	}
	pull()

	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, c.URL("/v2/team/app/manifests/v1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("alice", "right")
	if status, _, body := do(t, c, req); status != http.StatusAccepted {
		t.Errorf("deleting the tag: %d %s", status, body)
	}
	remove()
	if out, err := docker("", "pull", image); err == nil || !strings.Contains(out, "not found") && !strings.Contains(out, "unknown") {
		t.Errorf("pulling the deleted tag: %v %s", err, out)
	}
}

// randomTar returns an archive of one file with random bytes.
func randomTar(t *testing.T) string {
	t.Helper()
	content := make([]byte, 300<<10)
	_, _ = rand.Read(content) // never fails
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "random", Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.String()
}

package registryproxy_test

import (
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
	must := func(stdin string, args ...string) {
		t.Helper()
		if out, err := docker(stdin, args...); err != nil {
			t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if out, err := docker("wrong", "login", "--username", "alice", "--password-stdin", c.Host); err == nil || !strings.Contains(out, "401 Unauthorized") {
		t.Errorf("login with a wrong password: %v %s", err, out)
	}
	image := c.Host + "/team/app:v1"
	must("", "tag", "registry:3", image)
	t.Cleanup(func() { _, _ = docker("", "rmi", image) })

	must("b", "login", "--username", "bob", "--password-stdin", c.Host)
	if out, err := docker("", "push", image); err == nil || !strings.Contains(out, "denied") {
		t.Errorf("bob pushes: %v %s", err, out)
	}
	must("right", "login", "--username", "alice", "--password-stdin", c.Host)
	must("", "push", image)
	pull := func() {
		t.Helper()
		must("", "rmi", image)
		must("", "pull", image)
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
	must("", "rmi", image)
	if out, err := docker("", "pull", image); err == nil || !strings.Contains(out, "not found") && !strings.Contains(out, "unknown") {
		t.Errorf("pulling the deleted tag: %v %s", err, out)
	}
	must("", "tag", "registry:3", image)
}

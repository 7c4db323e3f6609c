package testenv

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// StartRegistry runs the registry program with its files in dir until the test
// ends, and returns its address.
func StartRegistry(t testing.TB, dir string) string {
	t.Helper()
	program := Program(t, "registry")
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(FreePort(t)))
	config := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
http: {addr: %q}
`, dir, address), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "serve", config) // ended in Cleanup
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	noOrphan(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	awaitRegistry(t, address)
	return address
}

// awaitRegistry waits until a registry answers at an address.
func awaitRegistry(t testing.TB, address string) {
	t.Helper()
	Eventually(t, "the registry at "+address, func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/v2/", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("answered %s", resp.Status)
		}
		return nil
	})
}

// Container is a registry container on the default bridge.
type Container struct {
	Name  string
	Label string // that no other container has
	t     testing.TB
}

// StartRegistryContainer runs registry:3, without a published port, until the
// test ends.
func StartRegistryContainer(t testing.TB) *Container {
	t.Helper()
	Docker(t, "registry:3")
	id := strings.ToLower(rand.Text()[:8])
	c := &Container{Name: "registry-test-" + id, Label: "registry-test.id=" + id, t: t}
	c.Run("run", "--detach", "--name", c.Name, "--label", c.Label, "--env", "REGISTRY_STORAGE_DELETE_ENABLED=true", "registry:3")
	t.Cleanup(func() { c.Run("rm", "--force", "--volumes", c.Name) })
	awaitRegistry(t, c.Address()+":5000")
	return c
}

// Address returns the container's IPv4 address.
func (c *Container) Address() string {
	c.t.Helper()
	return c.Run("inspect", "--format", `{{(index .NetworkSettings.Networks "bridge").IPAddress}}`, c.Name)
}

// Run runs the docker program, and returns what it prints.
func (c *Container) Run(args ...string) string {
	c.t.Helper()
	// Not the test's context: that has ended when things are removed.
	out, err := exec.CommandContext(context.WithoutCancel(c.t.Context()), "docker", args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

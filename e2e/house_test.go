//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

const (
	name  = "example.synology.me" // as the fake of the service has it
	site  = name + ":5002"
	login = "testuser:testpass"

	// houseImage is Caddy's image, in which the world trusts the house's authorities.
	houseImage = "caddy-of-the-house"
)

// inHouse runs a test in a network of its own, if it can have a house there.
func inHouse(t *testing.T) bool {
	t.Helper()
	testenv.Time(t)
	testenv.Root(t)
	t.Parallel()
	return testenv.Namespace(t)
}

// soon is how long to wait for what takes seconds on a machine that is idle.
const soon = 2 * time.Minute

// house is all machines, and a checkout on the NAS.
type house struct {
	t testing.TB
	*internet
	router      *router
	nas, client *engine

	checkout string
	composer []string // Compose, 1.29 or 2
	address  netip.Addr
}

// newHouse builds a house in which all machines run, but nothing is deployed yet.
// It must be in a namespace of its own ([testenv.Namespace]).
func newHouse(t testing.TB, validity int) *house {
	t.Helper()
	pictures := saveImages(t)
	h := &house{t: t, internet: newInternet(t, validity), composer: composer(t)}
	h.router = newRouter(t)
	nas := newMachine(t, "nas", resolver4, h.roots)
	client := newMachine(t, "client", resolver6, h.roots)
	h.router.plug(nas, 2)
	h.router.plug(client, 3)
	h.router.advertise(firstPrefix)
	h.nas = newEngine(nas)
	// It runs no container, so it changes no rule of its machine.
	h.client = newEngine(client, "--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false")
	h.nas.load(pictures.registry)
	h.client.load(pictures.registry)
	h.checkout = h.clone()
	h.nas.loadCaddy(pictures, h.roots)
	h.env("CADDY_IMAGE="+houseImage, "REGISTRY_DOMAIN="+name)
	h.address = nas.awaitAddress(firstPrefix)
	client.awaitAddress(firstPrefix)
	return h
}

// composer returns how Compose is called here.
func composer(t testing.TB) []string {
	t.Helper()
	if exec.CommandContext(t.Context(), "docker", "compose", "version").Run() == nil {
		return []string{"docker", "compose"}
	}
	if _, err := exec.LookPath("docker-compose"); err != nil {
		testenv.Missing(t, testenv.NeedDocker, err.Error())
	}
	return []string{"docker-compose"}
}

// clone copies what a NAS needs of the checkout.
func (h *house) clone() string {
	h.t.Helper()
	dir := filepath.Join(h.nas.dir, "caddy-nas-registry")
	if err := os.Mkdir(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	cp := exec.CommandContext(h.t.Context(), "sh", "-c",
		`cp -r --parents -t "$1" compose*.yaml .env.example caddyfiles dnssynology/credentials.sh`, "sh", dir)
	cp.Dir = ".."
	if out, err := cp.CombinedOutput(); err != nil {
		h.t.Fatalf("copying the checkout: %v\n%s", err, out)
	}
	return dir
}

// env adds lines to .env.
func (h *house) env(lines ...string) {
	h.t.Helper()
	file, err := os.OpenFile(filepath.Join(h.checkout, ".env"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		h.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		h.t.Fatal(err)
	}
}

// keep writes a file that only root may read, below the checkout.
func (h *house) keep(name string, content []byte) {
	h.t.Helper()
	file := filepath.Join(h.checkout, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// edit replaces a text in one of the Caddyfiles, which must be there once.
func (h *house) edit(name, before, after string) {
	h.t.Helper()
	file := filepath.Join(h.checkout, "caddyfiles", name)
	content, err := os.ReadFile(file)
	if err != nil {
		h.t.Fatal(err)
	}
	if n := strings.Count(string(content), before); n != 1 {
		h.t.Fatalf("%q is %d times in %s", before, n, name)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(content), before, after, 1)), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// signal sends a signal to a container's first process.
func (h *house) signal(service, signal string) {
	h.t.Helper()
	h.nas.run("kill", "-"+signal, h.pid(service))
}

// pid is that of a container's first process, on the NAS.
func (h *house) pid(service string) string {
	h.t.Helper()
	pid := h.nas.run("docker", "inspect", "--format", "{{.State.Pid}}", h.container(service))
	if pid == "0" {
		h.t.Fatalf("%s does not run", service)
	}
	return pid
}

// reload reloads Caddy as the README has it; forced, since a config that is the same
// is not loaded again.
func (h *house) reload() {
	h.t.Helper()
	h.compose("exec", "-T", "caddy", "sh", "-c", "caddy reload --force --config /etc/caddy/$CADDYFILE")
}

// network is that of the registry's container.
func (h *house) network() string {
	h.t.Helper()
	return h.nas.run("docker", "network", "ls", "--quiet", "--filter", "name=caddy-nas-registry_default")
}

// tryCompose runs Compose on the NAS.
func (h *house) tryCompose(input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ended(h.t), patience)
	defer cancel()
	cmd := h.nas.command(ctx, h.checkout, nil, append(h.composer, args...)...)
	cmd.Stdin = strings.NewReader(input)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("compose %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), problems.String())
	}
	return out.String(), nil
}

// compose is tryCompose for what must succeed.
func (h *house) compose(args ...string) string {
	h.t.Helper()
	out, err := h.tryCompose("", args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// up starts the containers and makes the user of the article. Their logs are shown
// if the test fails.
func (h *house) up() {
	h.t.Helper()
	h.t.Cleanup(func() {
		if h.t.Failed() {
			out, err := h.tryCompose("", "logs", "--no-color", "--tail=60")
			h.t.Logf("the containers' logs:\n%s %v", out, err)
		}
		if _, err := h.tryCompose("", "down", "--volumes", "--timeout", "5"); err != nil {
			h.t.Error(err)
		}
	})
	h.compose("up", "-d")
	user, password, _ := strings.Cut(login, ":")
	testenv.EventuallyWithin(h.t, "registry-passwd", soon, func() error {
		_, err := h.tryCompose(password+"\n", "exec", "-T", "caddy", "caddy", "registry-passwd", "--file", "/auth/htpasswd", user)
		return err
	})
}

// curl runs curl on the client, which is told about nothing.
func (h *house) curl(args ...string) (string, error) {
	return h.client.try(append([]string{"curl", "--silent", "--show-error", "--max-time", "10"}, args...)...)
}

// catalog is the article's line.
func (h *house) catalog() (string, error) {
	return h.curl("https://" + login + "@" + site + "/v2/_catalog")
}

// reachable waits until the client reaches the registry at an address.
func (h *house) reachable(at netip.Addr) {
	h.t.Helper()
	testenv.EventuallyWithin(h.t, "the registry at "+at.String(), soon, func() error {
		got, err := h.curl("--output", "/dev/null", "--write-out", "%{http_code} %{remote_ip}", "--user", login, "https://"+site+"/v2/")
		if want := "200 " + at.String(); err == nil && got != want {
			err = errors.New(got + " instead of " + want)
		}
		return err
	})
}

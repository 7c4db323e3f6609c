package doctor

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/docker"
)

// says tells what of a finding is not as it must be: its status, and what its
// lines and its advice hold, in which * stands for any of both.
func says(t *testing.T, got Finding, status Status, seen, advice string) {
	t.Helper()
	if got.Status != status || !strings.Contains(strings.Join(got.Seen, "\n"), seen) ||
		!strings.Contains(got.Advice, advice) || (advice == "") != (got.Advice == "") {
		t.Errorf("got  %s %q, advice %q\nwant %s %q, advice %q", got.Status, got.Seen, got.Advice, status, seen, advice)
	}
}

// inDocker is a patient whose registry is a container.
func inDocker(t *testing.T, u docker.Upstreams) *patient {
	t.Helper()
	raw, err := json.Marshal(u)
	if err != nil {
		t.Fatal(err)
	}
	return &patient{setup: &setup{docker: raw, names: []string{"reg.example.com"}, port: "5002"}}
}

// engineHost is where the docker program finds the engine.
func engineHost(c *testenv.Container) string {
	return c.Run("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
}

// behindCaddy makes the checks from Docker to the registry.
func behindCaddy(t *testing.T, p *patient) map[string]Result {
	t.Helper()
	var some []check
	for _, c := range checks {
		if slices.Contains([]string{"docker", "container", "registry"}, c.id) {
			some = append(some, c)
		}
	}
	p.upstream = ""
	made := make(map[string]Result)
	examine(t.Context(), p, append([]check{{id: "config", look: func(context.Context, *patient) Finding { return ok() }}}, some...),
		func(r Result) { made[r.ID] = r })
	return made
}

// TestContainer walks a container on the real engine through its states.
func TestContainer(t *testing.T) {
	c := testenv.StartRegistryContainer(t)
	host := engineHost(c)
	p := inDocker(t, docker.Upstreams{Label: c.Label, Host: host})

	got := behindCaddy(t, p)
	says(t, got["docker"].Finding, OK, "Docker "+c.Run("version", "--format", "{{.Server.Version}}")+", API "+
		c.Run("version", "--format", "{{.Server.APIVersion}}")+", at "+host, "")
	says(t, got["container"].Finding, OK, c.Name+" runs, at "+c.Address()+":5000 in the network bridge", "")
	says(t, got["registry"].Finding, OK, "http://"+c.Address()+":5000 answers in ", "")
	if p.upstream != c.Address()+":5000" {
		t.Errorf("the upstream is %q", p.upstream)
	}

	broken := func(seen, advice string) {
		t.Helper()
		got := behindCaddy(t, p)
		says(t, got["docker"].Finding, OK, "Docker ", "")
		says(t, got["container"].Finding, Wrong, seen, advice)
		says(t, got["registry"].Finding, Unknown, `mend "Container" first`, "")
		if got["registry"].Cause != "container" || p.upstream != "" {
			t.Errorf("the cause is %q, the upstream %q", got["registry"].Cause, p.upstream)
		}
	}
	c.Run("pause", c.Name)
	broken(c.Name+" is paused", "docker unpause "+c.Name)
	c.Run("unpause", c.Name)
	c.Run("kill", c.Name)
	broken(c.Name+" is stopped (exit 137, just now)", "docker start "+c.Name)
	c.Run("start", c.Name)
	says(t, behindCaddy(t, p)["container"].Finding, OK, c.Name+" runs", "")

	p = inDocker(t, docker.Upstreams{Label: c.Label + "x", Host: host})
	broken("there is no container with the label "+c.Label+"x", "docker compose up -d registry")
	p = inDocker(t, docker.Upstreams{Name: c.Name, Network: "elsewhere", Host: host})
	broken("is not on the network elsewhere (it is on bridge)", "option network")

	p = inDocker(t, docker.Upstreams{Name: c.Name, Port: "5099", Host: host})
	got = behindCaddy(t, p)
	says(t, got["container"].Finding, OK, ":5099", "")
	says(t, got["registry"].Finding, Wrong, "refuses the connection", "option port")
}

// TestNoDocker: each way in which Docker's API may fail is told apart, and nothing
// after it is looked at.
func TestNoDocker(t *testing.T) {
	dir, err := os.MkdirTemp("", "doctor") // t.TempDir is often too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listen := func(name string) *net.UnixListener {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.(*net.UnixListener)
	}
	listen("hanging")
	dead := listen("dead")
	dead.SetUnlinkOnClose(false)
	dead.Close()

	for _, test := range []struct {
		name, host   string
		seen, advice string
	}{
		{"no socket", "unix://" + dir + "/none", "there is no such socket", "mounts " + dir + "/none"},
		{"nobody listens", "unix://" + dir + "/dead", "nobody listens", "--force-recreate caddy"},
		{"it hangs", "unix://" + dir + "/hanging", "no answer in time", "docker ps"},
		{"a folder", "unix://" + dir, "that is a directory", "Start Docker"},
		{"nothing at a port", "tcp://" + net.JoinHostPort("127.0.0.1", closedPort(t)), "nothing listens on that port", "option host"},
		{"not a host", "docker", `"docker" is not a URL`, "Correct the block docker"},
		{"a placeholder", "{env.NOT_THERE_AT_ALL}", "host: ", "Correct the block docker"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := inDocker(t, docker.Upstreams{Host: test.host})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			says(t, lookDocker(ctx, p), Wrong, test.seen, test.advice)
			if got := lookContainer(ctx, p); got.Status != Unknown || got.cause != "docker" {
				t.Errorf("the container: %+v", got)
			}
		})
	}
}

// TestDockerForbidden: root without capabilities, as in compose.yaml, and a socket
// of others.
func TestDockerForbidden(t *testing.T) {
	if !withoutCapabilities(t) {
		return
	}
	dir, err := os.MkdirTemp("", "doctor")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "docker.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	says(t, lookDocker(t.Context(), inDocker(t, docker.Upstreams{Host: "unix://" + path})), Wrong, "permission denied", "DOCKER_GID")
	p := &patient{setup: &setup{to: []string{"unix/" + path}, names: []string{"reg.example.com"}, port: "5002"}}
	says(t, lookRegistry(t.Context(), p), Wrong, "permission denied for user ", "write to the socket")
}

func TestJudgeContainers(t *testing.T) {
	healthy := func(name string) docker.FoundContainer {
		return docker.FoundContainer{Name: name, State: "running", Addr: address("172.17.0.2:5000"), Network: "bridge"}
	}
	ill := healthy("ill")
	ill.Unhealthy, ill.Addr = true, address("172.17.0.9:5000")
	stopped := docker.FoundContainer{Name: "old", State: "exited", Problem: "is stopped (exit 0, 3 days ago)"}
	for _, test := range []struct {
		name       string
		containers []docker.FoundContainer
		status     Status
		seen       string
		advice     string
		upstream   string
	}{
		{"unhealthy", []docker.FoundContainer{ill}, Wrong, "ill runs, but Docker's health check calls it unhealthy", "docker logs ill", ""},
		{"one of two is healthy", []docker.FoundContainer{ill, healthy("well")}, OK, "unhealthy\nwell runs, at 172.17.0.2:5000 in the network bridge", "", "172.17.0.2:5000"},
		{"one of two is stopped", []docker.FoundContainer{healthy("a"), stopped}, OK, "old is stopped", "", "172.17.0.2:5000"},
		{"two", []docker.FoundContainer{healthy("a"), healthy("b")}, OK, "requests go to any of these 2: they must share their storage", "", "172.17.0.2:5000"},
		{"all are stopped", []docker.FoundContainer{stopped, stopped}, Wrong, "old is stopped (exit 0, 3 days ago)\nold", "docker start old", ""},
		{"it does not stay up", []docker.FoundContainer{{Name: "a", State: "restarting", Problem: "is restarting (exit 1, just now)"}}, Wrong, "a is restarting (exit 1, just now)", "docker logs a", ""},
		{"one was never started", []docker.FoundContainer{{Name: "new", State: "created", Problem: "was created but never started"}}, Wrong, "never started", "docker start new", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, upstream := judgeContainers(docker.Found{Containers: test.containers})
			says(t, got, test.status, test.seen, test.advice)
			if upstream != test.upstream {
				t.Errorf("the upstream is %q", upstream)
			}
		})
	}
}

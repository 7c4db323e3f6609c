package docker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// realDocker runs containers on the real Docker, and removes them.
type realDocker struct {
	t     *testing.T
	host  host
	label label // on all containers of the test, and on no other
	id    string
}

func newRealDocker(t *testing.T) *realDocker {
	t.Helper()
	testenv.Docker(t, "registry:3")
	random := make([]byte, 6)
	rand.Read(random) // never fails
	d := &realDocker{t: t, id: hex.EncodeToString(random)}
	d.label = label{key: "registry-proxy.test", value: d.id}

	var err error
	d.host, err = parseHost(d.run("context", "inspect", "--format", "{{.Endpoints.docker.Host}}"))
	if err != nil {
		testenv.Missing(t, testenv.NeedDocker, err.Error())
	}
	t.Cleanup(func() {
		if ids := strings.Fields(d.run("ps", "-aq", "--filter", "label="+d.label.String())); len(ids) > 0 {
			d.run(append([]string{"rm", "-f", "-v"}, ids...)...)
		}
		if ids := strings.Fields(d.run("network", "ls", "-q", "--filter", "label="+d.label.String())); len(ids) > 0 {
			d.run(append([]string{"network", "rm"}, ids...)...)
		}
	})
	return d
}

// run runs docker and returns its output.
func (d *realDocker) run(args ...string) string {
	d.t.Helper()
	// Not the test's context: what cleans up runs after its end.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// name returns the name of one of the test's containers.
func (d *realDocker) name(s string) string { return "registry-proxy-test-" + d.id + "-" + s }

// registry starts a registry.
func (d *realDocker) registry(name string, args ...string) {
	d.t.Helper()
	d.run(append(append([]string{"run", "-d", "--name", d.name(name), "--label", d.label.String(),
		"--label", defaultLabel}, args...), "registry:3")...)
}

// dial returns the address that Docker says a container has.
func (d *realDocker) dial(name, network string) string {
	d.t.Helper()
	ip := d.run("inspect", "--format", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).IPAddress}}", network), d.name(name))
	return ip + ":5000"
}

// watch starts a watcher with the times of production.
func (d *realDocker) watch(s settings) *watcher {
	d.t.Helper()
	s.host, s.label = d.host, d.label
	w := newWatcher(s, defaultTiming, connect)
	w.loggers.add(zaptest.NewLogger(d.t))
	w.start()
	d.t.Cleanup(func() { w.Destruct() })
	return w
}

func (d *realDocker) becomes(w *watcher, reason string, dials ...string) {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("upstreams %q, reason %q", dials, reason), func() bool {
		s := w.snapshot.Load()
		message := ""
		if s.reason != nil {
			message = s.reason.Message
		}
		return slices.Equal(s.dials, dials) && strings.HasPrefix(message, reason) && (message == "") == (reason == "")
	})
}

func TestRealContainer(t *testing.T) {
	d := newRealDocker(t)
	w := d.watch(settings{})
	d.becomes(w, "there is no container with the label "+d.label.String())

	d.registry("a")
	hub := "container " + d.name("a") + " "
	first := d.dial("a", "bridge")
	d.becomes(w, "", first)

	d.run("restart", "-t", "1", d.name("a"))
	d.becomes(w, "", d.dial("a", "bridge"))
	d.run("pause", d.name("a"))
	d.becomes(w, hub+"is paused")
	d.run("unpause", d.name("a"))
	d.becomes(w, "", d.dial("a", "bridge"))

	d.run("kill", d.name("a"))
	d.becomes(w, hub+"is stopped (exit 137, just now)")

	// While it is down others take its address. They are not registries.
	old := strings.TrimSuffix(first, ":5000")
	for i := 0; !strings.Contains(d.run("network", "inspect", "bridge"), `"`+old+`/`); i++ {
		if i == 5 {
			t.Log("nobody takes the address " + old + ": it may be the same again")
			break
		}
		d.run("run", "-d", "--name", d.name(fmt.Sprint("squatter", i)), "--label", d.label.String()+".squatter", "registry:3")
		defer d.run("rm", "-f", "-v", d.name(fmt.Sprint("squatter", i)))
	}
	d.run("start", d.name("a"))
	second := d.dial("a", "bridge")
	d.becomes(w, "", second)
	t.Logf("it moved from %s to %s", first, second)

	d.registry("b")
	d.becomes(w, "", second, d.dial("b", "bridge"))
	d.run("rm", "-f", "-v", d.name("a"))
	d.becomes(w, "", d.dial("b", "bridge"))
	d.run("rename", d.name("b"), d.name("c"))
	eventually(t, "its new name is known", func() bool {
		return slices.Equal(w.snapshot.Load().containers, []string{d.name("c")})
	})
	d.run("rm", "-f", "-v", d.name("c"))
	d.becomes(w, "there is no container with the label "+d.label.String())
}

func TestRealNetwork(t *testing.T) {
	d := newRealDocker(t)
	network := d.name("network")
	d.run("network", "create", "--label", d.label.String(), network)
	d.registry("a")
	d.registry("other")
	w := d.watch(settings{name: d.name("a"), network: network})
	d.becomes(w, "container "+d.name("a")+" is not on the network "+network+" (it is on bridge)")

	d.run("network", "connect", network, d.name("a"))
	d.becomes(w, "", d.dial("a", network))
	d.run("network", "disconnect", network, d.name("a"))
	d.becomes(w, "container "+d.name("a")+" is not on the network "+network+" (it is on bridge)")
}

// What a container's own look into Docker finds: its networks, by its ID.
func TestRealOwnNetworks(t *testing.T) {
	d := newRealDocker(t)
	network := d.name("network")
	d.run("network", "create", "--label", d.label.String(), network)
	d.registry("a", "--network", network)
	e, err := connect(d.host)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	short := d.run("inspect", "--format", "{{.Config.Hostname}}", d.name("a"))
	if !hostnameFromID.MatchString(short) {
		t.Errorf("the host name is %q", short)
	}
	got, err := e.networks(t.Context(), short)
	if err != nil || !slices.Equal(got, []string{network}) {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := e.networks(t.Context(), "0123456789ab"); err != nil || got != nil {
		t.Errorf("of no container: %q, %v", got, err)
	}
}

// Modes of the network in Docker's own words.
func TestRealNetworkModes(t *testing.T) {
	d := newRealDocker(t)
	d.registry("none", "--network", "none")
	d.registry("shared", "--network", "container:"+d.name("none"))
	e, err := connect(d.host)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	cs, err := e.containers(t.Context(), settings{label: d.label})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cs {
		addr, problem := chooseAddress(c, "", nil)
		want := "has no network (network_mode none)"
		if c.name == d.name("shared") {
			want = "has no network of its own (it shares that of container "
		}
		if addr.IsValid() || !strings.HasPrefix(problem, want) {
			t.Errorf("%s: got %s, %q", c.name, addr, problem)
		}
	}
	if len(cs) != 2 {
		t.Errorf("got %d containers", len(cs))
	}
}

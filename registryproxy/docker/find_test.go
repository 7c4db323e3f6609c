package docker

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func (d *realDocker) upstreams() *Upstreams {
	return &Upstreams{Label: d.label.String(), Host: d.host.String()}
}

func TestAskReal(t *testing.T) {
	d := newRealDocker(t)
	got, err := d.upstreams().Ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Version{
		Host:   d.host.String(),
		Engine: d.run("version", "--format", "{{.Server.Version}}"),
		API:    d.run("version", "--format", "{{.Server.APIVersion}}"),
	}
	if got != want || want.Engine == "" || want.API == "" {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestFindReal has a container in each of the states that matter, on the real
// Docker, and finds of the running ones what the watcher would use.
func TestFindReal(t *testing.T) {
	d := newRealDocker(t)
	find := func(u *Upstreams) Found {
		t.Helper()
		found, err := u.Find(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	why := "there is no container with the label " + d.label.String()
	if found := find(d.upstreams()); len(found.Containers) != 0 || found.Why != why {
		t.Errorf("without a container: %+v", found)
	}

	d.registry("a")
	d.registry("b", "--network", "host", "--env", "REGISTRY_HTTP_ADDR=127.0.0.1:0")
	d.registry("c", "--health-cmd", "false", "--health-interval", "100ms", "--health-retries", "1")
	d.registry("d")
	d.run("kill", d.name("d"))
	d.registry("e")
	d.run("pause", d.name("e"))
	eventually(t, "Docker calls it unhealthy", func() bool {
		return d.run("inspect", "--format", "{{.State.Health.Status}}", d.name("c")) == "unhealthy"
	})
	addr := func(name string) netip.AddrPort { return netip.MustParseAddrPort(d.dial(name, "bridge")) }
	want := Found{Containers: []FoundContainer{
		{Name: d.name("a"), State: "running", Addr: addr("a"), Network: "bridge"},
		{Name: d.name("b"), State: "running", Addr: netip.MustParseAddrPort("127.0.0.1:5000"), Network: "host"},
		{Name: d.name("c"), State: "running", Unhealthy: true, Addr: addr("c"), Network: "bridge"},
		{Name: d.name("d"), State: "exited", Problem: "is stopped (exit 137, just now)"},
		{Name: d.name("e"), State: "paused", Problem: "is paused"},
	}}
	got := find(d.upstreams())
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}

	u := d.upstreams()
	u.Name, u.Network = d.name("a"), "elsewhere"
	got = find(u)
	if len(got.Containers) != 1 || got.Containers[0].Problem != "is not on the network elsewhere (it is on bridge)" ||
		got.Why != "container "+d.name("a")+" "+got.Containers[0].Problem {
		t.Errorf("on another network: %+v", got)
	}
}

// TestFindFailures: each is told apart, by the kernel's own errors.
func TestFindFailures(t *testing.T) {
	dir := t.TempDir()
	forbidding := newFakeDocker(t)
	forbidding.start()
	forbidding.refuseWith("/containers/json", http.StatusForbidden)
	listen := func(name string) (string, *net.UnixListener) {
		path := filepath.Join(filepath.Dir(forbidding.path), name)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return path, l.(*net.UnixListener)
	}
	dead, l := listen("dead.sock")
	l.SetUnlinkOnClose(false) // as a killed daemon leaves it
	l.Close()
	hanging, l := listen("hanging.sock") // the kernel accepts, nobody answers
	defer l.Close()

	for _, test := range []struct {
		name, path string
		is         error
		sentence   string
	}{
		{"missing", filepath.Join(dir, "missing.sock"), fs.ErrNotExist, "there is no such socket"},
		{"dead", dead, syscall.ECONNREFUSED, "the socket file is there but nobody listens"},
		{"hangs", hanging, context.DeadlineExceeded, "no answer in time"},
		{"forbids", forbidding.path, nil, "refuses to list containers: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			u := &Upstreams{Label: "registry=yes", Host: "unix://" + test.path}
			_, err := u.Find(ctx)
			var failure *Failure
			if !errors.As(err, &failure) {
				t.Fatalf("got %v", err)
			}
			if failure.Refused != (test.is == nil) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("got %+v, want it to be %v", failure, test.is)
			}
			if failure.Host != u.Host || !strings.Contains(err.Error(), test.sentence) {
				t.Errorf("of %s it says: %s", failure.Host, err)
			}
		})
	}
}

// TestAskRefused: a proxy that keeps the version back is no failure, for the
// containers may be listed.
func TestAskRefused(t *testing.T) {
	f := newFakeDocker(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fail(w, http.StatusForbidden, "no") })
	l, err := net.Listen("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	defer server.Close()
	u := &Upstreams{Host: "unix://" + f.path}
	got, err := u.Ask(t.Context())
	if err != nil || got != (Version{Host: u.Host}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestFindOptions(t *testing.T) {
	for _, test := range []struct {
		name      string
		upstreams Upstreams
		want      string
	}{
		{"host", Upstreams{Host: "docker"}, "host: "},
		{"placeholder", Upstreams{Name: "{env.NOT_THERE_AT_ALL}"}, "name: "},
		{"network", Upstreams{Network: "none"}, "network: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := test.upstreams
			_, err := test.upstreams.Find(t.Context())
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || errors.As(err, new(*Failure)) {
				t.Errorf("got %v, want %s…", err, test.want)
			}
			if test.upstreams != before {
				t.Errorf("it changed the options to %+v", test.upstreams)
			}
		})
	}
}

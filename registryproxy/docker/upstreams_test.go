package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"

	// The handler registry_error, which answers with the reason.
	_ "github.com/caddy-nas/caddy-nas-registry/registryproxy/access"
)

// house is a Caddy in this process: a reverse proxy with this source, and the
// error route that answers with its reason.
type house struct {
	t      *testing.T
	path   string
	try    string // how long the proxy tries
	client *http.Client
}

func newHouse(t *testing.T) *house {
	t.Helper()
	dir, err := os.MkdirTemp("", "caddy")
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, path: filepath.Join(dir, "caddy.sock"), try: "10s"}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.path)
	}}
	h.client = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		if left := goroutines("docker.(*watcher)"); left != "" {
			t.Errorf("goroutines outlived the config:\n%s", left)
		}
		os.RemoveAll(dir)
	})
	return h
}

// load replaces the config. Its tag makes it another one.
func (h *house) load(tag string, source map[string]any) error {
	source["source"] = "registry_container"
	config, err := json.Marshal(map[string]any{
		"admin":   map[string]any{"disabled": true, "config": map[string]any{"persist": false}},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"level": "PANIC"}}},
		"apps": map[string]any{"http": map[string]any{"servers": map[string]any{"s": map[string]any{
			"listen":          []string{"unix/" + h.path},
			"automatic_https": map[string]any{"disable": true},
			"routes": []any{map[string]any{"handle": []any{
				map[string]any{"handler": "headers", "response": map[string]any{"set": map[string]any{"Tag": []string{tag}}}},
				map[string]any{
					"handler":           "reverse_proxy",
					"dynamic_upstreams": source,
					"load_balancing":    map[string]any{"try_duration": h.try, "try_interval": "20ms"},
				},
			}}},
			"errors": map[string]any{"routes": []any{map[string]any{"handle": []any{map[string]any{"handler": "registry_error"}}}}},
		}}}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return caddy.Load(config, true)
}

// get returns status 0 and the error if there is no answer.
func (h *house) get(path string) (int, http.Header, string) {
	response, err := h.client.Get("http://house" + path)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, nil, err.Error()
	}
	return response.StatusCode, response.Header, string(body)
}

func TestReload(t *testing.T) {
	f, a := newFakeDocker(t), newFakeRegistry(t, "a")
	f.set(fakeContainer{name: "hub", addr: a.addr})
	f.start()
	h := newHouse(t)
	source := map[string]any{"host": "unix://" + f.path, "label": f.label}
	if err := h.load("first", source); err != nil {
		t.Fatal(err)
	}

	// Requests run all the while, and all that are answered are answered by
	// the registry: the first one comes right after the load, and the reload
	// takes nothing away.
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 4 {
		wg.Go(func() {
			for {
				// Status 0: Caddy itself drops some connections that come in
				// the moment in which it changes its servers.
				if status, _, body := h.get("/name"); status != 0 && (status != http.StatusOK || body != "a") {
					t.Errorf("got %d %q", status, body)
				}
				if ctx.Err() != nil {
					return
				}
			}
		})
	}
	eventually(t, "it follows the events", func() bool { return f.following() == 1 })
	before := f.streams.Load()
	for i := range 5 {
		if err := h.load(fmt.Sprint("reload ", i), source); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
	if _, header, _ := h.get("/name"); header.Get("Tag") != "reload 4" {
		t.Errorf("the config is %q", header.Get("Tag"))
	}
	if n := f.streams.Load(); n != before {
		t.Errorf("the reloads made %d new connections to Docker", n-before)
	}

	// A config that does not load leaves the watcher to the one that runs.
	if err := h.load("bad", map[string]any{"host": "unix://" + f.path, "label": f.label, "network": "none"}); err == nil ||
		!strings.Contains(err.Error(), `network: on "none" no container has an address`) {
		t.Errorf("got the error %v", err)
	}
	if status, _, body := h.get("/name"); status != http.StatusOK || body != "a" {
		t.Errorf("got %d %q", status, body)
	}

	// Other settings get another watcher, and the old one ends.
	if err := h.load("name", map[string]any{"host": "unix://" + f.path, "label": f.label, "port": fmt.Sprint(a.addr.Port())}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one watcher is left", func() bool { return f.following() == 1 })
	if status, _, _ := h.get("/name"); status != http.StatusOK {
		t.Errorf("got %d", status)
	}
}

// The first request to a container that has moved finds out itself.
func TestRequestFollowsContainer(t *testing.T) {
	f, a, b := newFakeDocker(t), newFakeRegistry(t, "a"), newFakeRegistry(t, "b")
	f.set(fakeContainer{name: "hub", addr: a.addr})
	f.start()
	h := newHouse(t)
	if err := h.load("", map[string]any{"host": "unix://" + f.path, "label": f.label}); err != nil {
		t.Fatal(err)
	}
	if _, _, body := h.get("/name"); body != "a" {
		t.Fatalf("got %q", body)
	}
	f.set(fakeContainer{name: "hub", addr: b.addr}) // and Docker tells nobody
	a.Close()
	if status, _, body := h.get("/name"); status != http.StatusOK || body != "b" {
		t.Errorf("got %d %q", status, body)
	}
}

func TestRequestLearnsReason(t *testing.T) {
	f := newFakeDocker(t)
	f.set(fakeContainer{name: "hub", state: "exited"})
	f.start()
	u := &Upstreams{Host: "unix://" + f.path, Label: f.label}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := u.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := u.Cleanup(); err != nil {
			t.Error(err)
		}
	}()

	<-u.watcher.ready // Provision waits for that too, but not for ever
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{}))
	upstreams, err := u.GetUpstreams(r)
	if err != nil || upstreams == nil || len(upstreams) != 0 {
		t.Errorf("got %v, %v", upstreams, err)
	}
	reason := ocierror.Reason(r)
	if reason == nil || reason.Message != "container hub is stopped (exit 137, 2 min ago)" {
		t.Errorf("got the reason %v", reason)
	}

	// The second try of the same request finds a container: the reason of the
	// first must not be left.
	a := newFakeRegistry(t, "a")
	f.set(fakeContainer{name: "hub", addr: a.addr})
	if err := u.ResetCache(r); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is an upstream", func() bool {
		upstreams, err = u.GetUpstreams(r)
		return err != nil || len(upstreams) == 1
	})
	if err != nil || upstreams[0].Dial != a.addr.String() || ocierror.Reason(r) != nil {
		t.Errorf("got %v, %v, and the reason %v", upstreams, err, ocierror.Reason(r))
	}
	again, err := u.GetUpstreams(r)
	if err != nil || again[0] == upstreams[0] {
		t.Error("two requests share an upstream, which the proxy writes to")
	}
}

// A client of the registry reads why, and when to come back.
func TestAnswerWithoutContainer(t *testing.T) {
	f := newFakeDocker(t)
	h := newHouse(t)
	h.try = "100ms"
	if err := h.load("", map[string]any{"host": "unix://" + f.path}); err != nil {
		t.Fatal("a Docker that is down keeps the config from loading:", err)
	}
	status, header, body := h.get("/v2/")
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") != "5" ||
		!strings.Contains(body, `"code":"UNAVAILABLE","message":"Docker does not answer at unix://`+f.path+`: there is no such socket`) {
		t.Errorf("got %d %v %s", status, header, body)
	}
}

func TestProvisionDefaults(t *testing.T) {
	f := newFakeDocker(t)
	for _, test := range []struct {
		name string
		in   Upstreams
		want settings
	}{
		{"nothing", Upstreams{}, settings{label: label{key: "registry-proxy.enable", value: "true"}}},
		{"a name needs no label", Upstreams{Name: "hub"}, settings{name: "hub"}},
		{"unless there is one", Upstreams{Name: "hub", Label: "a"}, settings{name: "hub", label: label{key: "a", anyValue: true}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.in.Host = "unix://" + f.path
			test.want.host = host{"unix", f.path}
			ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
			defer cancel()
			if err := test.in.Provision(ctx); err != nil {
				t.Fatal(err)
			}
			if test.in.settings != test.want {
				t.Errorf("got %+v, want %+v", test.in.settings, test.want)
			}
			if err := test.in.Cleanup(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Caddy cleans up what it could not provision, too.
func TestCleanupAfterFailure(t *testing.T) {
	u := &Upstreams{Port: "http"}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := u.Provision(ctx); err == nil || !strings.HasPrefix(err.Error(), "port: ") {
		t.Errorf("got the error %v", err)
	}
	if err := u.Cleanup(); err != nil {
		t.Error(err)
	}
}

func BenchmarkGetUpstreams(b *testing.B) {
	w := newWatcher(settings{}, defaultTiming, connect)
	w.snapshot.Store(&snapshot{dials: []string{"172.17.0.2:5000"}})
	u := &Upstreams{watcher: w}
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{}))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := u.GetUpstreams(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

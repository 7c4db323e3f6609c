package ddnsipv6

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// eventLog is a handler of Caddy's events app that a test can read: the one whose
// ID it has.
type eventLog struct {
	ID string `json:"id,omitempty"`
}

func (*eventLog) CaddyModule() caddy.ModuleInfo {
	return info("events.handlers.ddns_test", func() caddy.Module { return new(eventLog) })
}

func (l *eventLog) Handle(_ context.Context, e caddy.Event) error {
	fakeMu.Lock()
	defer fakeMu.Unlock()
	fakeEvents[l.ID] <- e
	return nil
}

// fakeEvents are the events by the ID of their handler.
var fakeEvents = map[string]chan caddy.Event{}

func init() { caddy.RegisterModule(new(eventLog)) }

// inCaddy is a real Caddy in this process with an admin endpoint and the app.
type inCaddy struct {
	*fakeDNS
	source *fakeSource
	events chan caddy.Event
	t      *testing.T
	id     string
	dir    string
}

func newInCaddy(t *testing.T) *inCaddy {
	c := &inCaddy{t: t, dir: t.TempDir()}
	c.id, c.fakeDNS, c.source = newFakes(t)
	c.events = make(chan caddy.Event, 100)
	fakeMu.Lock()
	fakeEvents[c.id] = c.events
	fakeMu.Unlock()
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// load runs a config; options are more members of the policy.
func (c *inCaddy) load(options string) {
	c.t.Helper()
	config := fmt.Sprintf(`{
		"admin": {"listen": "unix/%[1]s/admin.sock", "config": {"persist": false}},
		"storage": {"module": "file_system", "root": "%[1]s/storage"},
		"logging": {"logs": {"default": {"writer": {"output": "file", "filename": "%[1]s/caddy.log"}, "level": "DEBUG"}}},
		"apps": {
			"events": {"subscriptions": [{"events": ["ddns_updated", "ddns_failed"], "handlers": [{"handler": "ddns_test", "id": "%[2]s"}]}]},
			"ddns_ipv6": {"policies": [{
				"domains": [{"name": "nas.example.com", "zone": "example.com"}],
				"provider": {"name": "fake", "id": "%[2]s", "api_token": "s3cr3t-t0ken"},
				"sources": [{"source": "interface"}, {"source": "fake", "id": "%[2]s"}]%[3]s
			}]}
		}
	}`, c.dir, c.id, options)
	if err := caddy.Load([]byte(config), true); err != nil {
		c.t.Fatal(err)
	}
}

// ask sends a request to the admin endpoint.
func (c *inCaddy) ask(method, path string) (int, string) {
	c.t.Helper()
	return testenv.Admin(c.t, filepath.Join(c.dir, "admin.sock"), method, path)
}

// status asks for the app's status.
func (c *inCaddy) status() (status Status) {
	c.t.Helper()
	code, body := c.ask(http.MethodGet, "/ddns_ipv6/status")
	if err := json.Unmarshal([]byte(body), &status); err != nil || code != http.StatusOK {
		c.t.Fatalf("status: %d %s: %v", code, body, err)
	}
	return status
}

// await waits until nas has the first address.
func (c *inCaddy) await() {
	c.t.Helper()
	testenv.Eventually(c.t, first, func() error {
		if got := c.aaaa("nas"); len(got) != 1 || got[0] != first {
			return fmt.Errorf("nas has %v", got)
		}
		return nil
	})
}

// event waits for an event and returns it as text.
func (c *inCaddy) event() string {
	c.t.Helper()
	select {
	case e := <-c.events:
		return fmt.Sprint(e.Name(), " ", e.Data)
	case <-time.After(30 * time.Second):
		c.t.Fatal("no event came")
		return ""
	}
}

// TestInCaddy: the app as operators see it: events, status, an update on
// demand, metrics over a reload; and no secret anywhere.
func TestInCaddy(t *testing.T) {
	c := newInCaddy(t)
	deprecated := stable(second)
	deprecated.Flags, deprecated.Preferred, deprecated.Valid = FlagDeprecated, 0, time.Hour
	c.source.set(nil, deprecated, stable(first))
	c.load("")
	c.await()
	if got, want := c.event(), "ddns_updated map[name:nas.example.com new:"+first+" old:]"; got != want {
		t.Errorf("event %s, want %s", got, want)
	}

	status := c.status()
	n := status.Policies[0].Names[0]
	if n.Wanted != first || n.Confirmed != first || len(n.Published) != 1 || n.LastConfirmed == nil || n.NextTry == nil || n.Zone != "example.com." {
		t.Errorf("status of the name: %+v", n)
	}
	addresses := status.Policies[0].Addresses
	hour := int64(3600)
	zero := int64(0)
	want := []AddressStatus{
		{Address: second, Prefix: "2600:db8:2::/64", Interface: "eth0", Flags: []string{"deprecated"}, PreferredLifetime: &zero, ValidLifetime: &hour, Rejected: "deprecated"},
		{Address: first, Prefix: "2600:db8:1::/64", Interface: "eth0", Flags: []string{}, Usable: true},
	}
	if diff := cmp.Diff(want, addresses[len(addresses)-2:]); diff != "" {
		t.Errorf("status of the addresses (-want +got):\n%s", diff)
	}

	c.change(func(f *fakeDNS) { f.records, f.failSets = nil, 1 })
	if code, body := c.ask(http.MethodPost, "/ddns_ipv6/update"); code != http.StatusOK || !strings.Contains(body, `"last_error":"setting records of zone example.com.: fake failure"`) {
		t.Errorf("update that fails: %d %s", code, body)
	}
	if got, want := c.event(), "ddns_failed map[error:setting records of zone example.com.: fake failure name:nas.example.com new:"+first+" old:]"; got != want {
		t.Errorf("event %s, want %s", got, want)
	}
	if code, body := c.ask(http.MethodPost, "/ddns_ipv6/update"); code != http.StatusOK || strings.Contains(body, "last_error") {
		t.Errorf("update: %d %s", code, body)
	}
	c.await()
	if got, want := c.event(), "ddns_updated map[name:nas.example.com new:"+first+" old:]"; got != want {
		t.Errorf("event %s, want %s", got, want)
	}
	c.load(`, "verify_interval": "2h"`)
	_, metrics := c.ask(http.MethodGet, "/metrics")
	for _, want := range []string{
		`caddy_ddns_ipv6_updates_total{name="nas.example.com",result="success"} 2`,
		`caddy_ddns_ipv6_updates_total{name="nas.example.com",result="failure"} 1`,
		`caddy_ddns_ipv6_address_info{address="` + first + `",name="nas.example.com"} 1`,
		`caddy_ddns_ipv6_confirmation_age_seconds{name="nas.example.com"} `,
		`caddy_ddns_ipv6_update_delay_seconds_count 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("after a reload the metrics lack %s", want)
		}
	}

	for path, want := range map[string]int{"/ddns_ipv6/update": http.StatusMethodNotAllowed, "/ddns_ipv6/nothing": http.StatusNotFound} {
		if code, body := c.ask(http.MethodGet, path); code != want {
			t.Errorf("GET %s: %d %s", path, code, body)
		}
	}
	log, err := os.ReadFile(filepath.Join(c.dir, "caddy.log"))
	if err != nil {
		t.Fatal(err)
	}
	if text := metrics + string(log); strings.Contains(text, "s3cr3t") {
		t.Error("the token shows")
	}
	if err := caddy.Load([]byte(`{"admin": {"listen": "unix/`+c.dir+`/admin.sock", "config": {"persist": false}}}`), true); err != nil {
		t.Fatal(err)
	}
	if code, body := c.ask(http.MethodGet, "/ddns_ipv6/status"); code != http.StatusNotFound || !strings.Contains(body, "the running config has no ddns_ipv6") {
		t.Errorf("without the app: %d %s", code, body)
	}
}

// TestReloads: a hundred reloads leave no goroutine, socket or memory behind,
// write nothing and read nothing.
func TestReloads(t *testing.T) {
	c := newInCaddy(t)
	c.source.set(nil, stable(first))
	c.load("")
	c.await()
	c.event()
	count := func() (goroutines, files int, heap uint64) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		open, _ := os.ReadDir("/proc/self/fd")
		return runtime.NumGoroutine(), len(open), m.HeapAlloc
	}
	for range 10 {
		c.load("")
	}
	goroutines, files, heap := count()
	for range 100 {
		c.load("")
	}
	testenv.Eventually(t, "the end of what the configs began", func() error {
		g, f, h := count()
		if g > goroutines || f > files || h > heap+1<<20 {
			return fmt.Errorf("%d goroutines, %d files, %d KiB; before: %d, %d, %d KiB", g, f, h>>10, goroutines, files, heap>>10)
		}
		t.Logf("%d goroutines, %d files, %d KiB; before: %d, %d, %d KiB", g, f, h>>10, goroutines, files, heap>>10)
		return nil
	})
	if g, s, d := c.counts(); g != 2 || s != 1 || d != 0 {
		t.Errorf("%d reads, %d writes, %d deletions", g, s, d)
	}
}

// TestFailedLoad: Caddy keeps the admin endpoint of a config that it could not
// start. The status is that of the config that goes on, and updates reach it.
func TestFailedLoad(t *testing.T) {
	c := newInCaddy(t)
	c.source.set(nil, stable(first))
	c.load("")
	c.await()
	for _, broken := range []string{
		`"http": {"servers": {"x": {"listen": ["127.0.0.1:99999"]}}}`,
		`"ddns_failing": {}`,
	} {
		config := fmt.Sprintf(`{"admin": {"listen": "unix/%[1]s/admin.sock", "config": {"persist": false}}, "storage": {"module": "file_system", "root": "%[1]s/storage"},
			"apps": {"ddns_ipv6": {"policies": [{"domains": [{"name": "nas.example.com", "zone": "example.com"}],
				"provider": {"name": "fake", "id": "%[2]s"}, "sources": [{"source": "fake", "id": "%[2]s"}], "ttl": "1m"}]}, %[3]s}}`, c.dir, c.id, broken)
		if err := caddy.Load([]byte(config), true); err == nil {
			t.Fatalf("loaded with %s", broken)
		}
		if status := c.status(); len(status.Policies) != 1 || status.Policies[0].Names[0].Confirmed != first {
			t.Errorf("status after %s: %+v", broken, status)
		}
		c.change(func(f *fakeDNS) { f.records = nil })
		if code, body := c.ask(http.MethodPost, "/ddns_ipv6/update"); code != http.StatusOK || !strings.Contains(body, `"published":["`+first+`"]`) {
			t.Errorf("update after %s: %d %s", broken, code, body)
		}
		c.await()
	}
}

// failing is an app that does not start.
type failing struct{}

func (*failing) CaddyModule() caddy.ModuleInfo {
	return info("ddns_failing", func() caddy.Module { return new(failing) })
}

func (*failing) Start() error { return errors.New("no") }
func (*failing) Stop() error  { return nil }

func init() { caddy.RegisterModule(new(failing)) }

package certificates

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

func TestBook(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	b := newBook()
	change := func(n int, f func(*Certificate)) { b.change("a.example.org", at(n), f) }
	change(1, func(c *Certificate) { c.obtaining(at(1)) })
	change(2, func(c *Certificate) { c.fail(at(2), []string{"ca"}, "first") })
	change(3, func(c *Certificate) { c.obtaining(at(3)) })
	change(4, func(c *Certificate) { c.fail(at(4), []string{"ca"}, "second") })
	c := b.list()[0]
	if !c.Obtaining.Equal(at(1)) || c.Failed.Count != 2 || c.Failed.Error != "second" || !c.Failed.At.Equal(at(4)) || c.Obtained != nil {
		t.Errorf("after two failures: %+v %+v", c, c.Failed)
	}
	change(5, func(c *Certificate) { c.obtained(at(5), "ca") })
	if c := b.list()[0]; c.Failed != nil || c.Obtaining != nil || !c.Obtained.Equal(at(5)) || c.Issuer != "ca" {
		t.Errorf("after success: %+v", c)
	}
}

// The name that nothing was heard of for the longest time makes room.
func TestBookIsBounded(t *testing.T) {
	b := newBook()
	for i := range maxNames {
		b.change(fmt.Sprint(i), time.Unix(int64(i), 0), func(*Certificate) {})
	}
	b.change("0", time.Unix(maxNames, 0), func(*Certificate) {})
	b.change("new", time.Unix(maxNames+1, 0), func(*Certificate) {})
	if n := len(b.list()); n != maxNames || b.names["0"] == nil || b.names["new"] == nil || b.names["1"] != nil {
		t.Errorf("%d names are kept, or the wrong ones", n)
	}
}

func TestShortened(t *testing.T) {
	if got := shortened("short"); got != "short" {
		t.Errorf("got %q", got)
	}
	if got := shortened(strings.Repeat("ä", 600)); len(got) > maxText || !strings.HasSuffix(got, "ä…") {
		t.Errorf("got %d bytes: %q", len(got), got)
	}
	if got := shortened("a\xff"); got != "a�" {
		t.Errorf("got %q", got)
	}
}

func TestCleaned(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{
			"an ordinary error stays", "HTTP 429 urn:ietf:params:acme:error:rateLimited - too many failed authorizations (5) for \"nas.example.org\", see https://letsencrypt.org/docs/rate-limits/",
			"HTTP 429 urn:ietf:params:acme:error:rateLimited - too many failed authorizations (5) for \"nas.example.org\", see https://letsencrypt.org/docs/rate-limits/",
		},
		{
			"a CA's URL stays", "getting https://acme-v02.api.letsencrypt.org/acme/order/123456789012345678901/2: EOF",
			"getting https://acme-v02.api.letsencrypt.org/acme/order/123456789012345678901/2: EOF",
		},
		{"query", "Get \"https://api.example/x?token=abc\": EOF", "Get \"https://api.example/x…\": EOF"},
		{"user", "https://me:abc@api.example/", "https://…api.example/"},
		{"header", "Authorization: Bearer abc-def", "Authorization: Bearer …"},
		{"scheme", "sent bearer abcdef: refused", "sent bearer … refused"},
		{"field", `{"api_key":"abc"} is wrong`, `{"api_key":"…"} is wrong`},
		{"other header", "X-Auth-Token: abc123\nsent", "X-Auth-Token: …\nsent"},
		{"prose stays", "bad token: it has expired", "bad token: it has expired"},
		{"a status stays", "bad token: 401 Unauthorized", "bad token: 401 Unauthorized"},
		{"by its looks", "invalid credentials Zq3d5EXAMPLEabcdefgh12", "invalid credentials …"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := cleaned(test.in)
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// config is one of a Caddy with an admin endpoint at a socket, and no more than the
// events app that the tls app would load.
func config(socket, apps string) []byte {
	return []byte(`{"admin":{"listen":"unix/` + socket + `","config":{"persist":false}},"apps":{` + apps + `}}`)
}

// emit sends an event through the events app of the config that runs.
func emit(t *testing.T, name string, data map[string]any) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.ActiveContext())
	defer cancel()
	app, err := ctx.App("events")
	if err != nil {
		t.Fatal(err)
	}
	app.(*caddyevents.App).Emit(ctx, name, data)
}

func listed(t *testing.T, socket string) List {
	t.Helper()
	code, body := testenv.Admin(t, socket, http.MethodGet, Path)
	var list List
	if code != http.StatusOK || json.Unmarshal([]byte(body), &list) != nil {
		t.Fatalf("%d %s", code, body)
	}
	return list
}

// TestReloads: what was heard outlives a reload, and a load that fails, after which
// Caddy keeps the admin endpoint of the failed config; events of the config that
// runs are still heard then.
func TestReloads(t *testing.T) {
	testenv.Storage(t)
	before := known
	known = newBook()
	t.Cleanup(func() {
		_ = caddy.Stop()
		known = before
	})
	socket := filepath.Join(t.TempDir(), "admin.sock")
	load := func(apps string) error { return caddy.Load(config(socket, apps), true) }
	if err := load(`"events":{}`); err != nil {
		t.Fatal(err)
	}
	fail := func(text string) {
		emit(t, "cert_failed", map[string]any{"identifier": "nas.example.org", "issuers": []string{"ca"}, "error": errors.New(text)})
	}
	expect := func(when, text string, count int) {
		t.Helper()
		list := listed(t, socket).Certificates
		if len(list) != 1 || list[0].Name != "nas.example.org" || list[0].Failed == nil || list[0].Failed.Error != text || list[0].Failed.Count != count {
			t.Fatalf("%s: %+v", when, list)
		}
	}
	fail("first")
	expect("after a failure", "first", 1)
	if err := load(`"events":{"subscriptions":[]}`); err != nil {
		t.Fatal(err)
	}
	expect("after a reload", "first", 1)
	fail("second")
	expect("after a failure in the new config", "second", 2)
	if err := load(`"events":{},"http":{"servers":{"x":{"listen":["nonsense:-1"]}}}`); err == nil {
		t.Fatal("a bad config was loaded")
	}
	expect("after a load that failed", "second", 2)
	fail("third")
	expect("after a failure in the config that stayed", "third", 3)
	emit(t, "cert_obtained", map[string]any{"identifier": "nas.example.org", "issuer": "ca"})
	if c := listed(t, socket).Certificates[0]; c.Failed != nil || c.Issuer != "ca" {
		t.Errorf("after success: %+v", c)
	}
	if code, _ := testenv.Admin(t, socket, http.MethodPost, Path); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
}

// TestBadEvents: a config whose events app fails is refused for that, and not for
// the admin endpoint.
func TestBadEvents(t *testing.T) {
	testenv.Storage(t)
	t.Cleanup(func() { _ = caddy.Stop() })
	socket := filepath.Join(t.TempDir(), "admin.sock")
	err := caddy.Load(config(socket, `"events":{"subscriptions":[{"handlers":[{"handler":"none"}]}]}`), true)
	if err == nil || strings.Contains(err.Error(), "admin") || !strings.Contains(err.Error(), "events app module") {
		t.Errorf("got %v", err)
	}
}

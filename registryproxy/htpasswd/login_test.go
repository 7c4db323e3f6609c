package htpasswd_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/htpasswd"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

// refused returns how many refused logins of a user the audit has.
func refused(c *testenv.Caddy, user string) (n int) {
	for line := range strings.Lines(c.Log()) {
		var l struct{ Logger, Msg, User string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Logger == "registry.audit" && l.Msg == "login refused" && l.User == user {
			n++
		}
	}
	return n
}

// TestOneLineEach: a wrong password is one line of the audit, also of a client that
// goes before the answer, and however many try it at once.
func TestOneLineEach(t *testing.T) {
	t.Setenv("TESTDIR", t.TempDir())
	c := testenv.NewCaddy(t)
	// A cost at which all have come before the first is refused.
	c.Load(site(costly(t, "alice"), ""))
	conn := c.Dial(t)
	if _, err := fmt.Fprintf(conn, "GET /v2/ HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic YWxpY2U6eA==\r\n\r\n", c.Host); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	testenv.Eventually(t, "a line of a client that has gone", func() error {
		if n := refused(c, "alice"); n != 1 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if got := login(t, c, "bob", "wrong"); got != http.StatusUnauthorized {
				t.Errorf("got %d", got)
			}
		})
	}
	group.Wait()
	if n := refused(c, "bob"); n != 1 {
		t.Errorf("%d lines of one password", n)
	}
}

// costly writes an htpasswd file with the hash of no password, which takes a second
// or so.
func costly(t *testing.T, user string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte(user+":$2a$14$"+strings.Repeat("N", 53)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestOldPassword: one that is tried again and again counts once, so that a machine
// which has not been told of the new one has nobody throttled.
func TestOldPassword(t *testing.T) {
	t.Setenv("TESTDIR", t.TempDir())
	c := testenv.NewCaddy(t)
	c.Load(site(testenv.Users(t, "alice", "a"), ""))
	var group sync.WaitGroup
	// The first is done before the next, which don't share its run.
	if got := login(t, c, "alice", "old"); got != http.StatusUnauthorized {
		t.Errorf("got %d", got)
	}
	for range 15 {
		group.Go(func() {
			if got := login(t, c, "alice", "old"); got != http.StatusUnauthorized {
				t.Errorf("got %d", got)
			}
		})
	}
	group.Wait()
	// Nine are left of what may come at once.
	for n := range 9 {
		if got := login(t, c, "alice", fmt.Sprint("typing error ", n)); got != http.StatusUnauthorized {
			t.Errorf("error %d: %d", n, got)
		}
	}
	if got := login(t, c, "alice", "a"); got != http.StatusTooManyRequests {
		t.Errorf("after ten: %d", got)
	}
}

// TestEarlyData: a request of before the end of a handshake, which may come from
// anybody at any address, is neither a login nor a failure. One over HTTP/3 that
// comes after it is as good as any.
func TestEarlyData(t *testing.T) {
	t.Setenv("TESTDIR", t.TempDir())
	c := testenv.NewCaddy(t)
	c.Load(site(testenv.Users(t, "alice", "a"), ""))
	transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS13}}
	t.Cleanup(func() { transport.Close() })
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL("/v2/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("alice", "a")
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 3 {
		t.Errorf("%s over %s", resp.Status, resp.Proto)
	}

	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	p := &htpasswd.Provider{File: testenv.Users(t, "alice", "a")}
	if err := p.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	defer p.Cleanup()
	for _, password := range []string{"a", "x"} {
		early := httptest.NewRequest(http.MethodGet, "/v2/", nil)
		early = early.WithContext(context.WithValue(early.Context(), caddyhttp.VarsCtxKey, make(map[string]any)))
		early.TLS = &tls.ConnectionState{HandshakeComplete: false}
		early.SetBasicAuth("alice", password)
		_, ok, err := p.Authenticate(httptest.NewRecorder(), early)
		if reason := ocierror.Reason(early); ok || err != nil || reason == nil || reason.Status != http.StatusTooEarly {
			t.Errorf("%t, %v, %v", ok, err, reason)
		}
	}
}

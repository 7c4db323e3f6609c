package htpasswd_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/htpasswd"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

// refusals returns the audit's lines of refused logins.
func refusals(c *testenv.Caddy) (lines []string) {
	for line := range strings.Lines(c.Log()) {
		var l struct{ Logger, Msg, User string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Logger == "registry.audit" && l.Msg == "login refused" {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestOneLineEach: each wrong password is one line of the audit, also of a client
// that goes before the answer, and however many at once try the same.
func TestOneLineEach(t *testing.T) {
	t.Setenv("TESTDIR", t.TempDir())
	c := testenv.NewCaddy(t)
	c.Load(site(testenv.Users(t, "alice", "a"), ""))
	conn := c.Dial(t)
	if _, err := fmt.Fprintf(conn, "GET /v2/ HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic YWxpY2U6eA==\r\n\r\n", c.Host); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	testenv.Eventually(t, "a line of a client that has gone", func() error {
		if n := len(refusals(c)); n != 1 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if got := login(t, c, "alice", "wrong"); got != http.StatusUnauthorized {
				t.Errorf("got %d", got)
			}
		})
	}
	group.Wait()
	lines := refusals(c)
	if n := len(lines); n < 2 { // more, if one came after the first was known to be wrong
		t.Errorf("%d lines", n)
	}
	// An old password that is tried again and again doesn't throttle anybody.
	for range 15 {
		group.Go(func() { login(t, c, "alice", "wrong") })
	}
	group.Wait()
	if got := login(t, c, "alice", "a"); got != http.StatusOK {
		t.Errorf("alice: %d", got)
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

	p := new(htpasswd.Provider) // no part of it is needed
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

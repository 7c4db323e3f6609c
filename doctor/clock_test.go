package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

func TestClockOff(t *testing.T) {
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name            string
		sent, got, date time.Duration // after at
		want            time.Duration
	}{
		{"same second", 300 * time.Millisecond, 400 * time.Millisecond, 0, 0},
		{"end of the second", 900 * time.Millisecond, 1100 * time.Millisecond, 0, 0},
		{"ahead", 10 * time.Minute, 10 * time.Minute, 0, 10*time.Minute - time.Second},
		{"behind", 0, 0, 10 * time.Minute, -10 * time.Minute},
		{"slow answer", 0, 15 * time.Second, 14 * time.Second, 0},
		{"slow answer, made at once", 0, 15 * time.Second, 0, 0},
		{"slow answer, behind", 0, 15 * time.Second, 20 * time.Second, -5 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := clockOff(at.Add(test.sent), at.Add(test.got), at.Add(test.date)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestLookClock: the authority's certificate is verified, but not by the clock.
func TestLookClock(t *testing.T) {
	root := issue(t, nil, "Root X", nil, func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(-365 * 24 * time.Hour) })
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, pemOf(root), 0o600); err != nil {
		t.Fatal(err)
	}
	today := issue(t, root, "", []string{"localhost"}, nil)
	lastYear := issue(t, root, "", []string{"localhost"}, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = c.NotBefore.Add(-300*24*time.Hour), c.NotAfter.Add(-300*24*time.Hour)
	})
	for _, test := range []struct {
		name         string
		config       *tls.Config
		header       func(http.Header)
		status       Status
		seen, advice string
	}{
		{"right", tlsConfig(today), func(http.Header) {}, OK, "as that of localhost:", ""},
		{"ahead", tlsConfig(today), date(-10 * time.Minute), Wrong, "ahead of that of localhost:", "NTP"},
		{"behind", tlsConfig(today), date(10 * time.Minute), Wrong, "behind that of localhost:", "NTP"},
		{"a little behind", tlsConfig(today), date(30 * time.Second), OK, "behind that of localhost:", ""},
		{"a year ahead", tlsConfig(lastYear), date(-300 * 24 * time.Hour), Wrong, "ahead of that of localhost:", "NTP"},
		{"from a cache", tlsConfig(today), func(h http.Header) { date(-10 * time.Minute)(h); h.Set("Age", "600") }, OK, "localhost:", ""},
		{"no date", tlsConfig(today), func(h http.Header) { h["Date"] = nil }, Unknown, "does not say what time it is", "internet"},
		{"stranger", tlsConfig(issue(t, nil, "me", []string{"localhost"}, nil)), func(http.Header) {}, Unknown, "unknown authority", "internet"},
		{"another name", tlsConfig(issue(t, root, "", []string{"example.com"}, nil)), func(http.Header) {}, Unknown, "not localhost", "internet"},
	} {
		t.Run(test.name, func(t *testing.T) {
			authority := startSite(t, test.config, func(w http.ResponseWriter, _ *http.Request) { test.header(w.Header()) }, "localhost")
			p := withAuthority(t, "https://localhost:"+authority.setup.port+"/dir", file)
			says(t, lookClock(t.Context(), p), test.status, test.seen, test.advice)
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		p := withAuthority(t, "https://localhost:"+strconv.Itoa(testenv.FreePort(t))+"/dir", file)
		says(t, lookClock(t.Context(), p), Unknown, "connection refused", "internet")
	})
	t.Run("no time left", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		says(t, lookClock(ctx, withAuthority(t, "https://localhost:1/dir", file)), Unknown, "context canceled", "internet")
	})
	t.Run("no roots", func(t *testing.T) {
		p := withAuthority(t, "https://localhost:1/dir", filepath.Join(t.TempDir(), "missing.pem"))
		says(t, lookClock(t.Context(), p), Unknown, "missing.pem", "file of the authority's roots")
	})
}

// date answers with the time as it is by this clock, and that much later.
func date(later time.Duration) func(http.Header) {
	return func(h http.Header) { h.Set("Date", time.Now().Add(later).UTC().Format(http.TimeFormat)) }
}

func withAuthority(t *testing.T, directory string, rootFiles ...string) *patient {
	t.Helper()
	issuer, err := json.Marshal(map[string]any{"module": "acme", "ca": directory, "trusted_roots_pem_files": rootFiles})
	if err != nil {
		t.Fatal(err)
	}
	return &patient{setup: &setup{issuers: []json.RawMessage{[]byte(`{"module":"internal"}`), issuer}}}
}

func TestDirectory(t *testing.T) {
	t.Setenv("DOCTOR_CA", "https://ca.example/dir")
	for _, test := range []struct{ name, issuer, want string }{
		{"none", "", certmagic.LetsEncryptProductionCA},
		{"internal", `{"module":"internal"}`, certmagic.LetsEncryptProductionCA},
		{"default", `{"module":"acme"}`, certmagic.LetsEncryptProductionCA},
		{"own", `{"module":"acme","ca":"{env.DOCTOR_CA}"}`, "https://ca.example/dir"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := new(setup)
			if test.issuer != "" {
				s.issuers = []json.RawMessage{[]byte(test.issuer)}
			}
			if got, _ := s.directory(); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

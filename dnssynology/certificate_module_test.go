package dnssynology

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestServedByCaddy: Caddy serves DSM's certificate, from the folder and through
// the Web API, and the next one without a restart or a reload. For names that DSM
// has none for it orders none: the ACME server gets no request.
func TestServedByCaddy(t *testing.T) {
	authority := newPairAuthority(t)
	roots := authority.pool
	const name = "example.synology.me"
	older := authority.issue(t, newECDSAKey(t), 2*time.Hour, 48*time.Hour, name)
	newer := authority.issue(t, newECDSAKey(t), time.Hour, 96*time.Hour, name)
	for _, test := range []struct {
		name  string
		start func(*testing.T, *caddyProgram) (options string, renew func())
	}{
		{"folder", func(t *testing.T, _ *caddyProgram) (string, func()) {
			dir := t.TempDir()
			writeFolder(t, filepath.Join(dir, "AbCdEf"), older.files(""))
			return "archive " + dir, func() { writeFolder(t, filepath.Join(dir, "GhIjKl"), newer.files("")) }
		}},
		{"Web API", func(t *testing.T, c *caddyProgram) (string, func()) {
			dsm := synologytest.NewDSM(t, synologytest.WithCertificate("of the name", true, older.cert, older.chain, older.key))
			t.Cleanup(func() {
				for _, secret := range dsm.Secrets() {
					if strings.Contains(c.Log(), secret) {
						t.Error("a secret is in the log")
					}
				}
			})
			password := filepath.Join(c.dir, "password")
			if err := os.WriteFile(password, []byte(dsm.Password+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("poll_interval 1s\ndsm %s {\naccount %s\npassword_file %s\nca_file %s\n}", dsm.URL, dsm.Account, password, dsm.CAFile),
				func() { dsm.ReplaceCertificate(dsm.CertificateIDs()[0], true, newer.cert, newer.chain, newer.key) }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var orders atomic.Int64
			acme := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				orders.Add(1)
				http.Error(w, "no", http.StatusServiceUnavailable)
			}))
			defer acme.Close()
			c := newCaddyProgram(t)
			options, renew := test.start(t, c)
			_, port, err := net.SplitHostPort(c.address)
			if err != nil {
				t.Fatal(err)
			}
			c.run(fmt.Sprintf(`{
	admin off
	auto_https disable_redirects
	acme_ca %s/dir
	debug
}
https://%s:%s, https://other.synology.me:%s {
	bind 127.0.0.1
	tls {
		get_certificate synology {
			%s
		}
	}
	respond hello
}
`, acme.URL, name, port, port, options))
			if got := c.await(name, roots); !bytes.Equal(got.Raw, older.leaf.Raw) {
				t.Errorf("it serves %s", got.Subject)
			}
			renew()
			testenv.Eventually(t, "the renewed certificate", func() error {
				got, err := c.handshake(name, roots)
				switch {
				case err != nil:
					t.Fatalf("a handshake failed: %v", err)
				case !bytes.Equal(got.Raw, newer.leaf.Raw):
					return errors.New("still the older one")
				}
				return nil
			})
			for _, unknown := range []string{"other.synology.me", "stranger.synology.me"} {
				if got, err := c.handshake(unknown, roots); err == nil {
					t.Errorf("%s is served %s", unknown, got.Subject)
				}
			}
			if n := orders.Load(); n != 0 {
				t.Errorf("%d ACME requests", n)
			}
		})
	}
}

// TestReloadKeepsCertificate: a config that takes over serves what the one before
// had, while DSM does not answer.
func TestReloadKeepsCertificate(t *testing.T) {
	authority := newPairAuthority(t)
	const name = "example.synology.me"
	pair := authority.issue(t, newECDSAKey(t), time.Hour, 48*time.Hour, name)
	dsm := synologytest.NewDSM(t, synologytest.WithCertificate("of the name", true, pair.cert, pair.chain, pair.key))
	c := newCaddyProgram(t)
	password := filepath.Join(c.dir, "password")
	if err := os.WriteFile(password, []byte(dsm.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(c.address)
	if err != nil {
		t.Fatal(err)
	}
	c.run(fmt.Sprintf(`{
	admin unix/%s/admin.sock
	auto_https disable_redirects
}
https://%s:%s {
	bind 127.0.0.1
	tls {
		get_certificate synology {
			dsm %s {
				account %s
				password_file %s
				ca_file %s
			}
		}
	}
	respond hello
}
`, c.dir, name, port, dsm.URL, dsm.Account, password, dsm.CAFile))
	c.await(name, authority.pool)
	dsm.Hang(true)
	defer dsm.Hang(false)
	reload := exec.CommandContext(t.Context(), c.program, "reload", "--force", "--config", filepath.Join(c.dir, "Caddyfile"))
	if out, err := reload.CombinedOutput(); err != nil {
		t.Fatalf("reloading: %v\n%s", err, out)
	}
	got, err := c.handshake(name, authority.pool)
	if err != nil {
		t.Fatalf("after a reload: %v", err)
	}
	if !bytes.Equal(got.Raw, pair.leaf.Raw) {
		t.Errorf("it serves %s", got.Subject)
	}
}

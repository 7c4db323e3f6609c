package dnssynology

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// caddyProgram is `caddy run` in a process of its own: it may be killed, and
// Caddy 2.11.9 has a data race of its own while it obtains certificates.
type caddyProgram struct {
	t              *testing.T
	program        string
	dir            string // its storage and its Caddyfile
	address        string
	cmd            *exec.Cmd
	testenv.Output // its log
}

func newCaddyProgram(t *testing.T) *caddyProgram {
	t.Helper()
	c := &caddyProgram{t: t, dir: t.TempDir(), address: "127.0.0.1:" + strconv.Itoa(testenv.FreePort(t))}
	c.program = buildCaddy(t)
	t.Cleanup(func() {
		c.end(os.Interrupt)
		if t.Failed() {
			t.Logf("Caddy's log:\n%s", c.Log())
		}
	})
	return c
}

// buildCaddy builds the program, once for all tests.
func buildCaddy(t *testing.T) string {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

var built = sync.OnceValues(func() (string, error) {
	// Not of one test: others use it, too. TestMain removes it.
	dir, err := os.MkdirTemp("", "caddy-test-")
	if err != nil {
		return "", err
	}
	builtIn = dir
	program := filepath.Join(dir, "caddy")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/caddy").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building: %w\n%s", err, out)
	}
	return program, nil
})

var builtIn string

func TestMain(m *testing.M) {
	code := m.Run()
	if builtIn != "" {
		_ = os.RemoveAll(builtIn)
	}
	os.Exit(code)
}

// run starts it with a Caddyfile.
func (c *caddyProgram) run(caddyfile string) {
	c.t.Helper()
	file := filepath.Join(c.dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.cmd = exec.CommandContext(context.WithoutCancel(c.t.Context()), c.program, "run", "--config", file)
	c.cmd.Env = append(os.Environ(), "HOME="+c.dir, "XDG_DATA_HOME="+c.dir, "XDG_CONFIG_HOME="+c.dir)
	c.cmd.Stdout, c.cmd.Stderr = c, c
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// end ends it with a signal, and waits.
func (c *caddyProgram) end(signal os.Signal) {
	if c.cmd != nil {
		_ = c.cmd.Process.Signal(signal)
		_ = c.cmd.Wait()
		c.cmd = nil
	}
}

// handshake connects to it for a name, and returns the certificate.
func (c *caddyProgram) handshake(name string, roots *x509.CertPool) (*x509.Certificate, error) {
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: &tls.Config{ServerName: name, RootCAs: roots, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(c.t.Context(), "tcp", c.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// await waits until it serves a valid certificate for a name.
func (c *caddyProgram) await(name string, roots *x509.CertPool) *x509.Certificate {
	c.t.Helper()
	var certificate *x509.Certificate
	testenv.Eventually(c.t, "a certificate for "+name, func() (err error) {
		certificate, err = c.handshake(name, roots)
		return err
	})
	return certificate
}

// acmeFile is a Caddyfile whose site gets its certificate by a TXT record at
// the service.
func acmeFile(t *testing.T, c *caddyProgram, s *synologytest.Service, p *testenv.Pebble, global string, names ...string) string {
	t.Helper()
	credentials := filepath.Join(c.dir, "synology.json")
	content, err := json.Marshal(Credentials{MyDSID: s.MyDSID, AuthKey: s.AuthKey, APIKey: s.APIKey, Serial: s.Serial, MAC: s.MAC})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(credentials, content, 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(c.address)
	if err != nil {
		t.Fatal(err)
	}
	var sites []string
	for _, name := range names {
		sites = append(sites, "https://"+name+":"+port)
	}
	return fmt.Sprintf(`{
	admin off
	auto_https disable_redirects
	debug
	%s
}
%s {
	bind 127.0.0.1
	tls {
		issuer acme {
			# Without one certmagic 0.25.6 may take "default" for it, if two orders
			# make the account at the same time; it is right a minute later.
			email hostmaster@%s
			dir %s
			trusted_roots %s
			resolvers %s
			dns synology {
				credentials_file %s
				endpoint %s
				nameserver %s
			}
		}
	}
	respond hello
}
`, global, strings.Join(sites, ", "), s.Hostname, p.Directory, p.RootFile, s.DNS, credentials, s.URL, s.DNS)
}

// expectNoTXT waits until no challenge is left at the service.
func expectNoTXT(t *testing.T, s *synologytest.Service) {
	t.Helper()
	testenv.Eventually(t, "the end of the TXT records", func() error {
		if got := s.TXT("_acme-challenge." + s.Hostname); len(got) > 0 {
			return fmt.Errorf("left: %v", got)
		}
		return nil
	})
}

// TestCertificate: Caddy obtains certificates for a name, and for the name and
// its wildcard at the same time, from a real ACME server, also where the service
// keeps only one TXT value; a second order right after the first works, too.
func TestCertificate(t *testing.T) {
	for _, test := range []struct {
		name    string
		options []synologytest.Option
		names   []string
	}{
		{name: "one name"},
		{name: "name and wildcard", names: []string{"*."}},
		{name: "name and wildcard, one TXT value", options: []synologytest.Option{synologytest.OneTXTValue()}, names: []string{"*."}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := synologytest.NewService(t, test.options...)
			p := testenv.StartPebble(t, s.DNS, 3600)
			c := newCaddyProgram(t)
			names := []string{s.Hostname}
			for _, prefix := range test.names {
				names = append(names, prefix+s.Hostname)
			}
			for range 2 {
				c.run(acmeFile(t, c, s, p, "", names...))
				for _, name := range names {
					c.await(strings.Replace(name, "*", "sub", 1), p.Roots)
				}
				expectNoTXT(t, s)
				c.end(os.Interrupt)
				if err := os.RemoveAll(filepath.Join(c.dir, "caddy", "certificates")); err != nil {
					t.Fatal(err)
				}
				if err := os.RemoveAll(filepath.Join(c.dir, "certificates")); err != nil {
					t.Fatal(err)
				}
			}
			if n := p.Orders(); n != 2*len(names) {
				t.Errorf("%d orders", n)
			}
			for _, secret := range []string{s.AuthKey, s.APIKey} {
				if strings.Contains(c.Log(), secret) {
					t.Error("a secret is in the log")
				}
			}
		})
	}
}

// TestRenewal: certificates are renewed while connections go on; no handshake
// fails.
func TestRenewal(t *testing.T) {
	testenv.Time(t)
	s := synologytest.NewService(t)
	p := testenv.StartPebble(t, s.DNS, 20)
	c := newCaddyProgram(t)
	c.run(acmeFile(t, c, s, p, "renew_interval 1s", s.Hostname))
	c.await(s.Hostname, p.Roots)
	serials := make(map[string]bool)
	for end := time.Now().Add(50 * time.Second); time.Now().Before(end); {
		certificate, err := c.handshake(s.Hostname, p.Roots)
		if err != nil {
			t.Fatalf("a handshake failed: %v", err)
		}
		serials[certificate.SerialNumber.String()] = true
	}
	if len(serials) < 3 {
		t.Errorf("%d certificates in 50 seconds, each valid for 20", len(serials))
	}
	expectNoTXT(t, s)
}

// TestFailedValidation: where the ACME server doesn't see the record, nothing is
// left at the service.
func TestFailedValidation(t *testing.T) {
	s, elsewhere := synologytest.NewService(t), synologytest.NewService(t)
	p := testenv.StartPebble(t, elsewhere.DNS, 3600)
	c := newCaddyProgram(t)
	c.run(acmeFile(t, c, s, p, "", s.Hostname))
	testenv.Eventually(t, "a failed validation", func() error {
		if !strings.Contains(c.Log(), "could not get certificate from issuer") {
			return errors.New("none yet")
		}
		return nil
	})
	expectNoTXT(t, s)
	// It was there, and Pebble looked for it.
	written, deleted := make(map[string]bool), make(map[string]bool)
	for _, r := range s.Requests() {
		switch r.Command {
		case "letsencrypt/create":
			written[r.Form.Get("txt")] = true
		case "letsencrypt/delete":
			deleted[r.Form.Get("txt")] = true
		}
	}
	for value := range written {
		if !deleted[value] {
			t.Errorf("%s was not deleted", value)
		}
	}
	if len(written) == 0 || !strings.Contains(c.Log(), "No TXT records found") {
		t.Errorf("%d values were written; the log lacks the ACME server's reason", len(written))
	}
}

// TestKilled: what a killed process leaves behind does not hinder the next one.
func TestKilled(t *testing.T) {
	for _, test := range []struct {
		name    string
		options []synologytest.Option
	}{
		{name: "several TXT values"},
		{name: "one TXT value", options: []synologytest.Option{synologytest.OneTXTValue()}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := synologytest.NewService(t, test.options...)
			p := testenv.StartPebble(t, s.DNS, 3600)
			c := newCaddyProgram(t)
			s.DelayDNS(time.Hour) // it waits for the record to appear
			c.run(acmeFile(t, c, s, p, "", s.Hostname))
			testenv.Eventually(t, "the TXT record at the service", func() error {
				if len(s.Requests()) == 0 {
					return errors.New("no request yet")
				}
				return nil
			})
			c.end(syscall.SIGKILL)
			s.DelayDNS(0)
			c.run(acmeFile(t, c, s, p, "", s.Hostname))
			c.await(s.Hostname, p.Roots)
			expectNoTXT(t, s)
		})
	}
}

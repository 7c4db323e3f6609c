package testenv

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what every Caddy has
	"golang.org/x/crypto/bcrypt"
)

// Caddy is a real Caddy in this process, with a certificate of its own
// authority. There is one at a time: tests that use it don't run in parallel.
type Caddy struct {
	// Host is the address that it serves, "localhost:<port>".
	Host string
	// Client trusts its authority. It follows no redirects.
	Client *http.Client
	// Roots is the authority.
	Roots *x509.CertPool
	// Dir holds its data.
	Dir string

	t testing.TB
}

// NewCaddy chooses a port and a folder. Nothing runs before Load.
func NewCaddy(t testing.TB) *Caddy {
	t.Helper()
	c := &Caddy{Host: "localhost:" + strconv.Itoa(FreePort(t)), Dir: t.TempDir(), t: t}
	t.Cleanup(func() {
		if c.Client != nil {
			c.Client.CloseIdleConnections()
		}
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping Caddy: %v", err)
		}
	})
	return c
}

// Load runs the config with the given body of the site, in the place of the
// one before, if there is one.
func (c *Caddy) Load(site string) {
	c.t.Helper()
	if err := c.TryLoad(site); err != nil {
		c.t.Fatalf("loading the config: %v", err)
	}
}

// TryLoad is Load for configs that may be refused.
func (c *Caddy) TryLoad(site string) error {
	c.t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(`{
	admin off
	persist_config off
	auto_https disable_redirects
	local_certs
	skip_install_trust
	grace_period 5s
	storage file_system `+filepath.Join(c.Dir, "caddy")+`
	log {
		output file `+filepath.Join(c.Dir, "caddy.log")+`
		level DEBUG
	}
}
https://`+c.Host+` {
`+site+`
}`), nil)
	if err != nil {
		return err
	}
	if err := caddy.Load(config, true); err != nil {
		return err
	}
	if c.Client == nil {
		c.trust()
	}
	c.awaitCertificate()
	return nil
}

// awaitCertificate waits until a handshake succeeds: Caddy gets certificates
// in the background.
func (c *Caddy) awaitCertificate() {
	c.t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12}}
	Eventually(c.t, "a certificate for "+c.Host, func() error {
		conn, err := dialer.DialContext(c.t.Context(), "tcp", c.Host)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Log returns what was logged so far.
func (c *Caddy) Log() string {
	content, err := os.ReadFile(filepath.Join(c.Dir, "caddy.log"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(content)
}

// URL returns the URL of a path.
func (c *Caddy) URL(path string) string { return "https://" + c.Host + path }

func (c *Caddy) trust() {
	c.Roots = x509.NewCertPool()
	root, err := os.ReadFile(filepath.Join(c.Dir, "caddy", "pki", "authorities", "local", "root.crt"))
	if err != nil || !c.Roots.AppendCertsFromPEM(root) {
		c.t.Fatalf("reading the root certificate: %v", err)
	}
	c.Client = &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// FreePort returns a TCP port that nobody listens on.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// Users writes an htpasswd file with cheap hashes, of pairs of a user and a
// password, and returns its path.
func Users(t testing.TB, pairs ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "htpasswd")
	WriteUsers(t, path, pairs...)
	return path
}

// WriteUsers is Users for a file that is there already.
func WriteUsers(t testing.TB, path string, pairs ...string) {
	t.Helper()
	var content []byte
	for i := 0; i < len(pairs); i += 2 {
		hash, err := bcrypt.GenerateFromPassword([]byte(pairs[i+1]), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, pairs[i]+":"+string(hash)+"\n"...)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

package testenv

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what every Caddy has
	"golang.org/x/crypto/bcrypt"
)

// Caddy is a real Caddy in this process. There is one at a time: tests that use
// it don't run in parallel. It serves a certificate that the test made, since
// Caddy 2.11.9 has a data race between obtaining one and the start of its apps.
type Caddy struct {
	// Host is the address that it serves, "localhost:<port>".
	Host string
	// Client trusts its certificate. It follows no redirects.
	Client *http.Client
	// Roots is what clients must trust, and RootFile the same as a PEM file.
	Roots    *x509.CertPool
	RootFile string
	// Dir holds its data.
	Dir string

	t testing.TB
}

// NewCaddy chooses a port and a folder. Nothing runs before Load.
func NewCaddy(t testing.TB) *Caddy {
	t.Helper()
	c := &Caddy{Host: "localhost:" + strconv.Itoa(FreePort(t)), Dir: t.TempDir(), t: t}
	c.makeCertificate()
	t.Cleanup(func() {
		c.Client.CloseIdleConnections()
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
	config, err := c.adapt(site)
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

// LoadEdited is Load for what the directive has no option for: in the adapted
// JSON after takes the place of before, which must be there once.
func (c *Caddy) LoadEdited(site, before, after string) {
	c.t.Helper()
	config, err := c.adapt(site)
	if err != nil {
		c.t.Fatalf("adapting the config: %v", err)
	}
	if n := bytes.Count(config, []byte(before)); n != 1 {
		c.t.Fatalf("%s is %d times in the config: %s", before, n, config)
	}
	if err := caddy.Load(bytes.Replace(config, []byte(before), []byte(after), 1), true); err != nil {
		c.t.Fatalf("loading the config: %v", err)
	}
}

// adapt returns the JSON of the config with the given body of the site.
func (c *Caddy) adapt(site string) ([]byte, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(`{
	admin off
	persist_config off
	auto_https disable_redirects
	grace_period 5s
	storage file_system `+filepath.Join(c.Dir, "caddy")+`
	log {
		output file `+filepath.Join(c.Dir, "caddy.log")+`
		level DEBUG
	}
}
https://`+c.Host+` {
tls `+c.RootFile+` `+filepath.Join(c.Dir, "key.pem")+`
`+site+`
}`), nil)
	return config, err
}

// Log returns what was logged so far.
func (c *Caddy) Log() string {
	content, err := os.ReadFile(filepath.Join(c.Dir, "caddy.log"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(content)
}

// Dial opens a connection for HTTP/1.1 with no client in between. It ends with
// the test.
func (c *Caddy) Dial(t testing.TB) net.Conn {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(t.Context(), "tcp", c.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// ClientOf is a client like Client that speaks only one version of HTTP, 1 or 2.
func (c *Caddy) ClientOf(t testing.TB, version int) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(version == 1)
	protocols.SetHTTP2(version == 2)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
		Protocols:       protocols,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: c.Client.CheckRedirect}
}

// URL returns the URL of a path.
func (c *Caddy) URL(path string) string { return "https://" + c.Host + path }

// makeCertificate makes a certificate for localhost that is its own authority.
func (c *Caddy) makeCertificate() {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: "test"},
		DNSNames:              []string{"localhost"},
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		c.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	c.RootFile = filepath.Join(c.Dir, "root.crt")
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})
	for path, content := range map[string][]byte{
		c.RootFile:                      root,
		filepath.Join(c.Dir, "key.pem"): pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	c.Roots = x509.NewCertPool()
	c.Roots.AppendCertsFromPEM(root)
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

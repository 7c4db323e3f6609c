package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// issued is a certificate with its key.
type issued struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// issue makes a certificate: its name and, for a site, its DNS names. Edit may
// change the template. A nil signer: it signs itself.
func issue(t *testing.T, signer *issued, name string, dns []string, edit func(*x509.Certificate)) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: dns,
		NotBefore: now.Add(-30 * 24 * time.Hour), NotAfter: now.Add(60*24*time.Hour + time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	if len(dns) == 0 {
		template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	}
	if edit != nil {
		edit(template)
	}
	parent, signing := template, key
	if signer != nil {
		parent, signing = signer.Certificate, signer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signing)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{c, key}
}

func chainOf(issued ...*issued) (chain []*x509.Certificate) {
	for _, c := range issued {
		chain = append(chain, c.Certificate)
	}
	return chain
}

func pemOf(c *issued) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func poolOf(issued ...*issued) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range issued {
		pool.AddCert(c.Certificate)
	}
	return pool
}

// tlsConfig serves a chain.
func tlsConfig(chain ...*issued) *tls.Config {
	certificate := tls.Certificate{PrivateKey: chain[0].key}
	for _, c := range chain {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	return &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
}

// startSite serves HTTPS, or HTTP where there is no config of TLS, and returns the
// patient whose site that is, by the names.
func startSite(t *testing.T, config *tls.Config, handler http.HandlerFunc, names ...string) *patient {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(t.Output(), "", 0)
	if config == nil {
		server.Start()
	} else {
		server.TLS = config
		server.StartTLS()
	}
	t.Cleanup(server.Close)
	return patientAt(t, server.Listener.Addr().String(), names...)
}

// patientAt is a patient whose site listens on an address.
func patientAt(t *testing.T, address string, names ...string) *patient {
	t.Helper()
	app, err := json.Marshal(map[string]any{"servers": map[string]any{"srv0": map[string]any{"listen": []string{address}}}})
	if err != nil {
		t.Fatal(err)
	}
	return &patient{setup: &setup{names: names, port: portOf([]string{address}), parsed: &caddy.Config{AppsRaw: caddy.ModuleMap{"http": app}}}}
}

package synologytest

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// DSM is DSM 7's Web API on a TLS server with a self-signed certificate. Its
// fields must not be changed.
type DSM struct {
	URL         string // such as https://127.0.0.1:49152
	CAFile      string // PEM of the server's certificate
	Fingerprint string // SHA-256 of it, in lower-case hexadecimal digits

	Account, Password string // of an administrator; the password is secret
	OTPSecretCode     string // what is accepted as second factor, if one is asked for

	t      testing.TB
	path   string // of all APIs, below /webapi/
	apis   map[string]api
	faults faults

	mu             sync.Mutex // guards all following fields
	accounts       map[string]*account
	deviceKey      string // the field of the device token in the reply to a login
	sessions       map[string]*session
	secrets        []string
	requests       []DSMRequest
	logins         int
	refused        int         // logins
	failed         []time.Time // logins that count for the block
	blocked        bool
	busy           fault
	failLogin      fault
	withoutSession fault
	zones          []*zone
	ddns           *ddnsRecord
	otherDDNS      []map[string]any // as listed
	wan            addresses
	certificates   []*certificate
	validTo        bool
	now            func() time.Time
}

// fault is an error code for a number of requests.
type fault struct{ code, times int }

// strike counts down, and returns the code or 0.
func (f *fault) strike() int {
	if f.times <= 0 {
		return 0
	}
	f.times--
	return f.code
}

// DSMOption changes a DSM before it starts.
type DSMOption func(*DSM)

// WithPath serves the APIs at another path below /webapi/ than entry.cgi, except
// for the one that tells where they are.
func WithPath(path string) DSMOption {
	return func(d *DSM) { d.path = path }
}

// NewDSM starts a DSM, which ends with the test.
func NewDSM(t testing.TB, options ...DSMOption) *DSM {
	t.Helper()
	d := &DSM{
		Account:       "caddy",
		Password:      canary("password"),
		OTPSecretCode: digits(10), // more than real ones have, so that none is found by chance
		t:             t,
		path:          "entry.cgi",
		deviceKey:     "did",
		accounts:      map[string]*account{},
		sessions:      map[string]*session{},
		wan:           addresses{a: "203.0.113.7", aaaa: "2001:db8:7::7"},
		now:           time.Now,
	}
	d.secrets = []string{d.Password, d.OTPSecretCode}
	d.accounts[d.Account] = &account{password: d.Password, admin: true, devices: map[string]string{}}
	for _, option := range options {
		option(d)
	}
	d.apis = d.allAPIs()
	d.serve(t)
	return d
}

func (d *DSM) serve(t testing.TB) {
	t.Helper()
	certificate := selfSigned(t)
	sum := sha256.Sum256(certificate.Certificate[0])
	d.Fingerprint = hex.EncodeToString(sum[:])
	d.CAFile = filepath.Join(t.TempDir(), "dsm-ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	if err := os.WriteFile(d.CAFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(d.serveHTTP))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	// Clients that don't trust the certificate are some tests' purpose.
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(func() {
		d.Hang(false)
		server.Close()
	})
	d.URL = server.URL
}

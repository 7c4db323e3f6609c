package dnssynology

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
)

func TestTrust(t *testing.T) {
	fake := synologytest.NewDSM(t)
	colons := ""
	for i, c := range strings.ToUpper(fake.Fingerprint) {
		if i > 0 && i%2 == 0 {
			colons += ":"
		}
		colons += string(c)
	}
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noPEM, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	other := synologytest.NewDSM(t)
	for _, test := range []struct {
		name, caFile, fingerprint, want string
	}{
		{"CA file", fake.CAFile, "", ""},
		{"fingerprint", "", fake.Fingerprint, ""},
		{"as openssl prints it", "", "sha256 Fingerprint=" + colons, ""},
		{"another CA file", other.CAFile, "", "ca_file or fingerprint"},
		{"another fingerprint", "", other.Fingerprint, fake.Fingerprint},
		{"the system's authorities", "", "", "ca_file or fingerprint"},
		{"a CA file without certificates", noPEM, "", "no certificate in PEM"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := dsmAt(fake)
			d.CAFile, d.Fingerprint = test.caFile, test.fingerprint
			w, err := newWebAPI(d)
			if err == nil {
				defer w.close(t.Context())
				err = ask(t.Context(), w)
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v", err)
			}
		})
	}
	if fake.FailedLogins() != 0 || other.FailedLogins() != 0 {
		t.Error("a password went to somebody who isn't trusted")
	}
}

// The names in a certificate matter unless it is pinned.
func TestTrustOfAnotherName(t *testing.T) {
	fake := synologytest.NewDSM(t)
	d := dsmAt(fake)
	d.Fingerprint, d.CAFile = "", fake.CAFile
	d.URL = strings.Replace(d.URL, "127.0.0.1", "127.0.0.2", 1)
	if err := ask(t.Context(), apiTo(t, d)); err == nil {
		t.Error("a certificate for another address was trusted")
	}
}

func TestOldTLSRefused(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	w := apiTo(t, &DSM{URL: server.URL, Account: "caddy", Password: "secret", Fingerprint: strings.Repeat("0", 64)})
	if err := ask(t.Context(), w); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add("sha256:" + strings.Repeat("Ab:", 31) + "cd")
	f.Fuzz(func(t *testing.T, s string) {
		if sum, err := parseFingerprint(s); err == nil && len(sum) != 32 {
			t.Error(len(sum))
		}
	})
}

package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

func nothing(http.ResponseWriter, *http.Request) {}

// noCertificate is how Caddy ends the handshake for a name it has none for.
func noCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return nil, errors.New("no certificate")
}

func TestLookTLS(t *testing.T) {
	leaf := issue(t, nil, "site", []string{"reg.example.com"}, nil)
	none := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: noCertificate}
	p := startSite(t, tlsConfig(leaf), nothing, "reg.example.com")
	says(t, lookTLS(t.Context(), p), OK, "has a certificate for reg.example.com", "")
	if len(p.chain) != 1 || !p.chain[0].Equal(leaf.Certificate) {
		t.Errorf("chain %v", p.chain)
	}

	p = startSite(t, none, nothing, "reg.example.com")
	says(t, lookTLS(t.Context(), p), Wrong, "Caddy has no certificate for reg.example.com", "the authority")
	p.setup.managers = []json.RawMessage{[]byte(`{"via":"synology"}`)}
	says(t, lookTLS(t.Context(), p), Wrong, "Caddy has no certificate for reg.example.com", "in DSM")
	p.acmeFailed = true
	if f := lookTLS(t.Context(), p); f.Status != Unknown || f.cause != "acme" {
		t.Errorf("after a failure of the authority: %+v", f)
	}

	p = startSite(t, nil, nothing, "reg.example.com")
	says(t, lookTLS(t.Context(), p), Wrong, "is not TLS", "https://")

	p = patientAt(t, "127.0.0.1:"+strconv.Itoa(testenv.FreePort(t)), "reg.example.com")
	says(t, lookTLS(t.Context(), p), Wrong, "connection refused", "logs caddy")
}

func TestLookCertificate(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Now()
	from := func(start, end time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(start), now.Add(end) }
	}
	root := issue(t, nil, "Root X", nil, nil)
	named := func(name, organization string) *issued {
		return issue(t, root, "x", nil, func(c *x509.Certificate) {
			c.Subject = pkix.Name{CommonName: name, Organization: []string{organization}}
		})
	}
	both := []string{"a.example.com", "b.example.com"}
	for _, test := range []struct {
		name         string
		leaf         *issued
		status       Status
		seen, advice string
	}{
		{"good", issue(t, named("R13", "Let's Encrypt"), "", both, nil), OK,
			"covers a.example.com, b.example.com\nsigned by R13 (Let's Encrypt)\nvalid for another 60 days, until ", ""},
		{"wildcard", issue(t, root, "", []string{"*.example.com"}, nil), OK, "covers *.example.com", ""},
		{"another name", issue(t, root, "", []string{"other.example.com"}, nil), Wrong, "does not cover a.example.com", "logs caddy"},
		{"one name of two", issue(t, root, "", both[:1], nil), Wrong, "does not cover b.example.com", "logs caddy"},
		{"expired", issue(t, root, "", both, from(-90*day, -3*day)), Wrong, "has expired 3 days ago", "not renewed"},
		{"expired just now", issue(t, root, "", both, from(-90*day, -5*time.Minute)), Wrong, "has expired 5 minutes ago", "not renewed"},
		{"due", issue(t, root, "", both, from(-78*day, 12*day+time.Hour)), Wrong, "expires in 12 days", "not renewed"},
		{"being renewed", issue(t, root, "", both, from(-70*day, 20*day+time.Hour)), OK, "another 20 days", ""},
		{"for a year", issue(t, root, "", both, from(-335*day, 30*day+time.Hour)), OK, "another 30 days", ""},
		{"short", issue(t, root, "", both, from(-6*time.Hour, 6*time.Hour+time.Minute)), OK, "another 6 hours", ""},
		{"not yet valid", issue(t, root, "", both, from(day, 90*day)), Wrong, "is valid only from", "clock"},
		{"self-signed", issue(t, nil, "me", both, nil), OK, "signed by itself", ""},
		{"staging", issue(t, named("(STAGING) Tenuous Tomato R13", "Let's Encrypt"), "", both, nil), Wrong, "(STAGING)", "acme_ca"},
		{"Caddy's own", issue(t, named("Caddy Local Authority - ECC Intermediate", ""), "", both, nil), OK, "root.crt", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := startSite(t, tlsConfig(test.leaf), nothing, both...)
			p.chain = chainOf(test.leaf)
			says(t, lookCertificate(t.Context(), p), test.status, test.seen, test.advice)
		})
	}
}

// TestCertificateAdvice: what to do depends on where the certificate comes from.
func TestCertificateAdvice(t *testing.T) {
	p := patientAt(t, "127.0.0.1:1", "reg.example.com")
	check := func(get, renew string) {
		t.Helper()
		if got := p.setup.certificateAdvice(); !strings.Contains(got, get) {
			t.Errorf("to get one: %s", got)
		}
		if got := p.setup.renewalAdvice(); !strings.Contains(got, renew) {
			t.Errorf("to renew it: %s", got)
		}
	}
	check("the authority answers", "not renewed")
	p.setup.parsed.AppsRaw["tls"] = []byte(`{"certificates":{"automate":["reg.example.com"]}}`)
	check("the authority answers", "not renewed")
	p.setup.parsed.AppsRaw["tls"] = []byte(`{"certificates":{"load_files":[{"certificate":"a","key":"b"}]}}`)
	check("into the files", "into the files")
	p.setup.managers = []json.RawMessage{[]byte(`{"via":"synology"}`)}
	check("in DSM", "in DSM")
}

// TestCertificatePerName: Caddy has one for each name of a site.
func TestCertificatePerName(t *testing.T) {
	a, b := issue(t, nil, "", []string{"a.example.com"}, nil), issue(t, nil, "", []string{"b.example.com"}, nil)
	config := tlsConfig(a)
	config.Certificates = append(config.Certificates, tlsConfig(b).Certificates...)
	p := startSite(t, config, nothing, "a.example.com", "b.example.com")
	p.chain = chainOf(a)
	says(t, lookCertificate(t.Context(), p), OK, "covers a.example.com", "")
}

func TestJudgeChain(t *testing.T) {
	now := time.Now()
	root := issue(t, nil, "Root X", nil, nil)
	sub := issue(t, root, "R13", nil, nil)
	leaf := issue(t, sub, "", []string{"reg.example.com"}, nil)
	stray := issue(t, issue(t, nil, "Root Z", nil, nil), "Z9", nil, nil)
	old := issue(t, root, "R3", nil, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) })
	expired := issue(t, sub, "", []string{"reg.example.com"}, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = now.Add(-20*24*time.Hour), now.Add(-time.Hour)
	})
	future := issue(t, sub, "", []string{"reg.example.com"}, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) })
	for _, test := range []struct {
		name         string
		chain        []*issued
		roots        *x509.CertPool
		status       Status
		seen, advice string
	}{
		{"whole", []*issued{leaf, sub}, poolOf(root), OK, "complete: reg.example.com, signed by R13, signed by Root X", ""},
		{"with the root", []*issued{leaf, sub, root}, poolOf(root), OK, "complete", ""},
		{"expired", []*issued{expired, sub}, poolOf(root), OK, "complete", ""},
		{"not yet valid", []*issued{future, sub}, poolOf(root), OK, "complete", ""},
		{"no intermediate", []*issued{leaf}, poolOf(root), Wrong, "incomplete: the server sends no intermediate certificate after its own\nmissing: that of R13", "fullchain.pem"},
		{"another intermediate", []*issued{leaf, stray}, poolOf(root), Wrong, "signed by R13\nthe server sends \"Z9\"", "fullchain.pem"},
		{"wrong order", []*issued{leaf, root, sub}, poolOf(root), Wrong, "\"Root X\" has not signed the one before it", "fullchain.pem"},
		{"twice", []*issued{leaf, leaf, sub}, poolOf(root), Wrong, "has not signed the one before it", "fullchain.pem"},
		{"stray at the end", []*issued{leaf, sub, stray}, poolOf(root), Wrong, "\"Z9\" has not signed", "fullchain.pem"},
		{"old intermediate", []*issued{issue(t, old, "", []string{"reg.example.com"}, nil), old}, poolOf(root), Wrong, "\"R3\" is not valid: it expired at", "fullchain.pem"},
		{"unknown root", []*issued{leaf, sub}, poolOf(stray), Wrong, "does not know \"Root X\"", "public authority"},
		{"unknown root, sent", []*issued{leaf, sub, root}, poolOf(stray), Wrong, "does not trust the root \"Root X\"", "public authority"},
		{"self-signed", []*issued{issue(t, nil, "me", []string{"reg.example.com"}, nil)}, poolOf(root), Wrong, "does not trust the root \"me\"", "public authority"},
	} {
		t.Run(test.name, func(t *testing.T) {
			says(t, judgeChain(chainOf(test.chain...), test.roots, now), test.status, test.seen, test.advice)
		})
	}
}

// TestChainOfStaging: that clients don't trust it is the subject of the check of
// the certificate.
func TestChainOfStaging(t *testing.T) {
	staging := issue(t, nil, "(STAGING) Tenuous Tomato R13", nil, nil)
	p := patientAt(t, "127.0.0.1:1", "reg.example.com")
	p.chain = chainOf(issue(t, staging, "", []string{"reg.example.com"}, nil))
	if f := lookChain(t.Context(), p); f.cause != "certificate" {
		t.Errorf("%+v", f)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		49 * time.Hour: "2 days", 47 * time.Hour: "47 hours", 119 * time.Minute: "119 minutes", 0: "0 minutes",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
}

// FuzzCertificate: nothing in a certificate makes the doctor fall over.
func FuzzCertificate(f *testing.F) {
	f.Add("R13", "Let's Encrypt", "reg.example.com")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, name, organization, dns string) {
		c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, Issuer: pkix.Name{CommonName: name, Organization: []string{organization}}, DNSNames: strings.Fields(dns)}
		if subjectOf(c) == "" || signer(c) == "" || issuerOf(c) == "" {
			t.Errorf("nameless: %+v", c)
		}
	})
}

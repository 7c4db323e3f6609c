//go:build linux

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// authority is a certificate authority with an intermediate, as all public ones
// have.
type authority struct {
	rootPEM      []byte
	intermediate tls.Certificate
	issued       time.Duration // a second for each certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	root := sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "House Root"}, IsCA: true}, nil)
	return &authority{
		rootPEM:      certificatesPEM(root),
		intermediate: sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "House R1"}, IsCA: true}, &root),
	}
}

// issue makes a certificate of a name for sixty days, with its chain, as a server
// sends it. Each is younger than the one before, by whole seconds: certificates
// know no less, and of two that are equally old neither is the renewed one.
func (a *authority) issue(t testing.TB, name string) tls.Certificate {
	t.Helper()
	a.issued += time.Second
	from := time.Now().Add(a.issued - time.Hour)
	c := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: from, NotAfter: from.AddDate(0, 0, 60),
	}, &a.intermediate)
	c.Certificate = append(c.Certificate, a.intermediate.Certificate...)
	return c
}

// expiring is issue for a certificate that ends tomorrow.
func (a *authority) expiring(t testing.TB, name string) tls.Certificate {
	t.Helper()
	c := sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().AddDate(0, 0, -59), NotAfter: time.Now().AddDate(0, 0, 1),
	}, &a.intermediate)
	c.Certificate = append(c.Certificate, a.intermediate.Certificate...)
	return c
}

// sign completes a certificate and signs it by another, or by itself.
func sign(t testing.TB, template *x509.Certificate, by *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	if template.NotBefore.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(0, 0, 60)
	}
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if template.IsCA {
		template.KeyUsage |= x509.KeyUsageCertSign
	} else {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	parent, signer := template, key
	if by != nil {
		if parent, err = x509.ParseCertificate(by.Certificate[0]); err != nil {
			t.Fatal(err)
		}
		signer = by.PrivateKey.(*ecdsa.PrivateKey)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func certificatesPEM(c tls.Certificate) (text []byte) {
	for _, der := range c.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

func keyPEM(t testing.TB, c tls.Certificate) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// dialTo goes to one address, whatever is asked for.
func dialTo(address string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}

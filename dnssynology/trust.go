package dnssynology

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// tlsConfig returns whom to trust as DSM: the system's authorities, those of a
// file, or one certificate. There is no way not to verify.
func (d *DSM) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	switch {
	case d.CAFile != "":
		pem, err := readCAFile(d.CAFile)
		if err != nil {
			return nil, fmt.Errorf("dsm: reading ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("dsm: ca_file %s holds no certificate in PEM", d.CAFile)
		}
	case d.Fingerprint != "":
		want, err := parseFingerprint(d.Fingerprint)
		if err != nil {
			return nil, err
		}
		// The chain is not verified, since the certificate itself is. This runs
		// on resumed connections too, unlike VerifyPeerCertificate.
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(s tls.ConnectionState) error {
			return verifyFingerprint(s.PeerCertificates, want)
		}
	}
	return c, nil
}

// maxCAFile is more than all authorities of a system take.
const maxCAFile = 1 << 20

// readCAFile reads a regular file. Opening a named pipe doesn't wait for its other end.
func readCAFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	return io.ReadAll(io.LimitReader(f, maxCAFile))
}

// parseFingerprint reads 64 hexadecimal digits, in either case, in which colons
// and blanks don't count, after an optional "sha256:" or "SHA256 Fingerprint=".
func parseFingerprint(s string) ([]byte, error) {
	digits := strings.ToLower(strings.TrimSpace(s))
	for _, prefix := range []string{"sha256 fingerprint=", "sha256:", "sha256="} {
		digits = strings.TrimPrefix(digits, prefix)
	}
	digits = strings.NewReplacer(":", "", " ", "").Replace(digits)
	sum, err := hex.DecodeString(digits)
	if err != nil || len(sum) != sha256.Size {
		return nil, fmt.Errorf("dsm: fingerprint has %d characters, and not the 64 hexadecimal digits of SHA-256: openssl x509 -noout -fingerprint -sha256 prints it", len(digits))
	}
	return sum, nil
}

// verifyFingerprint returns an error unless the first certificate is the one.
func verifyFingerprint(chain []*x509.Certificate, want []byte) error {
	if len(chain) == 0 {
		return errors.New("DSM showed no certificate")
	}
	if got := sha256.Sum256(chain[0].Raw); !bytes.Equal(got[:], want) {
		return fmt.Errorf("DSM's certificate has the fingerprint %x, not the configured one: set it only if you know why it changed", got)
	}
	return nil
}

// newTransport returns how DSM is reached: directly, since it is in the same
// network or behind a name of its own.
func (d *DSM) newTransport() (*http.Transport, error) {
	c, err := d.tlsConfig()
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:        c,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: 64 << 10,
		// Shorter than any server's, since a POST on a connection that is just
		// being closed fails.
		IdleConnTimeout: 5 * time.Second,
	}, nil
}

// trustHint says what to do about a certificate that is not trusted.
func trustHint(err error) error {
	var cert *tls.CertificateVerificationError
	if !errors.As(err, &cert) {
		return err
	}
	return fmt.Errorf("%w: DSM's own certificate is trusted by ca_file or fingerprint", err)
}

//go:build linux

package e2e

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestDSMCertificate is the house in which DSM keeps the name and its certificate,
// and Caddy follows. The test does what DSM does.
func TestDSMCertificate(t *testing.T) {
	if !inHouse(t) {
		return
	}
	h := newHouse(t, int(validity.Seconds()))
	h.env("COMPOSE_FILE=compose.yaml:compose.dsm-certificate.yaml", "SYNOLOGY_CERTIFICATES="+h.checkout+"/archive")
	h.service.SetAddresses(name, h.address)
	first := h.ca.issue(t, name)
	h.renewInDSM(t, "dNtAMd", first)
	h.up()
	h.then(t, "3 the certificate is served", func(t *testing.T) {
		testenv.EventuallyWithin(t, "DSM's certificate", soon, func() error { return h.serves(first) })
		h.closed(t)
	})
	h.connects(t)
	h.then(t, "DSM renews its certificate", func(t *testing.T) {
		for n := range 3 { // in the same folder, and in one with another number
			next := h.ca.issue(t, name)
			h.renewInDSM(t, []string{"dNtAMd", "k3SxQp", "k3SxQp"}[n], next)
			testenv.EventuallyWithin(t, "the renewed certificate", soon, func() error { return h.serves(next) })
			h.pushAndPull(t, fmt.Sprintf("team/renewed-%d:v1", n))
		}
	})
	if n := h.pebble.Orders(); n != 0 {
		t.Errorf("%d certificates were ordered", n)
	}
	if n := h.writes(); n != 0 {
		t.Errorf("the address was written %d times, and DSM keeps it", n)
	}
}

// renewInDSM writes the files of a certificate as DSM has them, into the folder
// with this number.
func (h *house) renewInDSM(t testing.TB, number string, c tls.Certificate) {
	t.Helper()
	leaf, chain := c, c
	leaf.Certificate, chain.Certificate = c.Certificate[:1], c.Certificate[1:]
	for file, content := range map[string][]byte{
		"cert.pem": certificatesPEM(leaf), "chain.pem": certificatesPEM(chain),
		"fullchain.pem": certificatesPEM(c), "privkey.pem": keyPEM(t, c),
		"renew.json": []byte(`{"domains": "` + name + `"}`),
	} {
		h.keep("archive/"+number+"/"+file, content)
	}
}

// serves tells why the client is not shown this certificate.
func (h *house) serves(c tls.Certificate) error {
	got, err := h.served()
	if err == nil && !bytes.Equal(got.Raw, c.Certificate[0]) {
		err = errors.New("it is another one")
	}
	return err
}

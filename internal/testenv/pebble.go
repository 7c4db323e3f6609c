package testenv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Pebble is Let's Encrypt's small ACME server, the real program, in strict mode.
type Pebble struct {
	// Directory is the URL of its ACME directory, and RootFile a PEM file with
	// the authority of that URL's own certificate.
	Directory, RootFile string
	// Roots are what clients of the certificates that it issues must trust, and
	// RootsPEM the same as text.
	Roots    *x509.CertPool
	RootsPEM []byte
	// Output has its log.
	Output

	transport *http.Transport
}

// Transport trusts the certificate of Directory.
func (p *Pebble) Transport() *http.Transport { return p.transport }

// StartPebble runs Pebble until the test ends. It validates names through the
// DNS server at dns, "host:port". The certificates are valid for a number of
// seconds.
func StartPebble(t testing.TB, dns string, validity int) *Pebble {
	t.Helper()
	program := Program(t, "pebble")
	own := NewCaddy(t) // for its certificate of localhost
	p := &Pebble{RootFile: own.RootFile}
	acme, management := strconv.Itoa(FreePort(t)), strconv.Itoa(FreePort(t))
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": "127.0.0.1:" + acme, "managementListenAddress": "127.0.0.1:" + management,
		"certificate": own.RootFile, "privateKey": filepath.Join(own.Dir, "key.pem"),
		"httpPort": FreePort(t), "tlsPort": FreePort(t), "keyAlgorithm": "ecdsa",
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   map[string]any{"default": map[string]any{"description": "of the test", "validityPeriod": validity}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pebble.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "-config", file, "-strict", "-dnsserver", dns) // ended in Cleanup
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=5")
	cmd.Stdout, cmd.Stderr = p, p
	noOrphan(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Pebble's log:\n%s", p.Log())
		}
	})
	p.Directory = "https://localhost:" + acme + "/dir"
	p.transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: own.Roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(p.transport.CloseIdleConnections)
	client := &http.Client{Transport: p.transport}
	Eventually(t, "Pebble", func() error {
		if _, err := fetch(t, client, p.Directory); err != nil {
			return err
		}
		root, err := fetch(t, client, "https://localhost:"+management+"/roots/0")
		if err != nil {
			return err
		}
		if p.Roots = x509.NewCertPool(); !p.Roots.AppendCertsFromPEM(root) {
			return errors.New("its root is no certificate")
		}
		p.RootsPEM = root
		return nil
	})
	return p
}

func fetch(t testing.TB, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// Orders returns how many orders it has got.
func (p *Pebble) Orders() int { return strings.Count(p.Log(), "Added order") }

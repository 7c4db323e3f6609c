//go:build linux

package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestSynology is the house in which Caddy keeps the name and obtains the
// certificate.
func TestSynology(t *testing.T) {
	if !inHouse(t) {
		return
	}
	h := newHouse(t, int(validity.Seconds()))
	h.env("COMPOSE_FILE=compose.yaml:compose.synology.yaml")
	h.useService()
	h.up()
	h.steps(t)
	for _, event := range []struct {
		name string
		test func(*house, *testing.T)
	}{
		{"the prefix changes during a push", (*house).renumbered},
		{"Caddy is reloaded during pushes", (*house).reloaded},
		{"the container is recreated", (*house).recreated},
		{"the engine restarts", (*house).engineRestarts},
		{"Caddy is killed", (*house).killed},
		{"the service is away during a renumbering", (*house).serviceAway},
		{"the certificate is renewed during a pull", (*house).renewed},
	} {
		then(t, event.name, func(t *testing.T) { event.test(h, t) })
	}
}

// useService gives the NAS what credentials.sh would find there.
func (h *house) useService() {
	h.t.Helper()
	h.keep("data/docker/synology.json", h.service.Credentials())
}

// then runs a subtest that all after it need.
func then(t *testing.T, name string, f func(*testing.T)) {
	t.Helper()
	if !t.Run(name, f) {
		t.FailNow()
	}
}

// steps are those of the article.
func (h *house) steps(t *testing.T) {
	then(t, "1 the address reaches the name", func(t *testing.T) {
		testenv.Eventually(t, "the AAAA record", func() error { return h.published(h.address) })
	})
	then(t, "2 the certificate is obtained without an open port", func(t *testing.T) {
		testenv.Eventually(t, "the certificate", func() error {
			if n := strings.Count(h.pebble.Log(), "Issued certificate"); n != 1 {
				return fmt.Errorf("%d were issued", n)
			}
			return nil
		})
		// Docker's own are on the bridge's side, and none is there without a
		// published port.
		if ports := h.nas.listening(t); !slices.Equal(ports, []int{5002}) {
			t.Errorf("the NAS listens on TCP ports %v", ports)
		}
		if ports := h.router.listening(t); len(ports) > 0 {
			t.Errorf("the router listens on TCP ports %v", ports)
		}
	})
	then(t, "3 the certificate is served", func(t *testing.T) {
		testenv.Eventually(t, "the certificate", func() error {
			leaf, err := h.served()
			if err != nil {
				return err
			}
			return leaf.VerifyHostname(name)
		})
	})
	h.connects(t)
}

// connects are the last two steps, and what the article shows to work.
func (h *house) connects(t *testing.T) {
	then(t, "4 the client connects over IPv6", func(t *testing.T) {
		h.reachable(h.address)
	})
	then(t, "5 the request ends at the registry over IPv4 on the bridge", func(t *testing.T) {
		got, err := h.catalog()
		if err != nil || got != `{"repositories":[]}` {
			t.Fatalf("the catalog is %q, %v", got, err)
		}
		gateway := h.nas.run("docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", h.container("registry"))
		if ip, err := netip.ParseAddr(gateway); err != nil || !ip.Is4() {
			t.Fatalf("the bridge is %q", gateway)
		}
		logged := h.nas.run("docker", "logs", h.container("registry"))
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(gateway) + ` - .*"GET /v2/_catalog`).MatchString(logged) {
			t.Errorf("the registry's log has no request from the bridge %s:\n%s", gateway, last(logged, 10))
		}
	})
	then(t, "login, push and pull", func(t *testing.T) {
		user, password, _ := strings.Cut(login, ":")
		h.client.run("docker", "login", "--username", user, "--password", password, site)
		h.pushAndPull(t, "team/app:v1", "registry:3")
	})
}

// pushAndPull sends an image that the client has, and gets it back.
func (h *house) pushAndPull(t testing.TB, repository, image string) {
	t.Helper()
	id, there := h.client.id(image), site+"/"+repository
	h.client.run("docker", "tag", image, there)
	h.client.run("docker", "push", "--quiet", there)
	h.client.run("docker", "rmi", there)
	h.client.run("docker", "pull", "--quiet", there)
	if got := h.client.id(there); got != id {
		t.Errorf("pushed %s, pulled %s", id, got)
	}
	h.client.run("docker", "rmi", there)
}

// published tells why the name does not have exactly this address at its own
// servers.
func (h *house) published(want netip.Addr) error {
	if got := h.service.Addresses(name); !slices.Equal(got, []string{want.String()}) {
		return fmt.Errorf("%s has %v instead of %s", name, got, want)
	}
	return nil
}

// served returns the certificate that the client is shown, and verifies.
func (h *house) served() (*x509.Certificate, error) {
	out, err := h.curl("--output", "/dev/null", "--write-out", "%{certs}", "https://"+site+"/v2/")
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(out[max(0, strings.Index(out, "-----BEGIN")):]))
	if block == nil {
		return nil, fmt.Errorf("no certificate: %s", out)
	}
	return x509.ParseCertificate(block.Bytes)
}

// listening returns the TCP ports on which a machine listens, but for loopback.
func (m *machine) listening(t testing.TB) (ports []int) {
	t.Helper()
	for line := range strings.Lines(m.run("cat", "/proc/net/tcp", "/proc/net/tcp6")) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != "0A" {
			continue
		}
		at := strings.LastIndex(fields[1], ":")
		port, err := strconv.ParseInt(fields[1][at+1:], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		if fields[1][:at] != "0100007F" && !slices.Contains(ports, int(port)) {
			ports = append(ports, int(port))
		}
	}
	slices.Sort(ports)
	return ports
}

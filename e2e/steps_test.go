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

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
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
		test func(*testing.T)
	}{
		{"the prefix changes during a push", h.renumbered},
		// These two while no certificate is due.
		{"Caddy is killed", h.killed},
		{"the engine restarts", h.engineRestarts},
		{"Caddy is reloaded during pushes", h.reloaded},
		{"the container is recreated", h.recreated},
		{"the service is away during a renumbering", h.serviceAway},
		{"the certificate is renewed during a pull", h.renewed},
	} {
		h.then(t, event.name, event.test)
	}
}

// useService gives the NAS what credentials.sh would find there.
func (h *house) useService() {
	h.t.Helper()
	h.keep("data/docker/synology.json", h.service.Credentials())
}

// then runs a subtest that all after it need.
func (h *house) then(t *testing.T, name string, f func(*testing.T)) {
	t.Helper()
	if !t.Run(name, func(t *testing.T) {
		defer func(before testing.TB) { h.t = before }(h.t)
		h.t = t // what fails, fails here
		f(t)
	}) {
		t.FailNow()
	}
}

// steps are those of the article.
func (h *house) steps(t *testing.T) {
	h.then(t, "1 the address reaches the name", func(t *testing.T) {
		testenv.EventuallyWithin(t, "the AAAA record", soon, func() error { return h.published(h.address) })
	})
	h.then(t, "2 the certificate is obtained without an open port", func(t *testing.T) {
		testenv.EventuallyWithin(t, "the certificate", soon, func() error {
			h.closed(t) // all the time
			if n := strings.Count(h.pebble.Log(), "Issued certificate"); n != 1 {
				return fmt.Errorf("%d were issued", n)
			}
			return nil
		})
		if !slices.ContainsFunc(h.service.Requests(), func(r synologytest.Request) bool { return r.Command == "letsencrypt/create" }) {
			t.Error("the service got no TXT record")
		}
		testenv.EventuallyWithin(t, "the TXT record's end", soon, func() error {
			if values := h.service.TXT("_acme-challenge." + name); len(values) > 0 {
				return fmt.Errorf("it has %v", values)
			}
			return nil
		})
	})
	h.then(t, "3 the certificate is served", func(t *testing.T) {
		testenv.EventuallyWithin(t, "the certificate", soon, func() error {
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
	h.then(t, "4 the client connects over IPv6", func(*testing.T) {
		h.reachable(h.address)
	})
	h.then(t, "5 the request ends at the registry over IPv4 on the bridge", func(t *testing.T) {
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
	h.then(t, "login, push and pull", func(t *testing.T) {
		user, password, _ := strings.Cut(login, ":")
		h.client.run("docker", "login", "--username", user, "--password", password, site)
		h.client.run("docker", "tag", "registry:3", site+"/team/app:v1")
		h.sendAndGet(t, site+"/team/app:v1")
		h.pushAndPull(t, "team/other:v1")
	})
}

// pushAndPull sends a new image, of which nothing stays on the client, and gets it
// back.
func (h *house) pushAndPull(t testing.TB, repository string) {
	t.Helper()
	there := site + "/" + repository
	h.client.newImage(there, "1M")
	h.sendAndGet(t, there)
	h.client.run("docker", "rmi", there)
}

// sendAndGet pushes an image, removes it and pulls it.
func (h *house) sendAndGet(t testing.TB, image string) {
	t.Helper()
	id := h.client.id(image)
	h.client.run("docker", "push", "--quiet", image)
	h.client.run("docker", "rmi", image)
	h.client.run("docker", "pull", "--quiet", image)
	if got := h.client.id(image); got != id {
		t.Errorf("pushed %s, pulled %s", id, got)
	}
}

// published tells why the name does not have exactly this address at its own
// servers.
func (h *house) published(want netip.Addr) error {
	if got := h.service.Addresses(name); !slices.Equal(got, []string{want.String()}) {
		return fmt.Errorf("%s has %v instead of %s", name, got, want)
	}
	return nil
}

// closed expects that nothing listens in the house but for Caddy on port 5002.
func (h *house) closed(t testing.TB) {
	t.Helper()
	for _, m := range []*machine{h.nas.machine, h.router.machine, h.client.machine} {
		for _, port := range m.listening(t) {
			if m != h.nas.machine || port != 5002 {
				t.Errorf("%s listens on TCP port %d", m.name, port)
			}
		}
	}
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

//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/caddy-nas/caddy-nas-registry/doctor"
	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// ailment breaks one thing in the house.
type ailment struct {
	check string // that names it
	hang  string // the checks that can't be made because of it
	cause func(*house)
	cure  func(*house)
	// flags of the doctor, and what it reads.
	flags []string
	input string
}

// TestDoctor breaks one thing after the other, and expects that the doctor names
// just that.
func TestDoctor(t *testing.T) {
	if !inHouse(t) {
		return
	}
	h := newHouse(t, int(validity.Seconds()))
	h.env("COMPOSE_FILE=compose.yaml:compose.synology.yaml")
	h.useService()
	h.up()
	h.reachable(h.address)
	h.ails(t, ofSynology)
	h.manual(t)
	h.ails(t, ofFiles)

	report, _, err := h.examine(strings.TrimPrefix(login, "testuser:")+"\n", "--user", "testuser", "--login")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		if !slices.ContainsFunc(slices.Concat(ofSynology, ofFiles), func(a ailment) bool { return a.check == r.ID }) {
			t.Errorf("nothing makes the check %s fail", r.ID)
		}
	}
}

// ails makes the house ill and well again.
func (h *house) ails(t *testing.T, ailments []ailment) {
	h.then(t, "well", func(t *testing.T) { h.wellAgain(t) })
	for _, a := range ailments {
		h.then(t, a.check, func(t *testing.T) {
			a.cause(h)
			testenv.EventuallyWithin(t, "the diagnosis", soon, func() error { return h.diagnosed(a) })
			a.cure(h)
			h.wellAgain(t)
		})
	}
}

// wellAgain waits until every check is well.
func (h *house) wellAgain(t *testing.T) {
	t.Helper()
	testenv.EventuallyWithin(t, "a house that is well", soon, func() error { return h.diagnosed(ailment{}) })
}

// diagnosed tells why the doctor's report is not what the ailment should give.
func (h *house) diagnosed(a ailment) error {
	report, status, err := h.examine(a.input, a.flags...)
	if err != nil {
		return err
	}
	want, got := make(map[string]string), make(map[string]string)
	hang := strings.Fields(a.hang)
	for _, r := range report.Results {
		got[r.ID], want[r.ID] = string(r.Status)+" "+r.Cause, "ok "
		switch {
		case r.ID == a.check:
			want[r.ID] = "wrong "
		case slices.Contains(hang, r.ID):
			want[r.ID] = "unknown " + a.check
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("(-want +got):\n%s\n%s", diff, seen(report))
	}
	wantStatus := 0
	if a.check != "" {
		wantStatus = 1
	}
	if status != wantStatus {
		return fmt.Errorf("exit status %d instead of %d", status, wantStatus)
	}
	for _, id := range append(hang, a.check) {
		if _, made := got[id]; id != "" && !made {
			return fmt.Errorf("there is no check %s among %v", id, slices.Sorted(maps.Keys(got)))
		}
	}
	return nil
}

// seen is what a report says of all that is not well.
func seen(report doctor.Report) string {
	var b strings.Builder
	for _, r := range report.Results {
		if r.Status != doctor.OK {
			fmt.Fprintf(&b, "%s: %s; %s\n", r.ID, strings.Join(r.Seen, "; "), r.Advice)
		}
	}
	return b.String()
}

// examine runs the doctor in Caddy's container, or in another one of that service
// where it does not run.
func (h *house) examine(input string, flags ...string) (report doctor.Report, status int, err error) {
	how := []string{"exec", "-T"}
	if h.running("caddy") != nil {
		how = []string{"run", "-T", "--rm"}
	}
	args := append(slices.Concat(h.composer, how), "caddy", "caddy", "registry-doctor", "--json")
	ctx, cancel := context.WithTimeout(ended(h.t), patience)
	defer cancel()
	cmd := h.nas.command(ctx, h.checkout, nil, append(args, flags...)...)
	cmd.Stdin = strings.NewReader(input)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return report, 0, err
	}
	status = cmd.ProcessState.ExitCode()
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		return report, status, fmt.Errorf("registry-doctor, exit status %d: %w\n%s%s", status, err, out.String(), problems.String())
	}
	return report, status, nil
}

// running tells why a service's container does not run.
func (h *house) running(service string) error {
	out, err := h.nas.try("docker", "ps", "--quiet", "--filter", "label=com.docker.compose.service="+service)
	if err == nil && out == "" {
		err = fmt.Errorf("no container of %s runs", service)
	}
	return err
}

// nothing is the cure of what mends itself.
func nothing(*house) {}

const (
	// served are the checks of what Caddy serves.
	served = "tls certificate chain challenge connection"

	// Addresses of nobody.
	otherIP6, otherIP4 = "2a0e:7a5:1:1::dead", "203.0.113.9"
)

var ofSynology = []ailment{
	{
		check: "clock",
		cause: func(h *house) { h.skew.Store(-5 * 60e9) },
		cure:  func(h *house) { h.skew.Store(0) },
	},
	{
		check: "port", hang: "caddy acme " + served,
		cause: func(h *house) {
			h.compose("stop", "caddy")
			h.nas.run("docker", "run", "--detach", "--name", "squatter", "--network", "host",
				"--env", "REGISTRY_HTTP_ADDR=:5002", "registry:3")
		},
		cure: func(h *house) {
			h.nas.run("docker", "rm", "--force", "--volumes", "squatter")
			h.compose("up", "-d")
		},
	},
	{
		check: "caddy", hang: "acme " + served,
		cause: func(h *house) { h.compose("stop", "caddy") },
		cure:  func(h *house) { h.compose("up", "-d") },
	},
	{
		check: "caddy", hang: "acme " + served, // what runs is not what the file says
		cause: func(h *house) {
			h.edit("synology.Caddyfile", "registry_proxy {", "registry_proxy {\n\t\tallow testuser pull **")
		},
		cure: func(h *house) {
			h.edit("synology.Caddyfile", "registry_proxy {\n\t\tallow testuser pull **", "registry_proxy {")
		},
	},
	{
		check: "route", hang: "address dns_authority dns_foreign dns_resolver connection",
		cause: func(h *house) {
			h.router.mute()
			h.nas.run("ip", "-6", "route", "del", "default")
		},
		cure: func(h *house) { h.router.advertise(firstPrefix) },
	},
	{
		check: "address", hang: "dns_authority dns_foreign dns_resolver connection",
		cause: func(h *house) {
			h.router.mute()
			h.nas.run("ip", "-6", "address", "flush", "dev", "eth0", "scope", "global")
		},
		cure: func(h *house) { h.router.advertise(firstPrefix) },
	},
	{
		check: "dns", hang: "dns_authority dns_foreign dns_ipv4 dns_resolver connection",
		cause: func(h *house) { h.service.FailDNS(dns.RcodeRefused, 1<<30) },
		cure:  func(h *house) { h.service.FailDNS(0, 0) },
	},
	{
		check: "dns_authority", hang: "dns_foreign dns_resolver connection",
		cause: func(h *house) { h.service.SetAddresses(name, netip.MustParseAddr(otherIP6)) },
		cure:  func(h *house) { h.service.SetAddresses(name, h.address) },
	},
	{
		check: "dns_foreign",
		cause: func(h *house) { h.service.SetAddresses(name, h.address, netip.MustParseAddr(otherIP6)) },
		cure:  func(h *house) { h.service.SetAddresses(name, h.address) },
	},
	{
		check: "dns_ipv4",
		cause: func(h *house) { h.service.SetAddresses(name, h.address, netip.MustParseAddr(otherIP4)) },
		cure:  func(h *house) { h.service.SetAddresses(name, h.address) },
	},
	{
		check: "dns_resolver", hang: "connection",
		cause: func(h *house) { h.resolver.lie(h.t, name, otherIP6) },
		cure:  func(h *house) { h.resolver.lie(h.t, "", "") },
	},
	{
		check: "credentials",
		cause: func(h *house) { h.nas.run("chmod", "644", h.checkout+"/data/docker/synology.json") },
		cure:  func(h *house) { h.nas.run("chmod", "600", h.checkout+"/data/docker/synology.json") },
	},
	{
		check: "provider", flags: []string{"--login"},
		cause: func(h *house) { h.service.Fail("badauth", 1<<30) },
		cure:  func(h *house) { h.service.Fail("", 0) },
	},
	{
		check: "acme",
		cause: func(h *house) { h.acmeAway.Store(true) },
		cure:  func(h *house) { h.acmeAway.Store(false) },
	},
	{
		check: "connection",
		cause: func(h *house) {
			h.nas.run("ip6tables", "-I", "INPUT", "-p", "tcp", "-d", h.address.String(), "--dport", "5002", "-j", "REJECT")
		},
		cure: func(h *house) { h.nas.run("ip6tables", "-F", "INPUT") },
	},
	{
		check: "docker", hang: "container registry",
		// Caddy's root has no capabilities, so that this keeps it out.
		cause: func(h *house) { h.nas.run("chmod", "000", "/run/docker.sock") },
		cure:  func(h *house) { h.nas.run("chmod", "660", "/run/docker.sock") },
	},
	{
		check: "container", hang: "registry",
		cause: func(h *house) { h.compose("stop", "registry") },
		cure:  func(h *house) { h.compose("start", "registry") },
	},
	{
		check: "registry",
		cause: func(h *house) { h.signal("registry", "STOP") },
		cure:  func(h *house) { h.signal("registry", "CONT") },
	},
	{
		check: "users",
		cause: func(h *house) {
			h.nas.run("sh", "-c", "echo 'bob:$apr1$x$y' >>"+h.checkout+"/data/docker/auth/htpasswd")
		},
		cure: func(h *house) { h.nas.run("sed", "-i", "/^bob:/d", h.checkout+"/data/docker/auth/htpasswd") },
	},
	{
		check: "user", flags: []string{"--user", "testuser"}, input: "not this one\n",
		cause: nothing, cure: nothing,
	},
}

// manual deploys Caddy as the article does by hand: with a certificate in files.
func (h *house) manual(t *testing.T) {
	t.Helper()
	h.compose("down", "--timeout", "5")
	h.env("COMPOSE_FILE=compose.yaml", "CADDYFILE=manual.Caddyfile")
	h.keep("caddyfiles/manual.Caddyfile", []byte(`{
	admin unix//run/caddy/admin.sock
	persist_config off
	auto_https disable_redirects
}

https://{$REGISTRY_DOMAIN}:{$REGISTRY_PORT} {
	tls /auth/fullchain.pem /auth/privkey.pem
	registry_proxy {
		docker
		htpasswd /auth/htpasswd
	}
}
`))
	h.install(h.ca.issue(t, name))
	h.compose("up", "-d")
}

// install puts a certificate where the manual way wants it, and has Caddy read it.
func (h *house) install(c tls.Certificate) {
	h.keep("data/docker/auth/fullchain.pem", certificatesPEM(c))
	h.keep("data/docker/auth/privkey.pem", keyPEM(h.t, c))
	if h.running("caddy") == nil {
		h.compose("exec", "-T", "caddy", "sh", "-c", "caddy reload --force --config /etc/caddy/$CADDYFILE")
	}
}

var ofFiles = []ailment{
	{
		check: "certificate", hang: "connection",
		cause: func(h *house) { h.install(h.ca.expiring(h.t, name)) },
		cure:  func(h *house) { h.install(h.ca.issue(h.t, name)) },
	},
	{
		check: "chain", hang: "connection",
		cause: func(h *house) { // what comes of joining the wrong files
			c := h.ca.issue(h.t, name)
			c.Certificate = c.Certificate[:1]
			h.install(c)
		},
		cure: func(h *house) { h.install(h.ca.issue(h.t, name)) },
	},
	{
		check: "challenge", hang: "connection",
		cause: func(h *house) {
			h.edit("manual.Caddyfile", "registry_proxy {", "respond /v2/ 204\n\tregistry_proxy {")
			h.install(h.ca.issue(h.t, name))
		},
		cure: func(h *house) {
			h.edit("manual.Caddyfile", "respond /v2/ 204\n\tregistry_proxy {", "registry_proxy {")
			h.install(h.ca.issue(h.t, name))
		},
	},
	{
		check: "tls", hang: "certificate chain challenge connection",
		cause: func(h *house) {
			h.edit("manual.Caddyfile", "tls /auth/fullchain.pem /auth/privkey.pem", "tls {\n\t\tget_certificate http http://127.0.0.1:9/\n\t}")
			h.install(h.ca.issue(h.t, name))
		},
		cure: func(h *house) {
			h.edit("manual.Caddyfile", "tls {\n\t\tget_certificate http http://127.0.0.1:9/\n\t}", "tls /auth/fullchain.pem /auth/privkey.pem")
			h.install(h.ca.issue(h.t, name))
		},
	},
	{
		check: "config",
		cause: func(h *house) { h.edit("manual.Caddyfile", "registry_proxy {", "registry_prxy {") },
		cure:  func(h *house) { h.edit("manual.Caddyfile", "registry_prxy {", "registry_proxy {") },
	},
}

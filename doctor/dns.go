package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/miekg/dns"

	"github.com/caddy-nas/caddy-nas-registry/ddnsipv6"
	"github.com/caddy-nas/caddy-nas-registry/internal/authority"
)

// privateSuffixes are the ends of names that home networks have for themselves,
// beside those that certmagic knows, and that of Tailscale, whose addresses are
// known in its VPN only.
var privateSuffixes = []string{".lan", ".home", ".localdomain", ".fritz.box", ".ts.net"}

// isPublic tells whether the registry's name is one of the public DNS, that others
// are to find.
func (p *patient) isPublic() bool {
	if !publicName(p.setup.name()) {
		return false
	}
	internal := 0
	for _, raw := range p.setup.issuers {
		if moduleOf(raw, "module") == "internal" {
			internal++
		}
	}
	return internal == 0 || internal < len(p.setup.issuers)
}

// publicName tells whether a name could be one of the public DNS.
func publicName(name string) bool {
	name = strings.ToLower(name)
	if !certmagic.SubjectQualifiesForPublicCert(name) || certmagic.SubjectIsIP(name) || !strings.Contains(name, ".") {
		return false
	}
	return !slices.ContainsFunc(privateSuffixes, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

// moduleOf is the name of a module in JSON, in its inline key.
func moduleOf(raw json.RawMessage, key string) string {
	var fields map[string]any
	if json.Unmarshal(raw, &fields) != nil {
		return ""
	}
	name, _ := fields[key].(string)
	return name
}

// fqdn is the registry's name with a final dot.
func (p *patient) fqdn() string { return dns.Fqdn(strings.ToLower(p.setup.name())) }

// authorities is how the zone and its servers are found: as ddns_ipv6 would.
func (p *patient) authorities() *authority.Client {
	client := p.nameServers
	if len(client.Resolvers) == 0 {
		var policy ddnsipv6.Policy
		if json.Unmarshal(p.setup.policy(), &policy) == nil {
			for _, r := range policy.Resolvers {
				client.Resolvers = append(client.Resolvers, replaced(r))
			}
		}
	}
	return &client
}

// lookDNS finds the zone of the name and its authoritative servers: the patient's
// zone and servers.
func lookDNS(ctx context.Context, p *patient) Finding {
	client := p.authorities()
	live, silent := answering(ctx, certmagic.RecursiveNameservers(client.Resolvers), p.fqdn())
	if len(live) == 0 {
		return wrong(resolverAdvice, append([]string{"no DNS server of this machine answers"}, silent...)...)
	}
	client.Resolvers = live // each question to a silent one would take seconds
	zone, err := client.Zone(ctx, p.fqdn())
	if err != nil {
		return zoneFailed(p.setup.name(), err)
	}
	if dns.CountLabel(zone) < 2 {
		return wrong("Register the domain, or correct the name of the registry's site.",
			"nobody has registered a domain for "+p.setup.name())
	}
	servers, err := client.Servers(ctx, zone)
	if err != nil {
		return zoneFailed(p.setup.name(), err)
	}
	answers := each(servers, func(s authority.Server) error { return client.Answers(ctx, s.Addr, zone) })
	p.zone = zone
	finding, usable := judgeServers(zone, servers, answers)
	p.servers = usable
	return finding
}

// each calls f for all elements at once.
func each[T, R any](list []T, f func(T) R) []R {
	results := make([]R, len(list))
	var calls sync.WaitGroup
	for i := range list {
		calls.Go(func() { results[i] = f(list[i]) })
	}
	calls.Wait()
	return results
}

// resolverAdvice is for a machine without a DNS server that works.
const resolverAdvice = "Set a DNS server that answers: mostly the router, in DSM under Control Panel, Network, General."

// answering tells which resolvers answer, whatever it is, and of the others why not.
func answering(ctx context.Context, resolvers []string, fqdn string) (live, silent []string) {
	failed := each(resolvers, func(resolver string) error {
		_, err := authority.Exchange(ctx, resolver, fqdn, dns.TypeSOA, true)
		return err
	})
	for i, resolver := range resolvers {
		if failed[i] == nil {
			live = append(live, resolver)
			continue
		}
		silent = append(silent, "DNS server "+strings.TrimSuffix(resolver, ":53")+": "+failed[i].Error())
	}
	return live, silent
}

// zoneFailed is for resolvers that answer, but not where the name is.
func zoneFailed(name string, err error) Finding {
	if isSilence(err) {
		return unknown("Run the doctor again in a minute.", err.Error())
	}
	return wrong("Look at "+name+" in the settings of its DNS provider: its domain is not in DNS as it should be.", err.Error())
}

// isSilence tells errors of the network from those about what was answered.
func isSilence(err error) bool {
	return timedOut(err) || slices.ContainsFunc([]error{syscall.ECONNREFUSED, syscall.ENETUNREACH, syscall.EHOSTUNREACH, context.DeadlineExceeded},
		func(cause error) bool { return errors.Is(err, cause) })
}

// judgeServers tells which servers of a zone answer for it.
func judgeServers(zone string, servers []authority.Server, answers []error) (finding Finding, usable []netip.Addr) {
	var good, silent, bad []string
	for i, s := range servers {
		at := strings.TrimSuffix(s.Host, ".") + " (" + s.Addr.String() + ")"
		switch err := answers[i]; {
		case err == nil:
			usable = append(usable, s.Addr)
			good = append(good, at)
		case errors.As(err, new(authority.RcodeError)):
			bad = append(bad, at+": "+err.Error())
		default: // another may have answered in its place, too
			silent = append(silent, at+": "+err.Error())
		}
	}
	seen := []string{"the zone is " + strings.TrimSuffix(zone, ".")}
	if len(good) > 0 {
		seen = append(seen, "its servers that answer: "+strings.Join(good, ", "))
	}
	seen = append(seen, append(bad, silent...)...)
	switch {
	case len(usable) > 0:
		return ok(seen...), usable
	case len(bad) > 0:
		return wrong("Tell the DNS provider of "+strings.TrimSuffix(zone, ".")+": its name servers don't serve the domain.", seen...), nil
	}
	return unknown("Try from another network, or let the router pass DNS (port 53) to servers on the internet: it may answer in their place.", seen...), nil
}

// attempts is what the Caddy that runs says of its failures to keep the name's
// record; nil: there are none, or it is not known.
func (p *patient) attempts() (lines []string) {
	_, name, there := p.running()
	if !there || name.LastError == "" {
		return nil
	}
	line := "Caddy's last try to write the record failed: " + name.LastError
	if name.Failures > 1 {
		line = fmt.Sprintf("Caddy failed %d times to write the record: %s", name.Failures, name.LastError)
	}
	lines = append(lines, line)
	if name.NextTry != nil {
		lines = append(lines, "it tries again at "+name.NextTry.Local().Format(time.TimeOnly))
	}
	return lines
}

// recordAdvice is what to do so that the record comes true.
func (p *patient) recordAdvice() string {
	if p.setup.policy() == nil {
		return "Let DSM write the address (Control Panel, External Access, DDNS, Edit, IPv6), or enter it at the DNS provider."
	}
	if p.admin == nil {
		return "Start Caddy: docker compose up -d; it writes the record."
	}
	if len(p.attempts()) > 0 {
		return "Mend what the DNS provider complains of (mostly the credentials); Caddy tries again by itself."
	}
	// By itself it looks once an hour, and when an address changes.
	return "Let Caddy look now: docker compose exec caddy curl -X POST --unix-socket /run/caddy/admin.sock http://localhost/ddns_ipv6/update; " +
		"if it stays so, docker compose logs caddy tells why."
}

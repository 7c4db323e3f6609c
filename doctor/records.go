package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/caddy-nas/caddy-nas-registry/internal/authority"
)

// records are what one server has.
type records struct {
	server netip.Addr
	addrs  []netip.Addr
	err    error
}

// ask asks all authoritative servers for records of the name.
func (p *patient) ask(ctx context.Context, rrtype uint16) []records {
	client := p.authorities()
	return each(p.servers, func(server netip.Addr) records {
		addrs, err := client.Addresses(ctx, server, p.fqdn(), rrtype)
		return records{server, addrs, err}
	})
}

// union is all that some server has, and the error if none answered. An alias is one
// wherever it shows.
func union(answers []records) (all []netip.Addr, err error) {
	answered := false
	for _, a := range answers {
		if a.err != nil {
			if errors.As(a.err, new(*authority.AliasError)) {
				return nil, a.err
			}
			err = a.err
			continue
		}
		answered = true
		all = append(all, a.addrs...)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	if answered {
		err = nil
	}
	return slices.Compact(all), err
}

// lookDNSAuthority looks for the address at the authoritative servers: the
// patient's official.
func lookDNSAuthority(ctx context.Context, p *patient) Finding {
	answers := p.ask(ctx, dns.TypeAAAA)
	all, err := union(answers)
	if err != nil {
		return p.notRead(err)
	}
	p.official = all
	if p.setup.policy() == nil && !slices.Contains(all, p.selected) {
		// Who writes the record may have chosen another of this machine's addresses.
		own := p.reachable(ctx)
		if i := slices.IndexFunc(all, func(addr netip.Addr) bool { return own[addr] }); i >= 0 {
			p.selected = all[i]
		}
	}
	return judgeRecords(p.selected, answers, all, p.recordAdvice(), p.attempts())
}

// reachable are the addresses of this machine at which clients at home reach it:
// those that are fit to be published, and those of IPv4 and of private networks.
func (p *patient) reachable(ctx context.Context) map[netip.Addr]bool {
	found := make(map[netip.Addr]bool)
	if status, err := p.addressing(ctx); err == nil {
		for _, a := range status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil && a.Usable {
				found[addr] = true
			}
		}
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return found // only those are known
	}
	for _, a := range list {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		if addr := prefix.Addr().Unmap(); !addr.IsLoopback() && (addr.Is4() || addr.IsPrivate()) {
			found[addr] = true
		}
	}
	return found
}

// notRead is for records that could not be read, or are none.
func (p *patient) notRead(err error) Finding {
	var alias *authority.AliasError
	if !errors.As(err, &alias) {
		return unknown("Run the doctor again in a minute.", err.Error())
	}
	seen := p.setup.name() + " is an alias (CNAME) of " + strings.TrimSuffix(alias.Target, ".")
	if p.setup.policy() != nil {
		return wrong("Remove the CNAME at the DNS provider: ddns_ipv6 keeps AAAA records of the name itself.", seen)
	}
	return unknown("Run the doctor with a config for "+strings.TrimSuffix(alias.Target, ".")+", or give the name its own AAAA record.", seen)
}

// judgeRecords compares what the servers have with the address that is chosen.
func judgeRecords(selected netip.Addr, answers []records, all []netip.Addr, advice string, attempts []string) Finding {
	var lacking []string
	for _, a := range answers {
		if a.err == nil && !slices.Contains(a.addrs, selected) {
			lacking = append(lacking, fmt.Sprintf("name server %s has %s", a.server, listOr(a.addrs, "no AAAA record")))
		}
	}
	switch {
	case len(all) == 0:
		return wrong(advice, append([]string{"the name has no AAAA record; it should have " + selected.String()}, attempts...)...)
	case !slices.Contains(all, selected):
		return wrong(advice, append([]string{"stale: the name has " + listOr(all, ""), "it should have " + selected.String()}, attempts...)...)
	case len(lacking) > 0:
		return wrong("Wait some minutes: not all name servers have the new address yet.",
			append(append([]string{"it should have " + selected.String()}, lacking...), attempts...)...)
	}
	return ok("the name has " + selected.String())
}

func listOr(addrs []netip.Addr, none string) string {
	if len(addrs) == 0 {
		return none
	}
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

// lookDNSForeign looks for AAAA records besides the right one: clients choose any.
func lookDNSForeign(ctx context.Context, p *patient) Finding {
	status, err := p.addressing(ctx)
	if err != nil {
		return unknown("Run the doctor again in a minute.", err.Error())
	}
	own := make(map[netip.Addr]bool)
	for _, a := range status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil {
			own[addr] = a.Usable
		}
	}
	official := slices.Clone(p.official)
	if p.setup.policy() == nil {
		// Several of this machine's are as somebody wanted them.
		reachable := p.reachable(ctx)
		official = slices.DeleteFunc(official, func(addr netip.Addr) bool { return reachable[addr] })
	}
	return judgeForeign(p.selected, official, own, p.foreignAdvice())
}

func (p *patient) foreignAdvice() string {
	if p.setup.policy() == nil {
		return "Remove the others at the DNS provider, or in DSM under Control Panel, External Access, DDNS: clients may try any of them."
	}
	if len(p.attempts()) > 0 {
		return "Remove the others at the DNS provider, since Caddy can't: clients may try any of them."
	}
	return "Remove the others at the DNS provider, and what writes them: Caddy removes them within the hour, but clients may try them until then."
}

// judgeForeign names what official has besides selected. own are the addresses of
// this machine, and whether they are usable.
func judgeForeign(selected netip.Addr, official []netip.Addr, own map[netip.Addr]bool, advice string) Finding {
	var seen []string
	for _, addr := range official {
		usable, isOwn := own[addr]
		switch {
		case addr == selected:
		case usable:
			seen = append(seen, "another: "+addr.String()+", also of this machine")
		case isOwn:
			seen = append(seen, "stale: "+addr.String()+", an address of this machine that is no longer usable")
		default:
			seen = append(seen, "foreign: "+addr.String()+", no address of this machine")
		}
	}
	if len(seen) == 0 {
		return ok("there is no foreign AAAA record")
	}
	return wrong(advice, seen...)
}

// lookDNSIPv4 looks for an A record: no port is forwarded for IPv4.
func lookDNSIPv4(ctx context.Context, p *patient) Finding {
	all, err := union(p.ask(ctx, dns.TypeA))
	if err != nil {
		if errors.As(err, new(*authority.AliasError)) {
			return hangsOn("dns_authority")
		}
		return p.notRead(err)
	}
	return judgeIPv4(all, p.reachable(ctx))
}

// judgeIPv4 is content with addresses of this machine itself, which clients at home
// reach.
func judgeIPv4(all []netip.Addr, own map[netip.Addr]bool) Finding {
	if len(all) == 0 {
		return ok("the name has no A record")
	}
	if !slices.ContainsFunc(all, func(addr netip.Addr) bool { return !own[addr] }) {
		return ok("the name has the A record " + listOr(all, "") + ", of this machine")
	}
	return wrong("Remove the A record at the DNS provider (in DSM: Control Panel, External Access, DDNS, Edit, IPv4: off), "+
		"unless the router forwards the port.",
		"the name has the A record "+listOr(all, ""), "clients that try IPv4 get to the router there, and wait or fail")
}

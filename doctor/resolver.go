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

const resolvConf = "/etc/resolv.conf"

// cached is what a resolver has of the name.
type cached struct {
	resolver string
	addrs    []netip.Addr
	ttl      uint32 // of the shortest-lived record, or of what there is not; in seconds
	err      error
}

// lookDNSResolver compares what this machine's DNS servers say with what the
// authoritative ones do.
func lookDNSResolver(ctx context.Context, p *patient) Finding {
	resolvers := p.nameServers.Resolvers
	if len(resolvers) == 0 {
		config, err := dns.ClientConfigFromFile(resolvConf)
		if err != nil {
			return unknown("Run the doctor on the NAS itself.", err.Error())
		}
		for _, server := range config.Servers {
			resolvers = append(resolvers, net.JoinHostPort(server, config.Port))
		}
	}
	if len(resolvers) == 0 {
		return wrong(resolverAdvice, resolvConf+" names no DNS server")
	}
	answers := each(resolvers, func(resolver string) cached { return askResolver(ctx, resolver, p.fqdn()) })
	return judgeResolvers(p.official, p.reachable(ctx), answers)
}

func askResolver(ctx context.Context, resolver, fqdn string) cached {
	c := cached{resolver: strings.TrimSuffix(resolver, ":53")}
	r, err := authority.Exchange(ctx, resolver, fqdn, dns.TypeAAAA, true)
	if err == nil {
		err = authority.Successful(r)
	}
	if err == nil {
		c.addrs, err = authority.AddressesOf(r, fqdn)
	}
	if err != nil {
		c.err = err
		return c
	}
	c.ttl = ttlOf(r)
	return c
}

// ttlOf is how long the answer stays in the cache: that of its records, or of their
// absence (RFC 2308, section 5).
func ttlOf(r *dns.Msg) uint32 {
	ttl := uint32(0)
	for i, record := range r.Answer {
		if t := record.Header().Ttl; i == 0 || t < ttl {
			ttl = t
		}
	}
	if len(r.Answer) > 0 {
		return ttl
	}
	for _, record := range r.Ns {
		if soa, ok := record.(*dns.SOA); ok {
			return min(soa.Hdr.Ttl, soa.Minttl)
		}
	}
	return 0
}

// judgeResolvers tells an answer that is merely older from one that lacks what there
// is. A home network's DNS server may have other addresses of this machine, own, or an
// alias: the connection shows what that is worth. Of several resolvers, one that is
// silent is passed over by all programs.
func judgeResolvers(official []netip.Addr, own map[netip.Addr]bool, answers []cached) Finding {
	var seen []string
	silent, lacks, old, wait := 0, false, false, uint32(0)
	for _, a := range answers {
		at := "DNS server " + a.resolver
		switch {
		case errors.As(a.err, new(*authority.AliasError)):
			seen = append(seen, at+": "+a.err.Error())
		case a.err != nil:
			silent++
			seen = append(seen, at+": "+a.err.Error())
		case slices.Equal(a.addrs, official):
			seen = append(seen, at+" has the same")
		case len(a.addrs) == 0:
			lacks = true
			line := at + " has no AAAA record of the name"
			if a.ttl > 0 {
				line += fmt.Sprintf(", cached for %d seconds at most", a.ttl)
			}
			seen = append(seen, line)
		case !slices.ContainsFunc(a.addrs, func(addr netip.Addr) bool { return !own[addr] }):
			seen = append(seen, at+" has "+listOr(a.addrs, "")+", also of this machine")
		default:
			old, wait = true, max(wait, a.ttl)
			seen = append(seen, fmt.Sprintf("%s has %s, cached for %d more seconds, in the place of %s",
				at, listOr(a.addrs, ""), a.ttl, listOr(official, "")))
		}
	}
	switch {
	case lacks:
		return wrong("Run the doctor again in some minutes; if it stays so, the DNS server filters the name: "+
			"let the router's protection against DNS rebinding, or the ad blocker, pass it.", seen...)
	case old:
		return wrong(fmt.Sprintf("Wait %d seconds: the old address is in a cache until then.", wait), seen...)
	case silent == len(answers):
		return wrong(resolverAdvice, seen...)
	}
	return ok(seen...)
}

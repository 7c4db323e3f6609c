// Package authority asks a zone's authoritative servers, past every cache.
package authority

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/miekg/dns"
)

// Client asks the authoritative servers of zones: it tells what a provider made
// of a write where the provider can't read, and what caches will have later. Each
// question takes 3 s at most, and all of them end with their context. Names are
// fully qualified: they end with a dot.
type Client struct {
	// Resolvers find a zone's servers, and those' addresses: "<host>" or
	// "<host>:<port>" each, asked in turn. Empty: those of the system.
	Resolvers []string

	// Port is that of the authoritative servers. Default: 53.
	Port string
}

// AAAA returns the AAAA records of fqdn, sorted and without duplicates. An empty
// list means that the name has none, for certain; where no server of the zone
// says so, or the name is an alias, the error tells why. An address that a
// wildcard lends to the name is among the records: a server does not tell.
func (c *Client) AAAA(ctx context.Context, fqdn, zone string) ([]netip.Addr, error) {
	addrs, err := c.ask(ctx, fqdn, zone)
	if err != nil {
		return nil, fmt.Errorf("asking the name servers of %s for AAAA of %s: %w", zone, fqdn, ended(ctx, err))
	}
	return addrs, nil
}

// ask asks one server after the other until an answer is authoritative.
func (c *Client) ask(ctx context.Context, fqdn, zone string) ([]netip.Addr, error) {
	hosts, err := nameServers(ctx, c.resolvers(), zone)
	if err != nil {
		return nil, fmt.Errorf("finding them: %w", err)
	}
	failed := serverFailures{}
	for _, host := range hosts {
		addrs, err := lookUp(ctx, c.resolvers(), host)
		if err != nil {
			failed.add(host, err)
		}
		for _, addr := range addrs {
			list, err := c.at(ctx, addr, fqdn, dns.TypeAAAA)
			var alias *AliasError
			if err == nil || errors.As(err, &alias) {
				return list, err
			}
			failed.add(host+" ("+addr.String()+")", err)
		}
	}
	return nil, failed
}

// Server is an authoritative server of a zone.
type Server struct {
	// Host is its name, with a final dot.
	Host string
	// Addr is one of the host's addresses.
	Addr netip.Addr
}

// Servers returns the servers of a zone by their addresses, at least one, sorted
// by host, IPv6 first. Hosts without an address are left out, unless all are.
func (c *Client) Servers(ctx context.Context, zone string) ([]Server, error) {
	servers, err := c.servers(ctx, zone)
	if err != nil {
		return nil, fmt.Errorf("finding the name servers of %s: %w", zone, ended(ctx, err))
	}
	return servers, nil
}

func (c *Client) servers(ctx context.Context, zone string) ([]Server, error) {
	hosts, err := nameServers(ctx, c.resolvers(), zone)
	if err != nil {
		return nil, err
	}
	var servers []Server
	failed := serverFailures{}
	for _, host := range hosts {
		addrs, err := lookUp(ctx, c.resolvers(), host)
		if err != nil {
			failed.add(host, err)
		}
		for _, addr := range addrs {
			servers = append(servers, Server{host, addr})
		}
	}
	if len(servers) == 0 {
		return nil, failed
	}
	return servers, nil
}

// Addresses returns the records of fqdn of one type, [dns.TypeAAAA] or
// [dns.TypeA], that an authoritative server has; as [Client.AAAA] otherwise.
func (c *Client) Addresses(ctx context.Context, server netip.Addr, fqdn string, rrtype uint16) ([]netip.Addr, error) {
	addrs, err := c.at(ctx, server, fqdn, rrtype)
	if err != nil {
		return nil, fmt.Errorf("asking name server %s for %s of %s: %w", server, dns.TypeToString[rrtype], fqdn, ended(ctx, err))
	}
	return addrs, nil
}

// Answers tells by an error why a server is none of the zone's that works.
func (c *Client) Answers(ctx context.Context, server netip.Addr, zone string) error {
	r, err := Exchange(ctx, c.address(server), zone, dns.TypeSOA, false)
	if err == nil {
		err = authoritative(r)
	}
	return ended(ctx, err)
}

func (c *Client) at(ctx context.Context, server netip.Addr, fqdn string, rrtype uint16) ([]netip.Addr, error) {
	r, err := Exchange(ctx, c.address(server), fqdn, rrtype, false)
	if err == nil {
		err = authoritative(r)
	}
	if err != nil {
		return nil, err
	}
	return AddressesOf(r, fqdn)
}

// Zone returns the zone that a name is in, with a final dot, as the resolvers
// know it. For a name that nobody has registered that is a zone of a registry.
func (c *Client) Zone(ctx context.Context, fqdn string) (string, error) {
	for i, end := 0, false; !end; i, end = dns.NextLabel(fqdn, i) {
		r, err := resolve(ctx, c.resolvers(), fqdn[i:], dns.TypeSOA)
		if err != nil {
			return "", fmt.Errorf("finding the zone of %s: %w", fqdn, ended(ctx, err))
		}
		if slices.ContainsFunc(r.Answer, func(record dns.RR) bool { return record.Header().Rrtype == dns.TypeCNAME }) {
			continue // what follows is of the zone that the alias leads to
		}
		for _, record := range slices.Concat(r.Answer, r.Ns) {
			zone := dns.CanonicalName(record.Header().Name)
			if _, ok := record.(*dns.SOA); ok && dns.IsSubDomain(zone, fqdn) && zone != "." {
				return zone, nil
			}
		}
	}
	return "", fmt.Errorf("finding the zone of %s: no resolver tells of one", fqdn)
}

func (c *Client) resolvers() []string { return certmagic.RecursiveNameservers(c.Resolvers) }

func (c *Client) address(server netip.Addr) string {
	port := c.Port
	if port == "" {
		port = "53"
	}
	return net.JoinHostPort(server.String(), port)
}

// ended replaces an error by that of a context that is done, whatever it made fail.
func ended(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= 0 {
		<-ctx.Done() // a socket may be ahead of it
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// nameServers returns the hosts that serve a zone, at least one. They are
// sorted, since resolvers shuffle them: a failure shall read the same each time.
func nameServers(ctx context.Context, resolvers []string, zone string) ([]string, error) {
	r, err := resolve(ctx, resolvers, zone, dns.TypeNS)
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, record := range r.Answer {
		if ns, ok := record.(*dns.NS); ok && dns.CanonicalName(ns.Hdr.Name) == dns.CanonicalName(zone) {
			hosts = append(hosts, dns.CanonicalName(ns.Ns))
		}
	}
	if len(hosts) == 0 {
		return nil, errors.New("it has no NS records; is it a zone?")
	}
	slices.Sort(hosts)
	return hosts, nil
}

// lookUp returns the addresses of a host, sorted, IPv6 first. It fails only if
// there is none.
func lookUp(ctx context.Context, resolvers []string, host string) ([]netip.Addr, error) {
	var list []netip.Addr
	var failed error
	for _, rrtype := range []uint16{dns.TypeAAAA, dns.TypeA} {
		r, err := resolve(ctx, resolvers, host, rrtype)
		if err != nil {
			failed = err
			continue
		}
		for _, record := range r.Answer {
			if addr, ok := addressOf(record); ok {
				list = append(list, addr)
			}
		}
	}
	slices.SortFunc(list, func(a, b netip.Addr) int { return b.Compare(a) })
	switch {
	case len(list) > 0:
		return list, nil
	case failed != nil:
		return nil, failed
	}
	return nil, errors.New("it has no address")
}

// resolve asks the resolvers in turn until one knows the answer. A name that
// does not exist has no records.
func resolve(ctx context.Context, resolvers []string, name string, rrtype uint16) (*dns.Msg, error) {
	failed := serverFailures{}
	for _, resolver := range resolvers {
		r, err := Exchange(ctx, resolver, name, rrtype, true)
		if err == nil {
			err = Successful(r)
		}
		if err == nil {
			return r, nil
		}
		failed.add("resolver "+resolver, err)
	}
	return nil, failed
}

package ddnsipv6

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/miekg/dns"
)

const (
	// queryTimeout bounds one question to one server.
	queryTimeout = 3 * time.Second

	// udpSize is the largest answer over UDP that no network fragments
	// (https://www.dnsflagday.net/2020/).
	udpSize = 1232
)

// authority asks a zone's authoritative servers, past every cache: it tells
// what a provider made of a write where the provider can't read.
type authority struct {
	// resolvers find the zone's servers, and those' addresses: "<host>:<port>"
	// each, asked in turn. Empty: those of the system.
	resolvers []string

	// port is that of the authoritative servers. Default: 53.
	port string
}

// AAAA returns the AAAA records of fqdn, sorted and without duplicates. Both
// names end with a dot. An empty list means that the name has none, for
// certain; where no server of the zone says so, or the name is an alias, the
// error tells why. An address that a wildcard lends to the name is among the
// records: a server does not tell.
//
// Each question takes 3 s at most, and all of them end with ctx.
func (a *authority) AAAA(ctx context.Context, fqdn, zone string) ([]netip.Addr, error) {
	addrs, err := a.ask(ctx, fqdn, zone)
	if err != nil {
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= 0 {
			<-ctx.Done() // a socket may be ahead of it
		}
		if ctx.Err() != nil {
			err = ctx.Err() // whatever it made fail
		}
		return nil, fmt.Errorf("asking the name servers of %s for AAAA of %s: %w", zone, fqdn, err)
	}
	return addrs, nil
}

// ask asks one server after the other until an answer is authoritative.
func (a *authority) ask(ctx context.Context, fqdn, zone string) ([]netip.Addr, error) {
	port := a.port
	if port == "" {
		port = "53"
	}
	resolvers := certmagic.RecursiveNameservers(a.resolvers)
	hosts, err := nameServers(ctx, resolvers, zone)
	if err != nil {
		return nil, fmt.Errorf("finding them: %w", err)
	}
	failed := serverFailures{}
	for _, host := range hosts {
		addrs, err := lookUp(ctx, resolvers, host)
		if err != nil {
			failed.add(host, err)
		}
		for _, addr := range addrs {
			r, err := exchange(ctx, net.JoinHostPort(addr.String(), port), fqdn, dns.TypeAAAA, false)
			if err == nil {
				err = authoritative(r)
			}
			if err == nil {
				return addressesOf(r, fqdn)
			}
			failed.add(host+" ("+addr.String()+")", err)
		}
	}
	return nil, failed
}

// nameServers returns the hosts that serve a zone, at least one. They are
// sorted, since resolvers shuffle them: a failure shall read the same each time.
func nameServers(ctx context.Context, resolvers []string, zone string) ([]string, error) {
	records, err := resolve(ctx, resolvers, zone, dns.TypeNS)
	if err != nil {
		return nil, err
	}
	var hosts []string
	for _, record := range records {
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
		records, err := resolve(ctx, resolvers, host, rrtype)
		if err != nil {
			failed = err
		}
		for _, record := range records {
			var ip net.IP
			switch r := record.(type) {
			case *dns.AAAA:
				ip = r.AAAA
			case *dns.A:
				ip = r.A
			}
			if addr, ok := netip.AddrFromSlice(ip); ok {
				list = append(list, addr.Unmap())
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
func resolve(ctx context.Context, resolvers []string, name string, rrtype uint16) ([]dns.RR, error) {
	failed := serverFailures{}
	for _, resolver := range resolvers {
		r, err := exchange(ctx, resolver, name, rrtype, true)
		if err == nil {
			err = successful(r)
		}
		if err == nil {
			return r.Answer, nil
		}
		failed.add("resolver "+resolver, err)
	}
	return nil, failed
}

// successful tells whether a name's records, or their absence, were answered.
func successful(r *dns.Msg) error {
	if r.Rcode == dns.RcodeSuccess || r.Rcode == dns.RcodeNameError {
		return nil
	}
	name, ok := dns.RcodeToString[r.Rcode]
	if !ok {
		name = fmt.Sprintf("RCODE %d", r.Rcode)
	}
	return errors.New("answered " + name)
}

// authoritative is successful for an answer that no cache gave, and that is no
// referral to other servers.
func authoritative(r *dns.Msg) error {
	if err := successful(r); err != nil {
		return err
	}
	if !r.Authoritative {
		return errors.New("it is not authoritative")
	}
	return nil
}

// addressesOf returns the values of the AAAA records of fqdn itself.
func addressesOf(r *dns.Msg, fqdn string) ([]netip.Addr, error) {
	var list []netip.Addr
	for _, record := range r.Answer {
		if dns.CanonicalName(record.Header().Name) != dns.CanonicalName(fqdn) {
			continue
		}
		switch rr := record.(type) {
		case *dns.CNAME:
			return nil, fmt.Errorf("it is an alias (CNAME) of %s, and has no address of its own", rr.Target)
		case *dns.AAAA:
			if addr, ok := netip.AddrFromSlice(rr.AAAA); ok {
				list = append(list, addr.Unmap())
			}
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list), nil
}

// exchange asks one server over UDP, and over TCP if the answer doesn't fit.
func exchange(ctx context.Context, server, name string, rrtype uint16, recurse bool) (*dns.Msg, error) {
	query := new(dns.Msg).SetQuestion(name, rrtype)
	query.RecursionDesired = recurse
	query.SetEdns0(udpSize, false)
	r, err := exchangeOver(ctx, "udp", server, query)
	if err == nil && r.Truncated {
		r, err = exchangeOver(ctx, "tcp", server, query)
		if err == nil && r.Truncated {
			err = errors.New("its answer is truncated over TCP")
		}
	}
	// A network error's text has the local port, another one each time.
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return r, err
}

func exchangeOver(ctx context.Context, network, server string, query *dns.Msg) (*dns.Msg, error) {
	limited, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	client := &dns.Client{Net: network, Timeout: queryTimeout}
	conn, err := client.DialContext(limited, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// The client minds the deadline of a context, but not its end.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	r, _, err := client.ExchangeWithConnContext(limited, query, conn)
	if err != nil {
		return nil, err
	}
	if successful(r) != nil {
		return r, nil // an error may come without the question
	}
	if !r.Response || len(r.Question) != 1 || r.Question[0].Qtype != query.Question[0].Qtype ||
		!strings.EqualFold(r.Question[0].Name, query.Question[0].Name) {
		return nil, errors.New("it answered another question")
	}
	return r, nil
}

// serverFailures are the reasons why several servers gave no answer, in the order in
// which they were asked.
type serverFailures []error

func (f *serverFailures) add(server string, err error) {
	*f = append(*f, fmt.Errorf("%s: %w", server, err))
}

// Error joins the reasons into one line.
func (f serverFailures) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the reasons, for [errors.Is].
func (f serverFailures) Unwrap() []error { return f }

package dnssynology

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-nas/caddy-nas-registry/internal/authority"
)

// dnsServer asks one authoritative name server, past every cache.
type dnsServer struct {
	addr string // host:port
}

// newDNSServer takes a host with or without a port. Default: ns1.synology.me:53.
func newDNSServer(addr string) (dnsServer, error) {
	if addr == "" {
		addr = defaultNameServer
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), "53")
	}
	host, port, err := net.SplitHostPort(addr)
	n, numErr := strconv.ParseUint(port, 10, 16)
	_, ipErr := netip.ParseAddr(host)
	if err != nil || host == "" || strings.Contains(host, ":") && ipErr != nil || numErr != nil || n == 0 {
		return dnsServer{}, fmt.Errorf("nameserver %q is not host:port", addr)
	}
	return dnsServer{addr}, nil
}

// answer is a record's value and its time to live.
type answer struct {
	value string // an address, or the text of a TXT record as it is, not escaped
	ttl   time.Duration
}

// records returns a name's records of type TXT, AAAA or A, sorted by value. None
// means that there are none, for certain; where the server does not know, or
// does not answer within 3 s (each over UDP and TCP), that is an error. Aliases
// are followed as far as the answer itself goes.
func (s dnsServer) records(ctx context.Context, fqdn string, rrtype uint16) ([]answer, error) {
	list, err := s.ask(ctx, fqdn, rrtype)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // whatever it made fail
		}
		return nil, fmt.Errorf("asking name server %s for %s of %s: %w", s.addr, dns.TypeToString[rrtype], fqdn, err)
	}
	return list, nil
}

func (s dnsServer) ask(ctx context.Context, fqdn string, rrtype uint16) ([]answer, error) {
	r, err := authority.Exchange(ctx, s.addr, dns.Fqdn(fqdn), rrtype, false)
	if err != nil {
		return nil, err
	}
	if err := authority.Successful(r); err != nil {
		return nil, fmt.Errorf("it %w", err)
	}
	if !r.Authoritative {
		return nil, errors.New("it is not authoritative for the name")
	}
	return answersOf(r.Answer, r.Question[0])
}

// answersOf picks the records of the name, or of what it is an alias of.
func answersOf(section []dns.RR, question dns.Question) ([]answer, error) {
	name := dns.CanonicalName(question.Name)
	alias := false
	for range section { // no chain is longer than the section, nor a loop endless
		for _, record := range section {
			if c, ok := record.(*dns.CNAME); ok && dns.CanonicalName(c.Hdr.Name) == name {
				name, alias = dns.CanonicalName(c.Target), true
				break
			}
		}
	}
	var list []answer
	for _, record := range section {
		header := record.Header()
		if dns.CanonicalName(header.Name) != name || header.Rrtype != question.Qtype {
			continue
		}
		a := answer{ttl: time.Duration(header.Ttl) * time.Second}
		switch r := record.(type) {
		case *dns.TXT:
			a.value = unescapeTXT(strings.Join(r.Txt, ""))
		case *dns.AAAA:
			a.value = r.AAAA.String()
		case *dns.A:
			a.value = r.A.String()
		default:
			continue
		}
		list = append(list, a)
	}
	if alias && len(list) == 0 {
		return nil, fmt.Errorf("it is an alias of %s, which the answer has no records of", name)
	}
	slices.SortFunc(list, func(a, b answer) int { return strings.Compare(a.value, b.value) })
	return slices.CompactFunc(list, func(a, b answer) bool { return a.value == b.value }), nil
}

// unescapeTXT undoes the escapes of zone files, which package dns keeps texts in.
func unescapeTXT(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			if i+3 < len(s) {
				if n, err := strconv.ParseUint(s[i+1:i+4], 10, 8); err == nil {
					b.WriteByte(byte(n))
					i += 3
					continue
				}
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

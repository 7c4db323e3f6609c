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
)

const (
	// queryTimeout bounds one question over one protocol.
	queryTimeout = 3 * time.Second

	// udpSize is the largest answer over UDP that no network fragments
	// (https://www.dnsflagday.net/2020/).
	udpSize = 1232
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
	query := new(dns.Msg).SetQuestion(dns.Fqdn(fqdn), rrtype)
	query.RecursionDesired = false
	query.SetEdns0(udpSize, false)
	r, err := s.exchange(ctx, "udp", query)
	if err == nil && r.Truncated {
		r, err = s.exchange(ctx, "tcp", query)
	}
	// A network error's text has the local port, another one each time.
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	switch {
	case err != nil:
		return nil, err
	case r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError:
		return nil, fmt.Errorf("it answered %s", rcode(r.Rcode))
	case !r.Authoritative:
		return nil, errors.New("it is not authoritative for the name")
	case r.Truncated:
		return nil, errors.New("its answer is truncated over TCP")
	}
	return answersOf(r.Answer, query.Question[0])
}

func rcode(code int) string {
	if name, ok := dns.RcodeToString[code]; ok {
		return name
	}
	return fmt.Sprintf("RCODE %d", code)
}

// exchange sends one question over one protocol. An answer with an error code
// may come without the question; any other one must repeat it.
func (s dnsServer) exchange(ctx context.Context, network string, query *dns.Msg) (*dns.Msg, error) {
	limited, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	client := &dns.Client{Net: network, Timeout: queryTimeout, UDPSize: udpSize}
	conn, err := client.DialContext(limited, s.addr)
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
	failed := r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError
	asked := len(r.Question) == 1 && r.Question[0].Qtype == query.Question[0].Qtype && strings.EqualFold(r.Question[0].Name, query.Question[0].Name)
	if !r.Response || !failed && !asked {
		return nil, errors.New("it answered another question")
	}
	return r, nil
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

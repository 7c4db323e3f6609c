package synologytest

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// Unknown: the real server's TTLs.
const ttl = 60

const nameServer = "ns1.synology.me"

// serveDNS answers queries by UDP and TCP until the test's end: on one port that
// is free, or on port 53 of the addresses that are given.
func serveDNS(t testing.TB, handler dns.Handler, at []netip.Addr) (addr string) {
	t.Helper()
	if len(at) == 0 {
		packets, listener, err := listenBoth(t.Context())
		if err != nil {
			t.Fatalf("starting the DNS server: %v", err)
		}
		activate(t, &dns.Server{PacketConn: packets, Handler: handler})
		activate(t, &dns.Server{Listener: listener, Handler: handler})
		return listener.Addr().String()
	}
	for _, ip := range at {
		addr := netip.AddrPortFrom(ip, 53).String()
		packets, listener, err := listenAt(t.Context(), addr)
		if err != nil {
			t.Fatalf("starting the DNS server: %v", err)
		}
		activate(t, &dns.Server{PacketConn: packets, Handler: handler})
		activate(t, &dns.Server{Listener: listener, Handler: handler})
	}
	return netip.AddrPortFrom(at[0], 53).String()
}

// activate runs a server until the test's end.
func activate(t testing.TB, server *dns.Server) {
	t.Helper()
	started, ended := make(chan struct{}), make(chan error, 1)
	server.NotifyStartedFunc = func() { close(started) }
	go func() { ended <- server.ActivateAndServe() }()
	select {
	case <-started:
	case err := <-ended:
		t.Fatalf("starting the DNS server: %v", err)
	}
	t.Cleanup(func() {
		if err := server.Shutdown(); err != nil {
			t.Errorf("stopping the DNS server: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("the DNS server: %v", err)
		}
	})
}

// listenAt listens at one address for UDP and for TCP.
func listenAt(ctx context.Context, addr string) (net.PacketConn, net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	packets, err := config.ListenPacket(ctx, "udp", listener.Addr().String())
	if err != nil {
		_ = listener.Close()
		return nil, nil, err
	}
	return packets, listener, nil
}

// listenBoth finds a port that is free for UDP and for TCP.
func listenBoth(ctx context.Context) (packets net.PacketConn, listener net.Listener, err error) {
	for range 20 {
		if packets, listener, err = listenAt(ctx, "127.0.0.1:0"); err == nil {
			break
		}
	}
	return packets, listener, err
}

// serveDNS answers a query.
func (s *Service) serveDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	if rcode, ok := s.failDNS(); ok {
		if rcode < 0 {
			return
		}
		_ = w.WriteMsg(reply.SetRcode(query, rcode))
		return
	}
	s.answer(reply)
	size := dns.MinMsgSize
	if _, tcp := w.RemoteAddr().(*net.TCPAddr); tcp {
		size = dns.MaxMsgSize
	} else if opt := query.IsEdns0(); opt != nil {
		size = int(opt.UDPSize())
	}
	if query.IsEdns0() != nil {
		reply.SetEdns0(dns.DefaultMsgSize, false)
	}
	reply.Truncate(size)
	// Who asked may be gone.
	_ = w.WriteMsg(reply)
}

// answer fills in the reply to the question that it repeats.
func (s *Service) answer(reply *dns.Msg) {
	if len(reply.Question) != 1 || reply.Question[0].Qclass != dns.ClassINET {
		reply.Rcode = dns.RcodeRefused
		return
	}
	question := reply.Question[0]
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	zone := suffixOf(name)
	if zone == "" {
		reply.Rcode = dns.RcodeRefused
		return
	}
	reply.Authoritative = true

	s.mu.Lock()
	records, exists := s.recordsAt(s.history.now(), name)
	s.mu.Unlock()
	for _, rr := range records {
		if rr.Header().Rrtype == question.Qtype {
			rr.Header().Name = question.Name // in the letters' case of the question
			reply.Answer = append(reply.Answer, rr)
		}
	}
	if len(reply.Answer) == 0 {
		reply.Ns = append(reply.Ns, soa(zone))
	}
	if !exists {
		reply.Rcode = dns.RcodeNameError
	}
}

// recordsAt returns all records of a name, and whether it exists.
func (s *Service) recordsAt(c contents, name string) (records []dns.RR, exists bool) {
	header := func(rrtype uint16) dns.RR_Header {
		return dns.RR_Header{Name: dns.Fqdn(name), Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
	}
	addrs, exists := c.find(name)
	if name == nameServer {
		addrs, exists = s.own(), true
	}
	if suffixOf(name) == name {
		exists = true
		records = append(records, soa(name), &dns.NS{Hdr: header(dns.TypeNS), Ns: dns.Fqdn(nameServer)})
	}
	if addrs.a != "" {
		records = append(records, &dns.A{Hdr: header(dns.TypeA), A: netip.MustParseAddr(addrs.a).AsSlice()})
	}
	for _, ip := range []string{addrs.aaaa, addrs.foreign} {
		if ip != "" {
			records = append(records, &dns.AAAA{Hdr: header(dns.TypeAAAA), AAAA: netip.MustParseAddr(ip).AsSlice()})
		}
	}
	for _, value := range c.txt[name] {
		records = append(records, &dns.TXT{Hdr: header(dns.TypeTXT), Txt: characterStrings(value)})
	}
	return records, exists
}

// own are the addresses of the name server itself.
func (s *Service) own() (own addresses) {
	if len(s.at) == 0 {
		return addresses{a: "127.0.0.1"}
	}
	for _, ip := range s.at {
		if ip.Is4() {
			own.a = ip.String()
		} else {
			own.aaaa = ip.String()
		}
	}
	return own
}

func soa(zone string) dns.RR {
	return &dns.SOA{
		Hdr:  dns.RR_Header{Name: dns.Fqdn(zone), Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:   dns.Fqdn(nameServer),
		Mbox: dns.Fqdn("hostmaster." + zone), Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl,
	}
}

// characterStrings cuts a value into pieces of at most 255 bytes, escaped as
// package dns keeps them.
func characterStrings(value string) []string {
	var list []string
	for first := true; first || value != ""; first = false {
		piece := value[:min(len(value), 255)]
		value = value[len(piece):]
		var b strings.Builder
		for _, c := range []byte(piece) {
			switch {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c > '~':
				fmt.Fprintf(&b, `\%03d`, c)
			default:
				b.WriteByte(c)
			}
		}
		list = append(list, b.String())
	}
	return list
}

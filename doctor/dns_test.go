package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-nas/caddy-nas-registry/ddnsipv6"
	"github.com/caddy-nas/caddy-nas-registry/internal/authority"
	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

const (
	nasAddr   = "2600:1::1"
	otherAddr = "2600:9::9"
)

func TestIsPublic(t *testing.T) {
	internal, acme := json.RawMessage(`{"module":"internal"}`), json.RawMessage(`{"module":"acme"}`)
	for _, test := range []struct {
		name    string
		issuers []json.RawMessage
		want    bool
	}{
		{"nas.example.org", nil, true},
		{"example.synology.me", nil, true},
		{"nas.example.org", []json.RawMessage{acme, internal}, true},
		{"nas.example.org", []json.RawMessage{internal}, false},
		{"*.example.org", nil, true},
		{"localhost", nil, false},
		{"nas", nil, false},
		{"nas.local", nil, false},
		{"NAS.Lan", nil, false},
		{"nas.internal", nil, false},
		{"nas.home.arpa", nil, false},
		{"nas.fritz.box", nil, false},
		{"nas.tail1234.ts.net", nil, false},
		{"192.0.2.1", nil, false},
		{"2001:db8::1", nil, false},
		{"{env.REGISTRY_DOMAIN}", nil, false},
	} {
		p := &patient{setup: &setup{names: []string{test.name}, issuers: test.issuers}}
		if got := p.isPublic(); got != test.want {
			t.Errorf("%s %s: %v", test.name, test.issuers, got)
		}
	}
}

// dnsPatient asks a real BIND for nas.example.org, whose address should be nasAddr.
func dnsPatient(n *testenv.Named) *patient {
	p := publicPatient()
	p.nameServers = authority.Client{Resolvers: []string{n.Address}, Port: n.Port}
	p.selected = netip.MustParseAddr(nasAddr)
	return p
}

func zoneWith(records ...string) testenv.Zone {
	return testenv.Zone{Name: "example.org.", Records: records}
}

// TestDNS breaks one thing at a time, and sees the checks: Name servers, AAAA record,
// No foreign AAAA record, No A record, Resolver.
func TestDNS(t *testing.T) {
	const aaaa = "nas AAAA " + nasAddr
	checks := []func(context.Context, *patient) Finding{lookDNS, lookDNSAuthority, lookDNSForeign, lookDNSIPv4, lookDNSResolver}
	for _, test := range []struct {
		name    string
		records []string
		prepare func(*patient)
		broken  int // the only check that is not ok; -1: none
		status  Status
		advice  string
		seen    []string
	}{
		{name: "well", records: []string{aaaa}, broken: -1},
		{name: "no record", broken: 1, status: Wrong, advice: "DSM", seen: []string{"no AAAA record", nasAddr}},
		{name: "stale", records: []string{"nas AAAA " + otherAddr}, broken: 1, status: Wrong, advice: "DSM", seen: []string{"stale", otherAddr, nasAddr}},
		{name: "foreign", records: []string{aaaa, "nas AAAA " + otherAddr}, broken: 2, status: Wrong, advice: "Remove", seen: []string{"foreign: " + otherAddr}},
		{name: "A record", records: []string{aaaa, "nas A 192.0.2.1"}, broken: 3, status: Wrong, advice: "Remove the A record", seen: []string{"192.0.2.1"}},
		{
			name: "no record, and the provider refuses", broken: 1, status: Wrong, advice: "credentials", seen: []string{"failed 3 times", "403 Forbidden"},
			prepare: func(p *patient) {
				p.setup.policies = []json.RawMessage{[]byte(`{"domains":[{"name":"nas.example.org"}]}`)}
				next := time.Now().Add(time.Minute)
				p.admin = noAdmin
				p.status = &ddnsipv6.Status{Policies: []ddnsipv6.PolicyStatus{{
					Addresses: []ddnsipv6.AddressStatus{{Address: nasAddr, Usable: true}},
					Names:     []ddnsipv6.NameStatus{{Name: "nas.example.org", Failures: 3, LastError: "403 Forbidden", NextTry: &next}},
				}}}
			},
		},
		{
			name: "an own one that is stale", records: []string{aaaa, "nas AAAA 2600:2::1"}, broken: 2, status: Wrong, advice: "Remove", seen: []string{"stale: 2600:2::1"},
			prepare: func(p *patient) {
				p.status = &ddnsipv6.Status{Policies: []ddnsipv6.PolicyStatus{{
					Addresses: []ddnsipv6.AddressStatus{{Address: nasAddr, Usable: true}, {Address: "2600:2::1", Rejected: "deprecated"}},
					Names:     []ddnsipv6.NameStatus{{Name: "nas.example.org"}},
				}}}
			},
		},
		{ // DSM may choose another address of the NAS, and somebody may want several
			name: "others of this machine, kept by DSM", records: []string{"nas AAAA " + otherAddr, "nas AAAA 2600:2::1"}, broken: -1,
			prepare: func(p *patient) { p.status = statusOf(nasAddr, otherAddr, "2600:2::1") },
		},
		{
			name: "another of this machine, kept by Caddy", records: []string{aaaa, "nas AAAA " + otherAddr}, broken: 2, status: Wrong,
			advice: "Remove", seen: []string{"another: " + otherAddr + ", also of this machine"},
			prepare: func(p *patient) {
				p.setup.policies = []json.RawMessage{[]byte(`{"domains":[{"name":"nas.example.org"}]}`)}
				p.status = statusOf(nasAddr, otherAddr)
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := dnsPatient(testenv.StartNamed(t, zoneWith(test.records...)))
			if test.prepare != nil {
				test.prepare(p)
			}
			for i, look := range checks {
				if test.broken == 1 && (i == 2 || i == 4) {
					continue // they need it
				}
				finding := look(t.Context(), p)
				if i == test.broken {
					expectFinding(t, finding, test.status, test.advice, test.seen...)
				} else if finding.Status != OK {
					t.Errorf("check %d: %+v", i, finding)
				}
			}
			if p.zone != "example.org." || len(p.servers) != 2 {
				t.Errorf("zone %q, servers %v", p.zone, p.servers)
			}
		})
	}
}

// statusOf is a Caddy's that runs, on a machine with usable addresses.
func statusOf(addresses ...string) *ddnsipv6.Status {
	policy := ddnsipv6.PolicyStatus{Names: []ddnsipv6.NameStatus{{Name: "nas.example.org"}}}
	for _, a := range addresses {
		policy.Addresses = append(policy.Addresses, ddnsipv6.AddressStatus{Address: a, Usable: true})
	}
	return &ddnsipv6.Status{Policies: []ddnsipv6.PolicyStatus{policy}}
}

// An A record of this machine leads clients at home to the right place.
func TestJudgeIPv4(t *testing.T) {
	own, router := netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("203.0.113.1")
	known := map[netip.Addr]bool{own: true}
	expectFinding(t, judgeIPv4([]netip.Addr{own}, known), OK, "", "192.168.1.2, of this machine")
	expectFinding(t, judgeIPv4([]netip.Addr{own, router}, known), Wrong, "Remove the A record", "203.0.113.1")
}

func TestReachable(t *testing.T) {
	p := publicPatient()
	p.status = statusOf(nasAddr)
	found := p.reachable(t.Context())
	if !found[netip.MustParseAddr(nasAddr)] || found[netip.MustParseAddr("127.0.0.1")] || found[netip.MustParseAddr("::1")] {
		t.Errorf("%v", found)
	}
}

func TestDNSAlias(t *testing.T) {
	p := dnsPatient(testenv.StartNamed(t, zoneWith("nas CNAME other", "other AAAA "+nasAddr)))
	expectFinding(t, lookDNS(t.Context(), p), OK, "")
	expectFinding(t, lookDNSAuthority(t.Context(), p), Unknown, "other.example.org", "alias")
	if f := lookDNSIPv4(t.Context(), p); f.cause != "dns_authority" {
		t.Errorf("got %+v", f)
	}
	p.setup.policies = []json.RawMessage{[]byte(`{"domains":[{"name":"nas.example.org"}]}`)}
	expectFinding(t, lookDNSAuthority(t.Context(), p), Wrong, "Remove the CNAME", "other.example.org")
}

func TestNameServers(t *testing.T) {
	resolver := testenv.StartNamed(t, zoneWith("nas AAAA "+nasAddr))
	for _, test := range []struct {
		name   string
		client func(t *testing.T) authority.Client
		status Status
		advice string
		seen   string
	}{
		{
			name: "the servers don't serve the zone", status: Wrong, advice: "Tell the DNS provider", seen: "answered REFUSED",
			client: func(t *testing.T) authority.Client {
				return authority.Client{Resolvers: []string{resolver.Address}, Port: testenv.StartNamed(t, testenv.Zone{Name: "example.net."}).Port}
			},
		},
		{
			name: "the servers are down", status: Unknown, advice: "another network", seen: "connection refused",
			client: func(t *testing.T) authority.Client {
				n := testenv.StartNamed(t, zoneWith())
				n.Stop()
				return authority.Client{Resolvers: []string{resolver.Address}, Port: n.Port}
			},
		},
		{
			name: "the resolver is down", status: Wrong, advice: "Set a DNS server that answers", seen: "no DNS server of this machine answers",
			client: func(t *testing.T) authority.Client {
				n := testenv.StartNamed(t, zoneWith())
				n.Stop()
				return authority.Client{Resolvers: []string{n.Address}}
			},
		},
		{
			name: "the resolver can't tell", status: Wrong, advice: "DNS provider", seen: "answered REFUSED",
			client: func(t *testing.T) authority.Client {
				return authority.Client{Resolvers: []string{testenv.StartNamed(t, testenv.Zone{Name: "example.net."}).Address}}
			},
		},
		{
			name: "nobody has the domain", status: Wrong, advice: "Register the domain", seen: "nas.example.org",
			client: func(t *testing.T) authority.Client {
				return authority.Client{Resolvers: []string{testenv.StartNamed(t, testenv.Zone{Name: "org."}).Address}}
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := publicPatient()
			p.nameServers = test.client(t)
			expectFinding(t, lookDNS(t.Context(), p), test.status, test.advice, test.seen)
			if len(p.servers) > 0 {
				t.Errorf("servers: %v", p.servers)
			}
		})
	}
}

// A resolver that is silent does not hinder those that answer.
func TestNameServersResolver(t *testing.T) {
	n, down := testenv.StartNamed(t, zoneWith()), testenv.StartNamed(t, zoneWith())
	down.Stop()
	p := dnsPatient(n)
	p.nameServers.Resolvers = []string{down.Address, n.Address}
	expectFinding(t, lookDNS(t.Context(), p), OK, "", "the zone is example.org")
}

// One server of several that does not answer is told, and is left out from then on.
func TestNameServersSome(t *testing.T) {
	list := []authority.Server{{Host: "a.example.", Addr: netip.MustParseAddr("2001:db8::1")}, {Host: "b.example.", Addr: netip.MustParseAddr("2001:db8::2")}}
	finding, usable := judgeServers("example.org.", list, []error{errors.New("network is unreachable"), nil})
	expectFinding(t, finding, OK, "", "answer: b.example (2001:db8::2)", "a.example (2001:db8::1): network is unreachable")
	if len(usable) != 1 || usable[0] != list[1].Addr {
		t.Errorf("usable: %v", usable)
	}
}

// Servers may have different records for a while.
func TestJudgeRecordsDiffer(t *testing.T) {
	good, old := netip.MustParseAddr(nasAddr), netip.MustParseAddr(otherAddr)
	answers := []records{{server: netip.MustParseAddr("192.0.2.1"), addrs: []netip.Addr{good}}, {server: netip.MustParseAddr("192.0.2.2"), addrs: []netip.Addr{old}}}
	all, err := union(answers)
	if err != nil {
		t.Fatal(err)
	}
	expectFinding(t, judgeRecords(good, answers, all, "", nil), Wrong, "Wait some minutes", "name server 192.0.2.2 has "+otherAddr)
}

// TestResolver: a cache with another answer than the authoritative servers.
func TestResolver(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(*dns.Msg)
		status Status
		advice string
		seen   string
	}{
		{name: "the same", answer: withAAAA(nasAddr, 60), status: OK, seen: "has the same"},
		{name: "an older one", answer: withAAAA(otherAddr, 77), status: Wrong, advice: "Wait 77 seconds", seen: otherAddr + ", cached for 77 more seconds"},
		{name: "none", answer: func(*dns.Msg) {}, status: Wrong, advice: "rebinding", seen: "has no AAAA record"},
		{
			name: "none for a while", status: Wrong, advice: "again in some minutes", seen: "cached for 30 seconds at most",
			answer: func(r *dns.Msg) {
				r.Ns = []dns.RR{&dns.SOA{
					Hdr: dns.RR_Header{Name: "example.org.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 300},
					Ns:  "ns.example.org.", Mbox: "x.example.org.", Minttl: 30,
				}}
			},
		},
		{name: "failure", answer: func(r *dns.Msg) { r.Rcode = dns.RcodeServerFailure }, status: Wrong, advice: "Set a DNS server", seen: "SERVFAIL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := publicPatient()
			p.nameServers.Resolvers = []string{resolverWith(t, test.answer)}
			p.official = []netip.Addr{netip.MustParseAddr(nasAddr)}
			expectFinding(t, lookDNSResolver(t.Context(), p), test.status, test.advice, test.seen)
		})
	}
}

// Of several resolvers one may be silent.
func TestResolverSilent(t *testing.T) {
	official := []netip.Addr{netip.MustParseAddr(nasAddr)}
	silent := cached{resolver: "192.0.2.1", err: errors.New("timeout")}
	expectFinding(t, judgeResolvers(official, nil, []cached{silent, {resolver: "192.0.2.2", addrs: official}}), OK, "", "192.0.2.1: timeout")
	expectFinding(t, judgeResolvers(official, nil, []cached{silent}), Wrong, "Set a DNS server", "192.0.2.1: timeout")
}

// A home network's DNS server may know the machine by another address, or name.
func TestResolverOfHome(t *testing.T) {
	official, private := []netip.Addr{netip.MustParseAddr(nasAddr)}, []netip.Addr{netip.MustParseAddr("fd00::1")}
	home := cached{resolver: "192.0.2.1", addrs: private}
	own := map[netip.Addr]bool{private[0]: true}
	expectFinding(t, judgeResolvers(official, own, []cached{home}), OK, "", "has fd00::1, also of this machine")
	expectFinding(t, judgeResolvers(official, nil, []cached{home}), Wrong, "Wait", "in the place of "+nasAddr)
	alias := cached{resolver: "192.0.2.1", err: &authority.AliasError{Target: "nas.lan."}}
	expectFinding(t, judgeResolvers(official, nil, []cached{alias}), OK, "", "alias (CNAME) of nas.lan.")
}

func withAAAA(addr string, ttl uint32) func(*dns.Msg) {
	return func(r *dns.Msg) {
		r.Answer = []dns.RR{&dns.AAAA{
			Hdr:  dns.RR_Header{Name: r.Question[0].Name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: ttl},
			AAAA: net.ParseIP(addr),
		}}
	}
}

// resolverWith is a resolver whose answers are as change leaves them.
func resolverWith(t *testing.T, change func(*dns.Msg)) (address string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		r := new(dns.Msg).SetReply(query)
		change(r)
		_ = w.WriteMsg(r)
	})}
	go func() { _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown() })
	return conn.LocalAddr().String()
}

package dnssynology

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func texts(answers []answer) (list []string) {
	for _, a := range answers {
		list = append(list, a.value)
	}
	return list
}

func TestDNSServerRecords(t *testing.T) {
	fake := synologytest.NewService(t)
	server, err := newDNSServer(fake.DNS)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("0123456789", 120) // several strings, and too long for UDP
	odd := "quote \" backslash \\ bell \a umlaut ü 065"
	fake.SetTXT("_acme-challenge."+fake.Hostname, "b", "a", odd)
	fake.SetTXT("long."+fake.Hostname, long, long+"x")
	client, _ := newTestService(t, Service{Endpoint: fake.URL}, credentialsOf(fake))
	if err := client.setAddresses(t.Context(), fake.Hostname, addr("192.0.2.1"), addr("2001:db8::1")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, fqdn string
		rrtype     uint16
		want       []string
	}{
		{"several", "_ACME-challenge." + fake.Hostname, dns.TypeTXT, []string{"a", "b", odd}},
		{"by TCP", "long." + fake.Hostname + ".", dns.TypeTXT, []string{long, long + "x"}},
		{"AAAA", fake.Hostname, dns.TypeAAAA, []string{"2001:db8::1"}},
		{"A", fake.Hostname, dns.TypeA, []string{"192.0.2.1"}},
		{"no such type", fake.Hostname, dns.TypeTXT, nil},
		{"no such name", "other.synology.me", dns.TypeTXT, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := server.records(t.Context(), test.fqdn, test.rrtype)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, texts(got)); diff != "" {
				t.Error(diff)
			}
			for _, a := range got {
				if a.ttl < time.Second {
					t.Errorf("TTL %s", a.ttl)
				}
			}
		})
	}
}

// serveReply answers every query by UDP.
func serveReply(t *testing.T, reply func(*dns.Msg)) dnsServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, ended := make(chan struct{}), make(chan struct{})
	server := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		if query.RecursionDesired || query.IsEdns0() == nil || query.IsEdns0().UDPSize() != 1232 {
			t.Errorf("query %v", query)
		}
		r := new(dns.Msg).SetReply(query)
		r.Authoritative = true
		reply(r)
		w.WriteMsg(r)
	})}
	go func() {
		defer close(ended)
		server.ActivateAndServe()
	}()
	<-started
	t.Cleanup(func() { server.Shutdown(); <-ended })
	return dnsServer{conn.LocalAddr().String()}
}

func record(t *testing.T, s string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

func TestDNSServerReplies(t *testing.T) {
	for _, test := range []struct {
		name  string
		reply func(*dns.Msg)
		want  []string
		err   string
	}{
		{name: "nothing", reply: func(*dns.Msg) {}},
		{name: "no such name", reply: func(r *dns.Msg) { r.Rcode = dns.RcodeNameError }},
		{name: "refused", reply: func(r *dns.Msg) { r.Rcode = dns.RcodeRefused }, err: "REFUSED"},
		{name: "server failure without question", reply: func(r *dns.Msg) { r.Rcode = dns.RcodeServerFailure; r.Question = nil }, err: "SERVFAIL"},
		{name: "no rcode", reply: func(r *dns.Msg) { r.Rcode = 14 }, err: "RCODE 14"},
		{name: "from a cache", reply: func(r *dns.Msg) { r.Authoritative = false }, err: "not authoritative"},
		{name: "no such name from a cache", reply: func(r *dns.Msg) { r.Authoritative = false; r.Rcode = dns.RcodeNameError }, err: "not authoritative"},
		{name: "another question", reply: func(r *dns.Msg) { r.Question[0].Name = "other." }, err: "another question"},
		{name: "another name's record", reply: func(r *dns.Msg) { r.Answer = []dns.RR{record(t, "x. A 192.0.2.1")} }},
		{name: "same address twice", reply: func(r *dns.Msg) {
			r.Answer = []dns.RR{record(t, "A.synology.me. A 192.0.2.1"), record(t, "a.synology.me. A 192.0.2.1")}
		}, want: []string{"192.0.2.1"}},
		{name: "alias", reply: func(r *dns.Msg) {
			r.Answer = []dns.RR{record(t, "c. A 192.0.2.1"), record(t, "b. CNAME c."), record(t, "a.synology.me. CNAME b.")}
		}, want: []string{"192.0.2.1"}},
		{name: "alias only", reply: func(r *dns.Msg) { r.Answer = []dns.RR{record(t, "a.synology.me. CNAME b.")} }, err: "alias of b."},
		{name: "alias of itself", reply: func(r *dns.Msg) { r.Answer = []dns.RR{record(t, "a.synology.me. CNAME a.synology.me.")} }, err: "alias of a.synology.me."},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := serveReply(t, test.reply).records(t.Context(), "a.synology.me", dns.TypeA)
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("%v; want %q", err, test.err)
			}
			if diff := cmp.Diff(test.want, texts(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDNSServerHonoursContext(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0") // never answers
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(nil) })
	start := time.Now()
	_, err = dnsServer{conn.LocalAddr().String()}.records(ctx, "a.synology.me", dns.TypeA)
	if !errors.Is(err, context.Canceled) || time.Since(start) > 2*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}

func TestNewDNSServer(t *testing.T) {
	for in, want := range map[string]string{
		"": defaultNameServer, "ns.example": "ns.example:53", "192.0.2.1": "192.0.2.1:53", "2001:db8::1": "[2001:db8::1]:53",
		"[2001:db8::1]": "[2001:db8::1]:53", "[2001:db8::1]:5353": "[2001:db8::1]:5353", ":53": "", "ns.example:dns": "", "ns.example:0": "",
	} {
		got, err := newDNSServer(in)
		if got.addr != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", in, got.addr, err, want)
		}
	}
}

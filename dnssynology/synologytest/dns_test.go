package synologytest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// exchange asks the name server, and wants an authoritative answer.
func (s *Service) exchange(t *testing.T, network, name, kind string) *dns.Msg {
	t.Helper()
	query := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.StringToType[kind])
	client := &dns.Client{Net: network}
	reply, _, err := client.ExchangeContext(t.Context(), query, s.DNS)
	if err != nil {
		t.Fatalf("asking for %s %s: %v", name, kind, err)
	}
	return reply
}

// ask returns the answers' data, sorted.
func (s *Service) ask(t *testing.T, network, name, kind string) []string {
	t.Helper()
	reply := s.exchange(t, network, name, kind)
	if !reply.Authoritative {
		t.Errorf("the answer to %s %s is not authoritative", name, kind)
	}
	var list []string
	for _, rr := range reply.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			list = append(list, strings.Join(txt.Txt, ""))
			continue
		}
		list = append(list, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(list)
	return list
}

func TestDNS(t *testing.T) {
	s := NewService(t)
	s.wantCode(t, good, "POST", s.fields("hostname/create", "ipv4", "203.0.113.1", "ipv6", "2001:db8::1"))
	s.wantCode(t, good, "GET", s.fields("letsencrypt/create", "txt", "v"))
	for _, test := range []struct {
		name, kind string
		rcode      int
		want       []string
	}{
		{"example.synology.me", "A", dns.RcodeSuccess, []string{"203.0.113.1"}},
		{"EXAMPLE.synology.ME", "AAAA", dns.RcodeSuccess, []string{"2001:db8::1"}},
		{"example.synology.me", "TXT", dns.RcodeSuccess, nil},
		{"www.example.synology.me", "AAAA", dns.RcodeSuccess, []string{"2001:db8::1"}},
		{"www.example.synology.me", "CAA", dns.RcodeSuccess, nil},
		{"_acme-challenge.example.synology.me", "TXT", dns.RcodeSuccess, []string{"v"}},
		{"_acme-challenge.example.synology.me", "A", dns.RcodeSuccess, nil}, // it exists, so no wildcard
		{"other.synology.me", "A", dns.RcodeNameError, nil},
		{"synology.me", "NS", dns.RcodeSuccess, []string{"ns1.synology.me."}},
		{"familyds.org", "NS", dns.RcodeSuccess, []string{"ns1.synology.me."}},
		{"ns1.synology.me", "A", dns.RcodeSuccess, []string{"127.0.0.1"}},
	} {
		for _, network := range []string{"udp", "tcp"} {
			equal(t, test.name+" "+test.kind, s.ask(t, network, test.name, test.kind), test.want...)
			reply := s.exchange(t, network, test.name, test.kind)
			if reply.Rcode != test.rcode || (len(test.want) == 0) != (len(reply.Ns) == 1) {
				t.Errorf("%s %s: got %v", test.name, test.kind, reply)
			}
		}
	}
	for _, zone := range suffixes {
		if list := s.ask(t, "udp", zone, "SOA"); len(list) != 1 {
			t.Errorf("SOA of %s: got %q", zone, list)
		}
	}
	if reply := s.exchange(t, "udp", "example.com", "A"); reply.Rcode != dns.RcodeRefused || reply.Authoritative {
		t.Errorf("a foreign zone: got %v", reply)
	}
}

func TestDNSTruncates(t *testing.T) {
	s := NewService(t)
	const name = "_acme-challenge.example.synology.me"
	var values []string
	for range 20 {
		values = append(values, canary("value"))
	}
	slices.Sort(values)
	s.SetTXT(name, values...)
	if reply := s.exchange(t, "udp", name, "TXT"); !reply.Truncated {
		t.Error("a large answer by UDP is not truncated")
	}
	equal(t, "by TCP", s.ask(t, "tcp", name, "TXT"), values...)
}

func TestDNSDelay(t *testing.T) {
	s := NewService(t)
	const name = "_acme-challenge.example.synology.me"
	s.wantCode(t, good, "POST", s.fields("hostname/create", "ipv4", "203.0.113.1"))
	s.DelayDNS(time.Hour)
	s.wantCode(t, good, "GET", s.fields("letsencrypt/create", "txt", "v"))
	s.wantCode(t, good, "POST", s.fields("hostname/update", "ipv4", "203.0.113.2"))
	equal(t, "value on its way", s.ask(t, "udp", name, "TXT"))
	equal(t, "old address", s.Addresses(s.Hostname), "203.0.113.1")

	s.SetTXT(name, "another program's")
	equal(t, "at once", s.TXT(name), "another program's")

	s.DelayDNS(0)
	equal(t, "arrived", s.TXT(name), "another program's")
	equal(t, "new address", s.Addresses(s.Hostname), "203.0.113.2")
	s.wantCode(t, good, "GET", s.fields("letsencrypt/create", "txt", "v"))
	equal(t, "both", s.TXT(name), "another program's", "v")
	s.SetTXT(name)
	equal(t, "none", s.TXT(name))
}

func TestDNSFails(t *testing.T) {
	s := NewService(t)
	s.FailDNS(dns.RcodeServerFailure, 1)
	if reply := s.exchange(t, "udp", s.Hostname, "A"); reply.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %v", reply)
	}
	s.FailDNS(-1, 1)
	query := new(dns.Msg).SetQuestion(dns.Fqdn(s.Hostname), dns.TypeA)
	client := &dns.Client{Timeout: 20 * time.Millisecond}
	if _, _, err := client.ExchangeContext(t.Context(), query, s.DNS); err == nil {
		t.Error("an answer from a server that gives none")
	}
	equal(t, "again", s.ask(t, "udp", s.Hostname, "A"))
}

package dnssynology

import (
	"context"
	"strings"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"
)

func TestServiceGet(t *testing.T) {
	fake := synologytest.NewService(t)
	fake.SetTXT("_acme-challenge.example.synology.me", "v")
	for _, test := range []struct {
		zone string
		want []string
		err  string
	}{
		// Nothing was asked about yet: unknown is not empty.
		{zone: "synology.me.", err: "the hostname itself can be read as a zone"},
		{zone: "me.", err: "the hostname itself can be read as a zone"},
		{zone: "Example.Synology.me", want: []string{"_acme-challenge TXT v"}},
		{zone: "_acme-challenge.example.synology.me.", want: []string{"@ TXT v"}},
		{zone: "other.synology.me."},
		{zone: "diskstation.me.", err: "the hostname itself can be read as a zone"},
		{zone: "example.com.", err: "module of its own DNS provider"},
		{zone: "a.b.synology.me.", err: "b.synology.me"},
	} {
		t.Run(test.zone, func(t *testing.T) {
			got, err := newTestBackend(t, fake).get(t.Context(), test.zone)
			if (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v; want %q", err, test.err)
			}
			if diff := cmp.Diff(test.want, rrs(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
	fake.FailDNS(dns.RcodeServerFailure, 1)
	if _, err := newTestBackend(t, fake).get(t.Context(), "example.synology.me."); err == nil {
		t.Error("no answer is not an empty one")
	}
}

func TestServiceRefuses(t *testing.T) {
	fake := synologytest.NewService(t)
	b := newTestBackend(t, fake)
	rr := func(name, rrtype, data string) libdns.RR { return libdns.RR{Name: name, Type: rrtype, Data: data} }
	for _, test := range []struct {
		name    string
		records []libdns.Record
		want    string
	}{
		{"MX", []libdns.Record{libdns.MX{Name: "example", Target: "mail."}}, "MX: the DDNS service keeps AAAA and A"},
		{"CNAME", []libdns.Record{rr("example", "CNAME", "x.")}, "domain of your own"},
		{"TXT of the hostname", []libdns.Record{rr("example", "TXT", "x")}, "_acme-challenge.example.synology.me only"},
		{"address of the challenge", addresses("_acme-challenge.example", "192.0.2.1"), "keeps TXT there only"},
		{"the suffix", addresses("@", "192.0.2.1"), "Synology's own"},
		{"a name below", addresses("www.example", "192.0.2.1"), "for example.synology.me only"},
		{"a challenge below", []libdns.Record{rr("_acme-challenge.www.example", "TXT", "x")}, "for example.synology.me only"},
		{"another domain", addresses("example.com.", "192.0.2.1"), "module of its own DNS provider"},
		{"challenge of the suffix", []libdns.Record{rr("_acme-challenge", "TXT", "x")}, "letters, digits and hyphens"},
		{"wildcard", addresses("*.example", "192.0.2.1"), "addresses of example.synology.me, always"},
		{"two AAAA", addresses("example", "2001:db8::1", "2001:db8::2"), "one address of each family"},
		{"A in AAAA", []libdns.Record{rr("example", "AAAA", "192.0.2.1")}, "no address of that type"},
		{"AAAA in A", []libdns.Record{rr("example", "A", "2001:db8::1")}, "no address of that type"},
		{"mapped", []libdns.Record{rr("example", "AAAA", "::ffff:192.0.2.1")}, "no address of that type"},
		{"no address", []libdns.Record{libdns.Address{Name: "example"}}, "example.synology.me"},
		{"two values", append(txt("a"), txt("b")...), "one value at a time"},
		{"empty value", txt(""), "no text"},
		{"good and bad", append(addresses("example", "192.0.2.1"), rr("example", "SRV", "x")), "SRV"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, call := range []func(context.Context, string, []libdns.Record) ([]libdns.Record, error){b.add, b.set} {
				if done, err := call(t.Context(), testZone, test.records); err == nil || len(done) != 0 || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, %v; want %q", done, err, test.want)
				}
			}
		})
	}
	if _, err := b.remove(t.Context(), testZone, []libdns.Record{rr("example", "MX", "")}); err == nil {
		t.Error("MX can't be there")
	}
	if _, err := b.zones(t.Context()); err == nil || !strings.Contains(err.Error(), "as the zone") {
		t.Error(err)
	}
	if got := fake.Requests(); len(got) != 0 {
		t.Errorf("%d requests", len(got))
	}
}

package dnssynology

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
)

func TestDDNSAddresses(t *testing.T) {
	for _, test := range []struct{ zone, name string }{{"example.synology.me.", "@"}, {"synology.me", "example"}} {
		t.Run(test.zone, func(t *testing.T) {
			fake := synologytest.NewDSM(t, synologytest.WithDDNS("example.synology.me"))
			fake.SetWAN("", "")
			b := &dsmBackend{apiTo(t, dsmAt(fake))}
			has := func(ipv4, ipv6 string) {
				t.Helper()
				if v4, v6 := fake.DDNS(); v4 != ipv4 || v6 != ipv6 {
					t.Errorf("addresses %q and %q, want %q and %q", v4, v6, ipv4, ipv6)
				}
			}
			address := func(ip string) libdns.Address {
				return libdns.Address{Name: test.name, TTL: time.Minute, IP: netip.MustParseAddr(ip)}
			}
			got, err := b.get(t.Context(), test.zone)
			want := []libdns.RR{{Name: test.name, Type: "A", Data: "203.0.113.7"}, {Name: test.name, Type: "AAAA", Data: "2001:db8:7::7"}}
			if diff := cmp.Diff(want, rrsOf(got)); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			// The IPv6 address is set by hand, the IPv4 address still follows the NAS.
			fake.SetWAN("203.0.113.8", "2001:db8:8::8")
			if _, err := b.set(t.Context(), test.zone, []libdns.Record{address("2001:db8::1")}); err != nil {
				t.Fatal(err)
			}
			has("203.0.113.8", "2001:db8::1")
			if _, err := b.set(t.Context(), test.zone, []libdns.Record{address("2001:db8::2"), address("192.0.2.1")}); err != nil {
				t.Fatal(err)
			}
			has("192.0.2.1", "2001:db8::2")
			requests := len(fake.Requests())
			if _, err := b.add(t.Context(), test.zone, []libdns.Record{address("2001:db8::2")}); err != nil {
				t.Error(err)
			}
			for _, r := range fake.Requests()[requests:] {
				if r.Method == "set" {
					t.Error("what is there already was written")
				}
			}
			if _, err := b.add(t.Context(), test.zone, []libdns.Record{address("2001:db8::3")}); err == nil || !strings.Contains(err.Error(), "one address of a type") {
				t.Errorf("a second address: %v", err)
			}
			if _, err := b.set(t.Context(), test.zone, []libdns.Record{address("2001:db8::3"), address("2001:db8::4")}); err == nil {
				t.Error("two addresses were set")
			}
			if removed, err := b.remove(t.Context(), test.zone, []libdns.Record{address("2001:db8::9")}); err != nil || len(removed) != 0 {
				t.Errorf("removed another address: %v, %v", removed, err)
			}
			if removed, err := b.remove(t.Context(), test.zone, []libdns.Record{address("192.0.2.1")}); err != nil || len(removed) != 1 {
				t.Errorf("removed: %v, %v", removed, err)
			}
			has("", "2001:db8::2")
			if removed, err := b.remove(t.Context(), test.zone, []libdns.Record{libdns.RR{Name: test.name}}); err != nil || len(removed) != 1 {
				t.Errorf("removed: %v, %v", removed, err)
			}
			has("", "")
			if got, err := b.get(t.Context(), test.zone); err != nil || len(got) != 0 {
				t.Errorf("%v, %v", got, err)
			}
			if _, err := b.add(t.Context(), test.zone, []libdns.Record{address("2001:db8::3")}); err != nil {
				t.Error(err)
			}
			has("", "2001:db8::3")
		})
	}
}

func TestDDNSErrors(t *testing.T) {
	fake := synologytest.NewDSM(t, synologytest.WithDDNS("example.synology.me"))
	b := &dsmBackend{apiTo(t, dsmAt(fake))}
	for _, test := range []struct {
		name, zone string
		record     libdns.Record
		want       string
	}{
		{"TXT", "example.synology.me", libdns.TXT{Name: "_acme-challenge", Text: "x"}, "credentials_file"},
		{"MX", "example.synology.me", libdns.MX{Name: "@", Preference: 1, Target: "x"}, "a domain of your own"},
		{"a name below", "example.synology.me", libdns.Address{Name: "x", IP: netip.MustParseAddr("2001:db8::1")}, "names below"},
		{"somebody else's", "synology.me", libdns.Address{Name: "other", IP: netip.MustParseAddr("2001:db8::1")}, "not a hostname"},
		{"no address", "synology.me", libdns.RR{Name: "example", Type: "AAAA", Data: "::"}, "no address"},
		{"another zone", "example.net", libdns.TXT{Name: "x", Text: "x"}, "not installed"},
	} {
		for _, err := range []error{
			second(b.add(t.Context(), test.zone, []libdns.Record{test.record})),
			second(b.set(t.Context(), test.zone, []libdns.Record{test.record})),
		} {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v", test.name, err)
			}
		}
	}
	if _, err := b.zones(t.Context()); err == nil || !strings.Contains(err.Error(), "DNS Server") {
		t.Errorf("zones: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestDDNSEntries(t *testing.T) {
	w := &ddnsWriter{zone: "example.org."}
	entries := []*ddnsEntry{
		{Provider: "DynDNS.org", Hostname: "dyn.example.org", Enable: true},
		{Provider: "Synology", Hostname: "off.example.org"},
	}
	for name, want := range map[string]string{"dyn": "whose password", "off": "switched off"} {
		_, err := w.change(entries, libdns.Address{Name: name, IP: netip.MustParseAddr("2001:db8::1")})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Guards against records that are said to be written, or gone, though DSM refused.
func TestDDNSReturnsWhatIsDone(t *testing.T) {
	address := libdns.Address{Name: "@", IP: netip.MustParseAddr("2001:db8::1")}
	there := libdns.Address{Name: "@", IP: netip.MustParseAddr("2001:db8:7::7")}
	for _, lost := range []bool{false, true} {
		fake := synologytest.NewDSM(t, synologytest.WithDDNS("example.synology.me"))
		fake.SetWAN("", "")
		b := &dsmBackend{apiTo(t, dsmAt(fake))}
		fail := func() {
			if lost { // DSM did it, but who asked doesn't hear of it
				fake.LoseReply(ddnsAPI+" set", "<html>", 502, 1)
			} else {
				fake.BreakCall(ddnsAPI+" set", "<html>", 502, 1)
			}
		}
		want := map[bool]int{true: 1}[lost]
		fail()
		if got, err := b.set(t.Context(), "example.synology.me", []libdns.Record{address}); err == nil || len(got) != want {
			t.Errorf("lost %t: set %v, %v", lost, got, err)
		}
		if lost {
			there = address
		}
		fail()
		if got, err := b.remove(t.Context(), "example.synology.me", []libdns.Record{there}); err == nil || len(got) != want {
			t.Errorf("lost %t: removed %v, %v", lost, got, err)
		}
	}
}

// Guards against errors where there is nothing to delete, which libdns wants ignored;
// what is there and can't be deleted is still one.
func TestDDNSMatches(t *testing.T) {
	w := &ddnsWriter{zone: "example.org."}
	entries := []*ddnsEntry{
		{Provider: "Synology", Hostname: "on.example.org", Enable: true, IPv4: "192.0.2.1", IPv6: "2001:db8::1"},
		{Provider: "DynDNS.org", Hostname: "dyn.example.org", Enable: true, IPv4: "192.0.2.1"},
		{Provider: "Synology", Hostname: "off.example.org", IPv4: "192.0.2.1"},
	}
	for _, test := range []struct {
		record libdns.RR
		want   int
		err    string
	}{
		{libdns.RR{Name: "on"}, 2, ""},
		{libdns.RR{Name: "on", Type: "aaaa"}, 1, ""},
		{libdns.RR{Name: "on", Data: "192.0.2.1"}, 1, ""},
		{libdns.RR{Name: "on", Type: "A", Data: "192.0.2.9"}, 0, ""},
		{libdns.RR{Name: "on", Type: "A", Data: "no address"}, 0, ""},
		{libdns.RR{Name: "on", Type: "TXT", Data: "x"}, 0, ""},
		{libdns.RR{Name: "none", Type: "A"}, 0, ""},
		{libdns.RR{Name: "dyn", Type: "TXT"}, 0, ""},
		{libdns.RR{Name: "dyn", Type: "AAAA"}, 0, ""},
		{libdns.RR{Name: "dyn", Type: "A"}, 0, "whose password"},
		{libdns.RR{Name: "off"}, 0, "switched off"},
		{libdns.RR{Name: "off", Data: "192.0.2.9"}, 0, ""},
		{libdns.RR{}, 0, "no name"},
	} {
		found, err := w.matches(entries, test.record)
		if len(found) != test.want || (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%v: %d found, %v", test.record, len(found), err)
		}
	}
}

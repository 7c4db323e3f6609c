package dnssynology

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"
)

const testZone = "synology.me."

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// newTestBackend polls without waiting for real: its pauses are 5 ms, and count
// as what they should be.
func newTestBackend(t *testing.T, fake *synologytest.Service) *serviceBackend {
	t.Helper()
	b, err := openService(&Provider{
		CredentialsFile: fake.CredentialsFile(),
		Service:         Service{Endpoint: fake.URL, NameServer: fake.DNS},
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var passed time.Duration
	b.now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Unix(0, 0).Add(passed)
	}
	b.pause = func(ctx context.Context, d time.Duration) error {
		mu.Lock()
		passed += d
		mu.Unlock()
		return pause(ctx, 5*time.Millisecond)
	}
	b.service.pause = b.pause
	t.Cleanup(func() { b.close(context.Background()) })
	return b
}

func txt(value string) []libdns.Record {
	return []libdns.Record{libdns.RR{Name: "_acme-challenge.example", Type: "TXT", Data: value, TTL: time.Second}}
}

func addresses(name string, addrs ...string) (list []libdns.Record) {
	for _, a := range addrs {
		list = append(list, libdns.Address{Name: name, IP: addr(a)})
	}
	return list
}

func rrs(records []libdns.Record) (list []string) {
	for _, record := range records {
		rr := record.RR()
		list = append(list, strings.Join([]string{rr.Name, rr.Type, rr.Data}, " "))
	}
	return list
}

func commandsOf(fake *synologytest.Service) (list []string) {
	for _, r := range fake.Requests() {
		list = append(list, strings.TrimSpace(r.Command+" "+r.Form.Get("txt")))
	}
	return list
}

func TestServiceTXT(t *testing.T) {
	fake := synologytest.NewService(t)
	b := newTestBackend(t, fake)
	fake.DelayDNS(30 * time.Millisecond)
	done, err := b.add(t.Context(), testZone, txt("v"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]libdns.Record{libdns.TXT{Name: "_acme-challenge.example", TTL: time.Minute, Text: "v"}}, done); diff != "" {
		t.Error(diff)
	}
	if got := fake.TXT("_acme-challenge.example.synology.me"); len(got) != 1 {
		t.Errorf("it did not wait: %q", got)
	}
	if again, err := b.set(t.Context(), testZone, txt("v")); err != nil || len(again) != 1 {
		t.Errorf("the same once more: %v", err)
	}
	got, err := b.get(t.Context(), testZone)
	if diff := cmp.Diff([]string{"_acme-challenge.example TXT v"}, rrs(got)); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if deleted, err := b.remove(t.Context(), testZone, done); err != nil || len(deleted) != 1 {
		t.Errorf("%v, %v", deleted, err)
	}
	fake.DelayDNS(0)
	if diff := cmp.Diff([]string{"letsencrypt/create v", "letsencrypt/delete v"}, commandsOf(fake)); diff != "" {
		t.Error(diff)
	}
	if deleted, err := b.remove(t.Context(), testZone, done); err != nil || len(deleted) != 0 {
		t.Errorf("what isn't there: %v, %v", deleted, err)
	}
}

// TestServiceTXTAtOnce: orders for a name and its wildcard, in several providers,
// with a service that keeps several values and one that keeps one only.
func TestServiceTXTAtOnce(t *testing.T) {
	for name, options := range map[string][]synologytest.Option{"several values": nil, "one value": {synologytest.OneTXTValue()}} {
		t.Run(name, func(t *testing.T) {
			fake := synologytest.NewService(t, options...)
			var group sync.WaitGroup
			for i := range 6 {
				b := newTestBackend(t, fake)
				group.Go(func() {
					value := fmt.Sprint("value", i)
					done, err := b.add(t.Context(), testZone, txt(value))
					if err != nil {
						t.Error(err)
						return
					}
					if got := fake.TXT("_acme-challenge.example.synology.me"); len(got) != 1 || got[0] != value {
						t.Errorf("%q; want %q", got, value)
					}
					if _, err := b.remove(t.Context(), testZone, done); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
			if got := fake.TXT("_acme-challenge.example.synology.me"); len(got) != 0 {
				t.Errorf("left: %q", got)
			}
		})
	}
}

// TestServiceTXTLeftBehind guards against the values of a killed process.
func TestServiceTXTLeftBehind(t *testing.T) {
	fake := synologytest.NewService(t)
	fake.SetTXT("_acme-challenge.example.synology.me", "old1", "old2", "new")
	fake.SetTXT("example.synology.me", "not ours")
	b := newTestBackend(t, fake)
	if _, err := b.add(t.Context(), testZone, txt("new")); err != nil {
		t.Fatal(err)
	}
	want := []string{"letsencrypt/delete old1", "letsencrypt/delete old2", "letsencrypt/create new"}
	if diff := cmp.Diff(want, commandsOf(fake)); diff != "" {
		t.Error(diff)
	}
	all := []libdns.Record{libdns.RR{Name: "_acme-challenge.example"}}
	if deleted, err := b.remove(t.Context(), testZone, all); err != nil || len(deleted) != 1 {
		t.Errorf("%v, %v", deleted, err)
	}
}

func TestServiceTXTFails(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*synologytest.Service)
		want  string
		sent  []string
	}{
		{"refused", func(s *synologytest.Service) { s.Fail("badauth", 1) }, "badauth", []string{"letsencrypt/create v", "letsencrypt/delete v"}},
		{"never shows", func(s *synologytest.Service) { s.DelayDNS(time.Hour) }, "after 2m0s", []string{"letsencrypt/create v", "letsencrypt/delete v"}},
		{"no DNS", func(s *synologytest.Service) { s.FailDNS(dns.RcodeRefused, 1000) }, "REFUSED, after 2m0s", []string{"letsencrypt/create v", "letsencrypt/delete v"}},
		{"captive portal", func(s *synologytest.Service) { s.Break("<html>", 200, 1) }, "<html>", []string{"letsencrypt/create v", "letsencrypt/delete v"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			fake := synologytest.NewService(t)
			test.spoil(fake)
			b := newTestBackend(t, fake)
			done, err := b.add(t.Context(), testZone, txt("v"))
			if err == nil || len(done) != 0 || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, %v", done, err)
			}
			if diff := cmp.Diff(test.sent, commandsOf(fake)); diff != "" {
				t.Error(diff)
			}
			if _, _, held := b.holds.held(b.holdName("example.synology.me")); held {
				t.Error("it still keeps others out")
			}
		})
	}
}

func TestServiceTXTCancelled(t *testing.T) {
	fake := synologytest.NewService(t)
	fake.DelayDNS(time.Hour)
	b := newTestBackend(t, fake)
	ctx, cancel := context.WithCancel(t.Context())
	b.pause = func(ctx context.Context, _ time.Duration) error { cancel(); <-ctx.Done(); return ctx.Err() }
	if _, err := b.add(ctx, testZone, txt("v")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"letsencrypt/create v", "letsencrypt/delete v"}, commandsOf(fake)); diff != "" {
		t.Error(diff)
	}
}

func TestServiceAddresses(t *testing.T) {
	fake := synologytest.NewService(t)
	b := newTestBackend(t, fake)
	check := func(records []libdns.Record, err error, n int, want ...string) {
		t.Helper()
		if err != nil || len(records) != n {
			t.Errorf("%v, %v", records, err)
		}
		if diff := cmp.Diff(want, fake.Addresses(fake.Hostname), cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	}
	done, err := b.set(t.Context(), testZone, addresses("example", "192.0.2.1"))
	check(done, err, 1, "192.0.2.1")
	// One family alone leaves the other one as it is.
	done, err = b.set(t.Context(), "example.synology.me.", addresses("@", "2001:db8::1"))
	check(done, err, 1, "192.0.2.1", "2001:db8::1")
	done, err = b.set(t.Context(), testZone, addresses("example", "2001:db8::2", "192.0.2.2", "192.0.2.2"))
	check(done, err, 2, "192.0.2.2", "2001:db8::2")

	sent := len(fake.Requests())
	done, err = b.add(t.Context(), testZone, addresses("example", "2001:db8::2"))
	check(done, err, 1, "192.0.2.2", "2001:db8::2")
	if len(fake.Requests()) != sent {
		t.Error("sent what was there")
	}
	if _, err := b.add(t.Context(), testZone, addresses("example", "2001:db8::3")); err == nil || !strings.Contains(err.Error(), "has the address 2001:db8::2") {
		t.Error(err)
	}

	got, err := b.get(t.Context(), testZone)
	want := []string{"example A 192.0.2.2", "example AAAA 2001:db8::2", "*.example A 192.0.2.2", "*.example AAAA 2001:db8::2"}
	if diff := cmp.Diff(want, rrs(got)); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if _, err := b.remove(t.Context(), testZone, got[:1]); err == nil || !strings.Contains(err.Error(), "not known to delete addresses") {
		t.Error(err)
	}
	if done, err := b.remove(t.Context(), testZone, addresses("example", "192.0.2.77")); err != nil || len(done) != 0 {
		t.Errorf("what isn't there: %v, %v", done, err)
	}
}

// TestServiceAddressesShowLate: who reads after a write shall find it, as far as
// that does not take too long.
func TestServiceAddressesShowLate(t *testing.T) {
	fake := synologytest.NewService(t)
	fake.DelayDNS(10 * time.Millisecond)
	b := newTestBackend(t, fake)
	if _, err := b.set(t.Context(), testZone, addresses("example", "2001:db8::1")); err != nil || len(fake.Addresses(fake.Hostname)) != 1 {
		t.Error(err, fake.Addresses(fake.Hostname))
	}
	fake.DelayDNS(time.Hour)
	if _, err := b.set(t.Context(), testZone, addresses("example", "2001:db8::2")); err != nil {
		t.Errorf("the service has accepted it: %v", err)
	}
}

// TestServiceWithoutAPIKey: TXT does without what addresses need.
func TestServiceWithoutAPIKey(t *testing.T) {
	fake := synologytest.NewService(t)
	b := newTestBackend(t, fake)
	b.service.credentials.APIKey, b.service.credentials.MAC = "", ""
	if _, err := b.set(t.Context(), testZone, append(txt("v"), addresses("example", "192.0.2.1")...)); err == nil || !strings.Contains(err.Error(), "addresses need api_key, mac") {
		t.Error(err)
	}
	if _, err := b.set(t.Context(), testZone, txt("v")); err != nil {
		t.Error(err)
	}
}

// TestServiceSetTXT: SetRecords replaces the provider's own value, and does not
// wait for its own hold to end.
func TestServiceSetTXT(t *testing.T) {
	fake := synologytest.NewService(t)
	b := newTestBackend(t, fake)
	for _, value := range []string{"one", "two", "two"} {
		if _, err := b.set(t.Context(), testZone, txt(value)); err != nil {
			t.Fatal(err)
		}
		if got := fake.TXT("_acme-challenge.example.synology.me"); !slices.Equal(got, []string{value}) {
			t.Errorf("after %s: %v", value, got)
		}
	}
}

// TestHoldsClosedOwner: what a closed owner deletes late stays as long as another
// one needs it.
func TestHoldsClosedOwner(t *testing.T) {
	var h holds
	name := holdName{endpoint: "e", hostname: "h"}
	for _, owner := range []string{"old", "new"} {
		if _, err := h.take(t.Context(), name, "v", owner); err != nil {
			t.Fatal(err)
		}
		h.confirm(name, "v", time.Minute)
	}
	h.abandon("old")
	if h.leave(name, "v", "old") {
		t.Error("the closed owner deletes what the new one needs")
	}
	if !h.leave(name, "v", "new") {
		t.Error("the last owner does not delete")
	}
}

package dnssynology

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
)

const (
	apexNSLine = "example.com.\t86400\tNS\tns.example.com."
	createCall = recordAPI + " create"
	deleteCall = recordAPI + " delete"
	listCall   = recordAPI + " list"
	refusal    = `{"success":false,"error":{"code":10001}}`
)

// zoneAt returns a fake with the zone example.com, and a backend that uses it.
func zoneAt(t *testing.T, records ...string) (*synologytest.DSM, *dsmBackend) {
	t.Helper()
	records = append([]string{"@ IN NS ns.example.com."}, records...)
	fake := synologytest.NewDSM(t, synologytest.WithZone("example.com", records...))
	return fake, &dsmBackend{apiTo(t, dsmAt(fake))}
}

// hasRecords compares a zone with lines, but for its NS record.
func hasRecords(t *testing.T, fake *synologytest.DSM, want ...string) {
	t.Helper()
	got := slices.DeleteFunc(fake.Records("example.com"), func(s string) bool { return s == apexNSLine })
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func rrsOf(records []libdns.Record) (rrs []libdns.RR) {
	for _, r := range records {
		rrs = append(rrs, r.RR())
	}
	return rrs
}

func TestZoneTypes(t *testing.T) {
	fake, b := zoneAt(t)
	records := []libdns.Record{
		libdns.Address{Name: "a", TTL: time.Minute, IP: netip.MustParseAddr("192.0.2.1")},
		libdns.Address{Name: "@", TTL: time.Minute, IP: netip.MustParseAddr("2001:db8::1")},
		libdns.CAA{Name: "caa", TTL: time.Minute, Flags: 128, Tag: "issue", Value: "ca.example.net; x=1"},
		libdns.CNAME{Name: "*.c", TTL: time.Minute, Target: "a.example.com."},
		libdns.MX{Name: "@", TTL: time.Minute, Preference: 10, Target: "mx.example.net."},
		libdns.NS{Name: "sub", TTL: time.Minute, Target: "ns.example.net."},
		libdns.SRV{Name: "@", TTL: time.Minute, Service: "sip", Transport: "udp", Priority: 1, Weight: 2, Port: 5060, Target: "a.example.com."},
		libdns.TXT{Name: "_acme-challenge", TTL: time.Minute, Text: "value"},
	}
	added, err := b.add(t.Context(), "example.com.", records)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rrsOf(records), rrsOf(added)); diff != "" {
		t.Errorf("added (-want +got):\n%s", diff)
	}
	got, err := b.get(t.Context(), "EXAMPLE.com") // zones are taken in any spelling
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(records, got[1:], cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	hasRecords(t, fake,
		"a.example.com.\t60\tA\t192.0.2.1", "example.com.\t60\tAAAA\t2001:db8::1",
		"caa.example.com.\t60\tCAA\t128 issue \"ca.example.net; x=1\"", "*.c.example.com.\t60\tCNAME\ta.example.com.",
		"example.com.\t60\tMX\t10 mx.example.net.", "sub.example.com.\t60\tNS\tns.example.net.",
		"_sip._udp.example.com.\t60\tSRV\t1 2 5060 a.example.com.", "_acme-challenge.example.com.\t60\tTXT\t\"value\"")

	// What is there already is as good as added.
	if again, err := b.add(t.Context(), "example.com.", records); err != nil || len(again) != len(records) {
		t.Errorf("again: %v, %v", again, err)
	}
	removed, err := b.remove(t.Context(), "example.com.", added)
	if err != nil || len(removed) != len(records) {
		t.Errorf("removed: %v, %v", removed, err)
	}
	hasRecords(t, fake, []string{}...)
	zones, err := b.zones(t.Context())
	if err != nil || !slices.Equal(zones, []libdns.Zone{{Name: "example.com."}}) {
		t.Errorf("zones: %v, %v", zones, err)
	}
}

func TestZoneTexts(t *testing.T) {
	for _, text := range []string{
		"plain", "with spaces", `with "quotes" inside`, `back\slash`, `\`, `"`, strings.Repeat("long ", 100), strings.Repeat(`"\`, 200), "grüße", "",
	} {
		t.Run(fmt.Sprintf("%.12q", text), func(t *testing.T) {
			fake, b := zoneAt(t)
			record := libdns.TXT{Name: "x", TTL: time.Minute, Text: text}
			for range 2 {
				if _, err := b.set(t.Context(), "example.com", []libdns.Record{record}); err != nil {
					t.Fatal(err)
				}
				got, err := b.get(t.Context(), "example.com")
				if err != nil || len(got) != 2 || got[1] != libdns.Record(record) {
					t.Errorf("%v, %v", got, err)
				}
			}
			if removed, err := b.remove(t.Context(), "example.com", []libdns.Record{libdns.TXT{Name: "x", Text: text}}); err != nil || len(removed) != 1 {
				t.Errorf("%v, %v", removed, err)
			}
			hasRecords(t, fake, []string{}...)
		})
	}
	// What it can't keep is an error, and leaves nothing behind.
	for _, text := range []string{"line\nbreak", "\x00", `"in quotes"`} {
		fake, b := zoneAt(t, `x 60 TXT "old"`)
		_, err := b.set(t.Context(), "example.com", []libdns.Record{libdns.TXT{Name: "x", Text: text}})
		if err == nil || !strings.Contains(err.Error(), "the zone is as it was") {
			t.Errorf("%q: %v", text, err)
		}
		hasRecords(t, fake, "x.example.com.\t60\tTXT\t\"old\"")
	}
}

func TestZoneSet(t *testing.T) {
	a := func(ip string, ttl time.Duration) libdns.Record {
		return libdns.Address{Name: "a", TTL: ttl, IP: netip.MustParseAddr(ip)}
	}
	for _, test := range []struct {
		name    string
		before  []string
		records []libdns.Record
		want    []string
	}{
		{"replace", []string{"a 60 A 192.0.2.1", "a 60 A 192.0.2.2", "a 60 AAAA 2001:db8::1", "b 60 A 192.0.2.1"}, []libdns.Record{a("192.0.2.3", time.Minute)},
			[]string{"a.example.com.\t60\tA\t192.0.2.3", "a.example.com.\t60\tAAAA\t2001:db8::1", "b.example.com.\t60\tA\t192.0.2.1"}},
		{"keep some", []string{"a 60 A 192.0.2.1", "a 60 A 192.0.2.2"}, []libdns.Record{a("192.0.2.2", time.Minute), a("192.0.2.3", time.Minute)},
			[]string{"a.example.com.\t60\tA\t192.0.2.2", "a.example.com.\t60\tA\t192.0.2.3"}},
		{"another TTL", []string{"a 60 A 192.0.2.1"}, []libdns.Record{a("192.0.2.1", time.Hour)}, []string{"a.example.com.\t3600\tA\t192.0.2.1"}},
		{"no TTL", nil, []libdns.Record{a("192.0.2.1", 0)}, []string{"a.example.com.\t300\tA\t192.0.2.1"}},
		{"TTL 0", nil, []libdns.Record{a("192.0.2.1", time.Millisecond)}, []string{"a.example.com.\t0\tA\t192.0.2.1"}},
		{"twice the same", nil, []libdns.Record{a("192.0.2.1", time.Minute), a("192.0.2.1", time.Minute)}, []string{"a.example.com.\t60\tA\t192.0.2.1"}},
		{"CNAME", []string{"c 60 CNAME x.example.com."}, []libdns.Record{libdns.CNAME{Name: "c", TTL: time.Minute, Target: "y"}}, []string{"c.example.com.\t60\tCNAME\ty.example.com."}},
	} {
		t.Run(test.name, func(t *testing.T) {
			fake, b := zoneAt(t, test.before...)
			if _, err := b.set(t.Context(), "example.com.", test.records); err != nil {
				t.Fatal(err)
			}
			hasRecords(t, fake, test.want...)
		})
	}
}

// Whichever call fails: the zone is as it was, says the error, and no RRset was
// empty for a failed create.
func TestZoneUndo(t *testing.T) {
	before := []string{"a 60 A 192.0.2.1", "a 60 A 192.0.2.2", "c 60 CNAME x.example.com.", `t 60 TXT "old"`, `t 60 TXT "with \"quotes\""`, "b 60 A 192.0.2.9"}
	records := []libdns.Record{
		libdns.Address{Name: "a", TTL: time.Minute, IP: netip.MustParseAddr("192.0.2.3")},
		libdns.Address{Name: "a", TTL: time.Hour, IP: netip.MustParseAddr("192.0.2.1")},
		libdns.CNAME{Name: "c", TTL: time.Minute, Target: "y.example.com."},
		libdns.TXT{Name: "t", TTL: time.Minute, Text: "new"},
	}
	for _, call := range []string{createCall, deleteCall, listCall} {
		for nth := range 6 {
			for _, reply := range []string{refusal, "<html>"} {
				t.Run(fmt.Sprint(call, nth, reply[:1]), func(t *testing.T) {
					fake, b := zoneAt(t, before...)
					was := fake.Records("example.com")
					client := b.api.client
					client.Transport = &failing{RoundTripper: client.Transport, call: call, after: nth, reply: reply}
					_, err := b.set(t.Context(), "example.com", records)
					if err == nil {
						if !client.Transport.(*failing).struck {
							t.Skip("there is no such call")
						}
						t.Fatal("no error")
					}
					if diff := cmp.Diff(was, fake.Records("example.com")); diff != "" || !strings.Contains(err.Error(), "the zone is as it was") && call != listCall {
						t.Errorf("%v\n%s", err, diff)
					}
				})
			}
		}
	}
}

// failing answers one call instead of DSM.
type failing struct {
	http.RoundTripper
	call, reply string
	after       int
	struck      bool
	mu          sync.Mutex
}

func (f *failing) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if form := formOf(r); form.Get("api")+" "+form.Get("method") == f.call {
		f.after--
		if f.after == -1 {
			f.struck = true
			return reply(r, f.reply), nil
		}
	}
	return f.RoundTripper.RoundTrip(r)
}

// DSM's names may have to stand in each item to delete; nobody knows.
func TestZoneDeleteForms(t *testing.T) {
	for _, first := range []string{`{"success":true}`, `{"success":false,"error":{"code":120}}`, `{"success":false,"error":{"code":114}}`} {
		var calls []map[string]any
		_, b := zoneAt(t, "a 60 A 192.0.2.1")
		transport := b.api.client.Transport
		gone := false
		b.api.client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			form := formOf(r)
			switch {
			case form.Get("method") == "delete":
				var items []map[string]any
				json.Unmarshal([]byte(form.Get("items")), &items)
				calls = append(calls, items...)
				if len(calls) == 1 {
					return reply(r, first), nil
				}
				gone = true
				return reply(r, `{"success":true}`), nil
			case gone && form.Get("api") == recordAPI && form.Get("method") == "list":
				return reply(r, `{"success":true,"data":{"items":[],"total":0}}`), nil
			}
			return transport.RoundTrip(r)
		})
		removed, err := b.remove(t.Context(), "example.com", []libdns.Record{libdns.RR{Name: "a"}})
		if err != nil || len(removed) != 1 || len(calls) != 2 || calls[0]["zone_name"] != nil || calls[1]["zone_name"] != "example.com" {
			t.Errorf("%s: %v, %v, %v", first, removed, err, calls)
		}
	}
}

func TestZoneErrors(t *testing.T) {
	fake := synologytest.NewDSM(t, synologytest.WithZone("example.com", "@ IN NS ns.example.com."),
		synologytest.WithDNSZone(synologytest.DNSZone{Domain: "copy.example", Type: "slave", ReadOnly: true}))
	b := &dsmBackend{apiTo(t, dsmAt(fake))}
	for _, test := range []struct {
		name, zone string
		record     libdns.Record
		want       string
	}{
		{"no such zone", "example.net", libdns.TXT{Name: "x", Text: "x"}, "which has: example.com. copy.example."},
		{"a slave zone", "copy.example", libdns.TXT{Name: "x", Text: "x"}, "primary server"},
		{"HTTPS", "example.com", libdns.ServiceBinding{Name: "x", Scheme: "https", Priority: 1, Target: "."}, "is not known"},
		{"SVCB", "example.com", libdns.RR{Name: "_dns", Type: "SVCB", Data: "1 ."}, "is not known"},
		{"an unknown type", "example.com", libdns.RR{Name: "x", Type: "LOC", Data: "1"}, "DNS Server takes"},
		{"no name", "example.com", libdns.TXT{Text: "x"}, "no name"},
		{"a name elsewhere", "example.com", libdns.TXT{Name: "x.example.net.", Text: "x"}, "not in the zone"},
		{"a name of two lines", "example.com", libdns.TXT{Name: "x\ty", Text: "x"}, "characters other than"},
		{"a target of two lines", "example.com", libdns.CNAME{Name: "x", Target: "x\ny"}, "fields"},
		{"no address", "example.com", libdns.Address{Name: "x"}, "no address"},
		{"A with IPv6", "example.com", libdns.RR{Name: "x", Type: "A", Data: "::1"}, "no address"},
		{"MX without a number", "example.com", libdns.RR{Name: "x", Type: "MX", Data: "ten x.example.com."}, "no number"},
		{"a negative TTL", "example.com", libdns.TXT{Name: "x", TTL: -time.Hour, Text: "x"}, "TTL"},
		{"a bad zone", "exa mple.com", libdns.TXT{Name: "x", Text: "x"}, "characters other than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, write := range []func(context.Context, string, []libdns.Record) ([]libdns.Record, error){b.add, b.set} {
				_, err := write(t.Context(), test.zone, []libdns.Record{test.record})
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v", err)
				}
				noSecrets(t, fake, err)
			}
		})
	}
	if _, err := b.remove(t.Context(), "example.com", []libdns.Record{libdns.RR{Name: "@"}}); err == nil || !strings.Contains(err.Error(), "no NS record") {
		t.Errorf("the last NS: %v", err)
	}
	if _, err := b.remove(t.Context(), "example.com", []libdns.Record{libdns.RR{}}); err == nil {
		t.Error("all records were removed")
	}
	hasRecords(t, fake, []string{}...)
}

// An account that isn't an administrator, and a list that isn't one, are errors and
// no empty zones.
func TestZoneUnknownIsNotEmpty(t *testing.T) {
	fake := synologytest.NewDSM(t, synologytest.WithoutAdmin(), synologytest.WithZone("example.com"))
	_, err := (&dsmBackend{apiTo(t, dsmAt(fake))}).get(t.Context(), "example.com")
	var refused *APIError
	if !errors.As(err, &refused) || refused.Code != 105 {
		t.Errorf("%v", err)
	}
	fake, b := zoneAt(t)
	for _, data := range []string{`{}`, `{"items":null}`, `{"items":[],"total":1}`, `{"items":[{}]}`, `{"items":[{"rr_owner":"a","rr_type":"A","rr_info":"1.2.3.4","rr_ttl":"x"}]}`} {
		fake.BreakCall(listCall, `{"success":true,"data":`+data+`}`, http.StatusOK, 1)
		if got, err := b.get(t.Context(), "example.com"); err == nil {
			t.Errorf("%s is a list: %v", data, got)
		}
	}
}

// Several providers at once, as after a reload: every value is there in the end,
// then none.
func TestZoneConcurrent(t *testing.T) {
	fake, _ := zoneAt(t)
	var wg sync.WaitGroup
	var want []string
	for i := range 4 {
		p := &Provider{DSM: dsmAt(fake)}
		t.Cleanup(func() { p.Close(context.WithoutCancel(t.Context())) })
		for j := range 4 {
			text := fmt.Sprintf("value-%d-%d", i, j)
			want = append(want, "_acme-challenge.example.com.\t60\tTXT\t\""+text+"\"")
			wg.Go(func() {
				records := []libdns.Record{libdns.TXT{Name: "_acme-challenge", TTL: time.Minute, Text: text}}
				if _, err := p.AppendRecords(t.Context(), "example.com.", records); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	hasRecords(t, fake, want...)
	for i := range 16 {
		p := &Provider{DSM: dsmAt(fake)}
		wg.Go(func() {
			defer p.Close(context.WithoutCancel(t.Context()))
			records := []libdns.Record{libdns.TXT{Name: "_acme-challenge", Text: fmt.Sprintf("value-%d-%d", i/4, i%4)}}
			if removed, err := p.DeleteRecords(t.Context(), "example.com.", records); err != nil || len(removed) != 1 {
				t.Error(removed, err)
			}
		})
	}
	wg.Wait()
	hasRecords(t, fake, []string{}...)
	if fake.Sessions() != 4 {
		t.Errorf("%d sessions are left, of the four providers that are open", fake.Sessions())
	}
}

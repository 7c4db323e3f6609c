package ddnsipv6

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/libdns/libdns"
)

const (
	first  = "2600:db8:1::10"
	second = "2600:db8:2::10"
	third  = "2600:db8:3::10"
)

// TestQuiet: while nothing changes nobody is asked but the provider, once per
// verify_interval; and only keepalive writes.
func TestQuiet(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.source.set(nil, stable(first))
		h.start()
		h.expect("after the start", first)
		h.expectCalls("the first publication", 2, 1)

		looks := h.source.lookCount()
		pass(23*time.Hour + 30*time.Minute)
		h.expectCalls("23.5 hours", 23, 0)
		pass(time.Hour)
		// The write of keepalive is read back.
		if g, s, d := h.counts(); g > 2 || s != 1 || d != 0 {
			t.Errorf("the hour of keepalive: %d reads, %d writes, %d deletions", g, s, d)
		}
		if n := h.source.lookCount() - looks; n != 0 {
			t.Errorf("%d looks at the addresses, though nothing changed", n)
		}
		if n := h.logs.FilterLevelExact(1).Len(); n > 0 { // Warn
			t.Errorf("%d warnings: %v", n, h.logs.All())
		}
	})
}

// TestFailedWriteIsRetried guards against the failure that others have: a write
// that failed was remembered as done, and the name stayed wrong for ever.
func TestFailedWriteIsRetried(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.change(func(f *fakeDNS) { f.failSets = 3 })
		h.source.set(nil, stable(first))
		app := h.start()
		h.expect("after a failure")
		if s := nas(app); s.Confirmed != "" || s.Failures != 1 || s.LastError == "" || s.NextTry == nil {
			t.Errorf("status after a failure: %+v", s)
		}
		pass(time.Minute)
		h.expect("after three failures", first)
		if s := nas(app); s.Confirmed != first || s.Failures != 0 || s.LastError != "" {
			t.Errorf("status after the success: %+v", s)
		}
		if n := h.logs.FilterMessage("record not updated; will retry").FilterLevelExact(1).Len(); n != 1 {
			t.Errorf("the same failure was told %d times at Warn", n)
		}
	})
}

// TestRetries: a provider that fails is called less and less, and a new address
// is tried at once.
func TestRetries(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.change(func(f *fakeDNS) { f.failSets = 1000 })
		h.source.set(nil, stable(first))
		h.start()
		pass(2 * time.Hour)
		if _, sets, _ := h.counts(); sets < 12 || sets > 25 {
			t.Errorf("%d tries in two hours", sets)
		}
		h.change(func(f *fakeDNS) { f.failSets, f.sets = 0, nil })
		h.source.set(nil, stable(second))
		pass(0)
		h.expect("with a new address", second)
	})
}

// TestAwayForHours: the service is away when the prefix changes, and for eight hours
// more. The name keeps its old address, and has the new one soon after the service
// is back, without a further change.
func TestAwayForHours(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.source.set(nil, stable(first))
		app := h.start()
		h.expect("at first", first)
		h.change(func(f *fakeDNS) { f.failSets = 1 << 30 })
		h.source.set(nil, stable(second))
		pass(8 * time.Hour)
		h.expect("while the service is away", first)
		h.change(func(f *fakeDNS) { f.failSets, f.sets = 0, nil })
		pass(12 * time.Minute) // the longest backoff, and its jitter
		h.expect("when it is back", second)
		if s := nas(app); s.Confirmed != second || s.Failures != 0 {
			t.Errorf("status: %+v", s)
		}
		if _, sets, _ := h.counts(); sets != 1 {
			t.Errorf("%d writes to catch up", sets)
		}
	})
}

// TestDrift: what somebody else edits is repaired at the next verification, and
// nothing else is touched.
func TestDrift(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		others := []libdns.RR{
			{Name: "nas", Type: "A", TTL: time.Minute, Data: "192.0.2.1"},
			{Name: "nas", Type: "TXT", TTL: time.Minute, Data: "hello"},
			{Name: "xnas", Type: "AAAA", TTL: time.Minute, Data: second},
			{Name: "@", Type: "AAAA", TTL: time.Minute, Data: third},
		}
		h.change(func(f *fakeDNS) { f.records = append(f.records, others...) })
		h.source.set(nil, stable(first))
		h.start()
		h.expect("at first", first)

		h.change(func(f *fakeDNS) { f.records = append(f.records[:0:0], others...) })
		pass(time.Hour)
		h.expect("after somebody deleted it", first)

		h.change(func(f *fakeDNS) {
			f.records = append(f.records, libdns.RR{Name: "nas", Type: "AAAA", TTL: time.Hour, Data: second})
		})
		pass(time.Hour)
		h.expect("after somebody added another", first)

		h.change(func(f *fakeDNS) {
			f.records = append(f.records[:0:0], others...)
			f.records = append(f.records, libdns.RR{Name: "NAS", Type: "AAAA", TTL: time.Hour, Data: third})
		})
		pass(time.Hour)
		h.change(func(f *fakeDNS) {
			for _, want := range others {
				found := false
				for _, rr := range f.records {
					found = found || rr == want
				}
				if !found {
					t.Errorf("%v was touched", want)
				}
			}
		})
	})
}

// TestUnknownIsNotEmpty: without an address, for certain or not, the records
// stay, unless they are to be removed; and then only after a minute.
func TestUnknownIsNotEmpty(t *testing.T) {
	for _, test := range []struct {
		name, options string
		err           error
		want          []string // an hour later
	}{
		{name: "none, keep", want: []string{first}},
		{name: "unknown, keep", err: errors.New("netlink is away"), want: []string{first}},
		{name: "none, remove", options: `, "on_missing": "remove"`},
		{name: "unknown, remove", options: `, "on_missing": "remove"`, err: errors.New("netlink is away"), want: []string{first}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				h.options = test.options
				h.source.set(nil, stable(first))
				app := h.start()
				h.source.set(test.err)
				pass(30 * time.Second)
				h.expect("half a minute later", first)
				pass(time.Hour)
				h.expect("an hour later", test.want...)
				if s := app.Status().Policies[0]; test.err == nil && s.MissingSince == nil || test.err != nil && s.Error != test.err.Error() {
					t.Errorf("status: %+v", s)
				}
				message := "this host has no usable IPv6 address; waiting for one"
				if test.err != nil {
					message = "this host's address is not known; the records stay until it is"
				}
				if n := h.logs.FilterMessage(message).Len(); n != 1 {
					t.Errorf("told %d times", n)
				}
				h.source.set(nil, stable(second))
				pass(2 * time.Second)
				h.expect("when it is back", second)
			})
		})
	}
}

// TestRemoveThenUnknown: an address that is not known any more does not let the
// minute of a missing one run out.
func TestRemoveThenUnknown(t *testing.T) {
	inHouse(t, func(_ *testing.T, h *house) {
		h.options = `, "on_missing": "remove"`
		h.source.set(nil, stable(first))
		h.start()
		h.source.set(nil)
		pass(30 * time.Second)
		h.source.set(errors.New("netlink is away"))
		pass(time.Hour)
		h.expect("unknown for an hour", first)
	})
}

// TestRenumbering: the first change is written at once, those that follow closely are
// gathered, and the last one wins.
func TestRenumbering(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.source.set(nil, stable(first))
		h.start()
		pass(time.Minute)
		h.expectCalls("at first", 2, 1)
		h.source.set(nil, stable(second))
		pass(0)
		h.expect("at once", second)
		for i := range 40 {
			pass(100 * time.Millisecond)
			h.source.set(nil, stable(fmt.Sprintf("2600:db8:%x::10", 100+i)))
		}
		h.expect("in the middle of a burst", second)
		pass(2 * time.Second)
		h.expect("after the burst", "2600:db8:8b::10")
		h.expectCalls("for 41 changes", 4, 2)

		for i := range 600 { // a minute
			pass(100 * time.Millisecond)
			h.source.set(nil, stable(fmt.Sprintf("2600:db8:%x::10", 200+i)))
		}
		if _, sets, _ := h.counts(); sets < 6 || sets > 8 {
			t.Errorf("%d writes in a burst of a minute", sets)
		}
	})
}

// TestStays: the published address stays while it is usable, though a better
// one comes, also after a restart.
func TestStays(t *testing.T) {
	inHouse(t, func(_ *testing.T, h *house) {
		published, better := stable(second), stable(first)
		published.Preferred = time.Hour
		h.source.set(nil, published)
		app := h.start()
		h.source.set(nil, better, published)
		pass(time.Minute)
		h.expect("beside a better one", second)
		h.stop(app)
		h.start()
		h.expect("after a restart", second)
		published.Preferred = 0
		h.source.set(nil, better, published)
		pass(2 * time.Second)
		h.expect("when it is deprecated", first)
	})
}

// TestDevices: the names of other devices follow this host's prefix.
func TestDevices(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		app, err := h.tryMake(`{"domains": [
				{"name": "printer.example.com", "zone": "example.com", "suffix": "::1:2"},
				{"name": "nas.example.com", "zone": "example.com", "mac": "00:11:32:aa:bb:cc"},
				{"name": "far.example.com", "zone": "example.com", "suffix": "1::2"}],
			"provider": {"name": "fake", "id": "` + h.id + `"}, "sources": [{"source": "fake", "id": "` + h.id + `"}]}`)
		if err != nil {
			t.Fatal(err)
		}
		h.source.set(nil, stable(first))
		h.run(app)
		h.expect("by its MAC address", "2600:db8:1:0:211:32ff:feaa:bbcc")
		if got := h.aaaa("printer"); len(got) != 1 || got[0] != "2600:db8:1::1:2" {
			t.Errorf("by its suffix: %v", got)
		}
		if got := h.aaaa("far"); got != nil {
			t.Errorf("with a suffix that overlaps: %v", got)
		}
		for _, n := range app.Status().Policies[0].Names {
			if (n.Problem != "") != (n.Name == "far.example.com") {
				t.Errorf("problem of %s: %q", n.Name, n.Problem)
			}
		}
		h.expectCalls("three names", 2, 2)
	})
}

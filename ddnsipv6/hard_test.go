package ddnsipv6

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/libdns/libdns"
)

// TestOtherSettings: the same provider with other settings may be another
// account, so that its records are read at once.
func TestOtherSettings(t *testing.T) {
	inHouse(t, func(_ *testing.T, h *house) {
		h.source.set(nil, stable(first))
		app := h.start()
		h.change(func(f *fakeDNS) { f.records, f.gets, f.sets = nil, nil, nil })
		h.token = "an0ther-t0ken"
		h.start()
		h.stop(app)
		pass(time.Second)
		h.expect("with another token", first)
	})
}

// TestOtherTTL: a change of the TTL is written.
func TestOtherTTL(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.source.set(nil, stable(first))
		app := h.start()
		told(app)
		h.options = `, "ttl": "1m", "keepalive": 0`
		next := h.start()
		h.stop(app)
		pass(time.Second)
		h.change(func(f *fakeDNS) {
			if want := []libdns.RR{{Name: "nas", Type: "AAAA", TTL: time.Minute, Data: first}}; !slices.Equal(f.records, want) {
				t.Errorf("records: %+v", f.records)
			}
		})
		pass(48 * time.Hour)
		if _, sets, _ := h.counts(); sets != 2 {
			t.Errorf("%d writes", sets)
		}
		if events := told(next); events != nil {
			t.Errorf("told: %v", events)
		}
	})
}

// TestFlapping: an address that comes and goes does not make a provider that
// fails be called more often.
func TestFlapping(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.change(func(f *fakeDNS) { f.failSets = 1000 })
		h.source.set(nil, stable(first))
		h.start()
		for range 200 {
			pass(3 * time.Second)
			h.source.set(nil)
			pass(0)
			h.source.set(nil, stable(first))
		}
		if _, sets, _ := h.counts(); sets > 9 {
			t.Errorf("%d tries in ten minutes", sets)
		}
	})
}

// TestRemoveAfterUncertainWrite: what a failed write may have left is removed.
func TestRemoveAfterUncertainWrite(t *testing.T) {
	inHouse(t, func(_ *testing.T, h *house) {
		h.options = `, "on_missing": "remove"`
		h.change(func(f *fakeDNS) { f.failAfterSet = 1 })
		h.source.set(nil, stable(first))
		h.start()
		h.expect("after an error", first)
		h.source.set(nil)
		pass(3 * time.Minute)
		h.expect("without an address")
	})
}

// TestWrongClock: a record that was written in the future, by a clock that was
// wrong, is kept true and alive nevertheless.
func TestWrongClock(t *testing.T) {
	inHouse(t, func(_ *testing.T, h *house) {
		h.source.set(nil, stable(first))
		app := h.make()
		future, err := json.Marshal(confirmation{
			Address: netip.MustParseAddr(first), Host: netip.MustParseAddr(first), Zone: "example.com.", Provider: "fake",
			Written: time.Now().Add(5 * 365 * 24 * time.Hour), TTL: 5 * time.Minute,
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := app.updaters[0].storage.Store(t.Context(), storageKey(app.Policies[0].targets[0]), future); err != nil {
			t.Fatal(err)
		}
		h.start()
		h.expect("at the start", first)
		h.expectCalls("at the start", 2, 1)
		pass(24*time.Hour + time.Minute)
		if _, sets, _ := h.counts(); sets != 1 {
			t.Errorf("%d writes to keep it alive", sets)
		}
	})
}

// TestLongRetryAfter: no provider keeps a name from being tried for more than a
// day.
func TestLongRetryAfter(t *testing.T) {
	inHouse(t, func(_ *testing.T, h *house) {
		h.change(func(f *fakeDNS) { f.rateLimit, f.retryAfter = 1, 10*365*24*time.Hour })
		h.source.set(nil, stable(first))
		h.start()
		pass(25 * time.Hour)
		h.expect("a day later", first)
	})
}

// twoSources makes a config with a second source, and returns that.
func (h *house) twoSources() (*App, *fakeSource) {
	h.t.Helper()
	later := new(fakeSource)
	fakeMu.Lock()
	fakeSources[h.id+"2"] = later
	fakeMu.Unlock()
	h.t.Cleanup(func() {
		fakeMu.Lock()
		defer fakeMu.Unlock()
		delete(fakeSources, h.id+"2")
	})
	app, err := h.tryMake(`{"domains": [{"name": "nas.example.com", "zone": "example.com"}], "provider": {"name": "fake", "id": "` + h.id + `"},
		"sources": [{"source": "fake", "id": "` + h.id + `"}, {"source": "fake", "id": "` + h.id + `2"}]}`)
	if err != nil {
		h.t.Fatal(err)
	}
	return app, later
}

// TestSources: they count in their order, a source is asked only when it has
// news itself, and one that fails is asked again.
func TestSources(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		app, later := h.twoSources()
		later.set(nil, stable(second))
		h.run(app)
		h.expect("the first has none", second)
		for range 100 {
			h.source.set(nil)
			pass(time.Second)
		}
		if n := later.lookCount(); n != 1 {
			t.Errorf("the second was asked %d times for events of the first", n)
		}
		h.source.set(errors.New("netlink is away"))
		pass(time.Second)
		h.expect("the first does not know", second)
		if s := app.Status().Policies[0]; s.Error != "netlink is away" || s.Selected != second {
			t.Errorf("status: %+v", s)
		}
		h.source.mu.Lock()
		h.source.err, h.source.addresses = nil, []Address{stable(first)}
		h.source.mu.Unlock()
		pass(20 * time.Minute)
		h.expect("the first is tried again", first)
		later.set(errors.New("no answer"))
		pass(time.Second)
		h.expect("the second does not know", first)
	})
}

// TestSlowSource: a slow source is left alone as soon as one before it has news.
func TestSlowSource(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		app, later := h.twoSources()
		later.slow = true
		h.run(app)
		pass(time.Second)
		h.source.set(nil, stable(first))
		pass(0)
		h.expect("at once", first)

		// News that bring nothing don't keep it from being heard.
		later.set(errors.New("no answer")) // in its own time
		for range 60 {
			pass(time.Second)
			h.source.set(nil)
		}
		if s := app.Status().Policies[0]; s.Error == "" {
			t.Errorf("status: %+v", s)
		}
	})
}

// TestKnownZone: a zone that held the name is used while DNS is away.
func TestKnownZone(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		app := h.start()
		u := app.updaters[0]
		j := &job{target: target{fqdn: "nas.example.com."}, entry: &entry{}}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if zone, err := u.zoneOf(ended, j); err == nil {
			t.Errorf("found %s without DNS", zone)
		}
		for _, failures := range []int{0, 3} {
			j.entry.change(func(s *standing) { s.Zone, s.Failures = "example.com.", failures })
			if zone, err := u.zoneOf(ended, j); zone != "example.com." {
				t.Errorf("after %d failures: %q, %v", failures, zone, err)
			}
		}
		j.entry.change(func(s *standing) { s.Zone = "le.com." })
		if zone, err := u.zoneOf(ended, j); err == nil {
			t.Errorf("found %s, which is not its zone", zone)
		}
	})
}

// TestEventsOfTheLastMoment: what happened just before a config ends is told.
func TestEventsOfTheLastMoment(t *testing.T) {
	app, err := (&house{t: t, dir: t.TempDir()}).tryMake(``)
	if err != nil {
		t.Fatal(err)
	}
	_ = app.events.Handle(t.Context(), caddy.Event{})
	for range 3 {
		app.events.emit(eventUpdated, map[string]any{"name": "nas.example.com"})
	}
	quiet := make(chan struct{})
	close(quiet)
	app.events.run(quiet)
	for range 20 { // select chooses at random
		if n := len(app.events.queue); n > 0 {
			t.Fatalf("%d events are left", n)
		}
		app.events.emit(eventUpdated, nil)
		app.events.run(quiet)
	}
}

// TestReadErrors: that the provider can't be read is told, though DNS says that
// all is well; and a provider that says when to come back is left alone.
func TestReadErrors(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.source.set(nil, stable(first))
		app := h.start()
		h.change(func(f *fakeDNS) { f.failReads, f.sets = 1000, nil })
		h.source.set(nil, stable(second))
		pass(2 * time.Second)
		h.expect("written all the same", second)
		if s := app.Status().Policies[0]; s.ReadError != "reading the records of zone example.com.: fake failure" {
			t.Errorf("status: %+v", s)
		}
		if n := h.logs.FilterMessage("the provider can't be read; its records are checked by DNS").Len(); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

package ddnsipv6

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
)

// TestMisbehaving: against the known ways in which providers break their
// contract, the final state is right, or the error is reported.
func TestMisbehaving(t *testing.T) {
	const stale = third
	tests := []struct {
		name     string
		provider string // default: fake
		fake     func(*fakeDNS)
		want     []string // half an hour after the change from first to second
		err      string   // that is reported then; empty: none
		sets     int      // writes of the change at most; 0: 1
		empties  bool     // the name may be without an address in between
	}{
		{name: "keeps to it", fake: func(*fakeDNS) {}, want: []string{second}},
		{name: "appends", fake: func(f *fakeDNS) { f.appends = true }, want: []string{second}},
		{name: "leaves extras", fake: func(f *fakeDNS) { f.leavesExtras = true }, want: []string{second}},
		{name: "one value only", fake: func(f *fakeDNS) { f.oneValueOnly = true }, want: []string{second}, sets: 2},
		{name: "one value only, and appends nothing", fake: func(f *fakeDNS) { f.oneValueOnly, f.leavesExtras = true, true }, want: []string{second}, sets: 2},
		{name: "clamps the TTL", fake: func(f *fakeDNS) { f.clampTTL = time.Hour }, want: []string{second}},
		{name: "error after writing", fake: func(f *fakeDNS) { f.failAfterSet = 1 }, want: []string{second}},
		{name: "error after writing, and appends", fake: func(f *fakeDNS) { f.failAfterSet, f.appends = 1, true }, want: []string{second}},
		{name: "reads lag", fake: func(f *fakeDNS) { f.lag = 500 * time.Millisecond }, want: []string{second}},
		{name: "reads lag for long", fake: func(f *fakeDNS) { f.lag = 4 * time.Second }, want: []string{second}},
		{name: "deletes by name", fake: func(f *fakeDNS) { f.appends, f.deletesByName = true, true }, want: []string{second}, sets: 2, empties: true},
		{name: "fails half-way", fake: func(f *fakeDNS) { f.failHalfWay = 1 }, want: []string{second}, sets: 2},
		{name: "errors thrice", fake: func(f *fakeDNS) { f.failSets = 3 }, want: []string{second}, sets: 4},
		{name: "reads fail", fake: func(f *fakeDNS) { f.failReads = 4 }, want: []string{second}, sets: 2},
		{name: "deletions fail", fake: func(f *fakeDNS) { f.appends, f.failDeletes = true, 2 }, want: []string{second}},
		{name: "deletions are ignored", fake: func(f *fakeDNS) { f.appends, f.ignoresDeletes = true, true },
			want: []string{first, second, stale}, err: "provider fake accepted a deletion, and still returns"},
		{name: "writes are ignored", fake: func(f *fakeDNS) { f.ignoresWrites = true },
			want: []string{first, stale}, err: "provider fake accepted 2600:db8:2::10, and still returns", sets: 10},
		{name: "rate limit", fake: func(f *fakeDNS) { f.rateLimit, f.retryAfter = 1, 20*time.Minute }, want: []string{second}, sets: 2},
		{name: "no deletions", provider: "fake_no_deleter", fake: func(*fakeDNS) {}, want: []string{second}},
		{name: "no deletions, and appends", provider: "fake_no_deleter", fake: func(f *fakeDNS) { f.appends = true },
			want: []string{first, second, stale}, err: "provider fake_no_deleter can't delete the other AAAA records among"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				if test.provider != "" {
					h.provider = test.provider
				}
				h.source.set(nil, stable(first))
				app := h.start()
				h.expect("at first", first)
				h.change(func(f *fakeDNS) {
					f.records = append(f.records, libdns.RR{Name: "nas", Type: "AAAA", TTL: time.Hour, Data: stale},
						libdns.RR{Name: "other", Type: "AAAA", TTL: time.Hour, Data: stale})
					test.fake(f)
					f.sets = nil
				})
				pass(time.Minute)
				told(app)
				updates := app.updaters[0].jobs[0].entry.now().Updates
				h.source.set(nil, stable(second))
				pass(30 * time.Minute)
				h.expect("half an hour later", test.want...)
				if got := nas(app).LastError; (got == "") != (test.err == "") || !strings.Contains(got, test.err) {
					t.Errorf("reported: %q, want %q", got, test.err)
				}
				// Whatever happened on the way, the change is told once.
				var changes []string
				for _, e := range told(app) {
					if strings.HasPrefix(e, eventUpdated) {
						changes = append(changes, e)
					}
				}
				wantChanges := []string{eventUpdated + " " + first + " " + second}
				if test.want[0] != second && test.provider == "" {
					wantChanges = nil
				}
				if diff := cmp.Diff(wantChanges, changes); diff != "" {
					t.Errorf("told (-want +got):\n%s", diff)
				}
				if got := app.updaters[0].jobs[0].entry.now().Updates - updates; got != uint64(len(wantChanges)) {
					t.Errorf("%d updates counted", got)
				}
				if _, sets, _ := h.counts(); sets > max(1, test.sets) {
					t.Errorf("%d writes, want %d", sets, max(1, test.sets))
				}
				h.change(func(f *fakeDNS) {
					if len(f.emptied) > 0 && !test.empties {
						t.Errorf("left without an address: %v", f.emptied)
					}
					if got := f.lockedAAAA("other"); len(got) != 1 {
						t.Errorf("another name was touched: %v", got)
					}
				})
			})
		})
	}
}

// TestRateLimit: a provider that says when to come back is not called before.
func TestRateLimit(t *testing.T) {
	inHouse(t, func(_ *testing.T, h *house) {
		h.change(func(f *fakeDNS) { f.rateLimit, f.retryAfter = 1, 20*time.Minute })
		h.source.set(nil, stable(first))
		h.start()
		pass(19 * time.Minute)
		h.expect("before Retry-After")
		h.expectCalls("before Retry-After", 1, 1)
		pass(2 * time.Minute)
		h.expect("after it", first)
	})
}

// TestHanging: a provider that never answers and heeds no context is reported,
// gets no second call before the first has returned, and goes on when it does.
func TestHanging(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		hang := make(chan struct{})
		h.change(func(f *fakeDNS) { f.hang = hang })
		h.source.set(nil, stable(first))
		app := h.start()
		pass(time.Hour)
		if s := nas(app); !strings.Contains(s.LastError, "a former call to the provider fake still hangs") {
			t.Errorf("reported: %q", s.LastError)
		}
		h.change(func(f *fakeDNS) { f.hang = nil })
		close(hang)
		pass(time.Hour)
		h.expect("when it answers again", first)
		if g, _, _ := h.counts(); g > 4 {
			t.Errorf("%d calls piled up", g)
		}
	})
}

// TestAnyRecords is a property: whatever records there are, and however the
// provider misbehaves, the name ends with the wanted address alone or an error
// is reported; it is never left without an address; and nothing else changes.
func TestAnyRecords(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	types := []string{"A", "AAAA", "AAAA", "AAAA", "TXT"}
	names := []string{"nas", "nas", "@", "xnas", "nas.nas", "*"}
	for i := range 200 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				var others []libdns.RR
				for range random.IntN(8) {
					rr := libdns.RR{Name: names[random.IntN(len(names))], Type: types[random.IntN(len(types))], TTL: time.Duration(random.IntN(3)+1) * time.Minute}
					switch rr.Type {
					case "A":
						rr.Data = fmt.Sprintf("192.0.2.%d", random.IntN(256))
					case "AAAA":
						rr.Data = fmt.Sprintf("2600:db8:%x::10", 1+random.IntN(4))
					default:
						rr.Data = "text"
					}
					h.records = append(h.records, rr)
					if rr.Name != "nas" || rr.Type != "AAAA" {
						others = append(others, rr)
					}
				}
				had := len(h.aaaa("nas")) > 0
				h.appends, h.leavesExtras = random.IntN(3) == 0, random.IntN(3) == 0
				h.oneValueOnly, h.ignoresWrites, h.ignoresDeletes = random.IntN(3) == 0, random.IntN(8) == 0, random.IntN(8) == 0
				h.failSets, h.failDeletes, h.failAfterSet, h.failReads = random.IntN(3), random.IntN(3), random.IntN(2), random.IntN(3)
				if random.IntN(4) == 0 {
					h.provider = "fake_no_deleter"
				}
				before := fmt.Sprintf("%+v %s", h.records, h.provider)

				h.source.set(nil, stable(first))
				app := h.start()
				pass(3 * time.Hour)

				// One that is there twice is one in DNS.
				got, reported := slices.Compact(h.aaaa("nas")), nas(app).LastError
				if right := len(got) == 1 && got[0] == first; right != (reported == "") {
					t.Errorf("%v, reported: %q; of %s", got, reported, before)
				}
				h.change(func(f *fakeDNS) {
					if had && len(f.emptied) > 0 {
						t.Errorf("left without an address; of %s", before)
					}
					rest := slices.DeleteFunc(slices.Clone(f.records), func(rr libdns.RR) bool { return rr.Name == "nas" && rr.Type == "AAAA" })
					slices.SortFunc(rest, compareRR)
					slices.SortFunc(others, compareRR)
					if !slices.Equal(rest, others) {
						t.Errorf("others changed from %v to %v", others, rest)
					}
				})
			})
		})
	}
}

func compareRR(a, b libdns.RR) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }

package ddnsipv6

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Each row is a story of looks, one line each: what the source listed, which
// address the name has afterwards, and why the others don't.
func TestSightings(t *testing.T) {
	const s = time.Second
	at := func(ip string, refreshed time.Duration, with ...func(*Address)) Address {
		return lanAddress(ip, append(with, refreshedAt(refreshed))...)
	}
	const older, newer = "2600:1::1", "2600:2::1"
	type look struct {
		addresses []Address
		want      string
		reasons   []Reason
	}
	both := []Reason{Usable, Usable}
	tests := []struct {
		name  string
		looks []look
	}{
		{name: "flash renumbering: the old prefix is silent", looks: []look{
			{[]Address{at(older, 100*s)}, older, []Reason{Usable}},
			{[]Address{at(newer, 200*s), at(older, 100*s)}, older, both},
			{[]Address{at(newer, 216*s), at(older, 100*s)}, newer, []Reason{Usable, NotRefreshed}},
			{[]Address{at(newer, 232*s)}, newer, []Reason{Usable}},
		}},
		{name: "the clock begins anew", looks: []look{
			{[]Address{at(older, 1000*s), at(newer, 1000*s)}, older, both},
			{[]Address{at(older, 1010*s), at(newer, 1010*s)}, older, both},
			{[]Address{at(older, 5*s), at(newer, 1010*s)}, older, both},
			{[]Address{at(older, 5*s), at(newer, 5*s)}, older, both},
			{[]Address{at(older, 15*s), at(newer, 15*s)}, older, both},
			{[]Address{at(older, 15*s), at(newer, 25*s)}, older, both},
			{[]Address{at(older, 15*s), at(newer, 35*s)}, newer, []Reason{NotRefreshed, Usable}},
		}},
		{name: "renumbered twice", looks: []look{
			{[]Address{at(older, 100*s), at(newer, 200*s)}, older, both},
			{[]Address{at("2600:3::1", 300*s), at(newer, 210*s), at(older, 100*s)}, newer, []Reason{Usable, Usable, NotRefreshed}},
			{[]Address{at("2600:3::1", 310*s), at(newer, 210*s), at(older, 100*s)}, "2600:3::1", []Reason{Usable, NotRefreshed, NotRefreshed}},
		}},
		{name: "one advertisement refreshes both, and the look falls in between", looks: []look{
			{[]Address{at(older, 100*s), at(newer, 100*s)}, older, both},
			{[]Address{at(older, 100*s), at(newer, 103*s)}, older, both},
			{[]Address{at(older, 103*s+1), at(newer, 103*s)}, older, both},
			{[]Address{at(older, 103*s+1), at(newer, 106*s)}, older, both},
			{[]Address{at(older, 106*s+s/2), at(newer, 106*s)}, older, both},
			{[]Address{at(older, 106*s+s/2), at(newer, 109*s)}, older, both},
		}},
		{name: "another address's refreshment within a second is the same advertisement", looks: []look{
			{[]Address{at(older, 100*s), at(newer, 110*s)}, older, both},
			{[]Address{at(older, 100*s), at(newer, 111*s-1)}, older, both},
		}},
		{name: "a second later it is the next one", looks: []look{
			{[]Address{at(older, 100*s), at(newer, 110*s)}, older, both},
			{[]Address{at(older, 100*s), at(newer, 111*s)}, newer, []Reason{NotRefreshed, Usable}},
		}},
		{name: "two seconds between one of this and two of that", looks: []look{
			{[]Address{at(older, 100*s), at(newer, 102*s)}, older, both},
			{[]Address{at(older, 100*s), at(newer, 105*s)}, older, both},
		}},
		{name: "more than two seconds", looks: []look{
			{[]Address{at(older, 100*s), at(newer, 102*s+1)}, older, both},
			{[]Address{at(older, 100*s), at(newer, 105*s)}, newer, []Reason{NotRefreshed, Usable}},
		}},
		{name: "an address by hand lives without being announced", looks: []look{
			{[]Address{at(older, 1*s, withFlags(FlagPermanent)), at(newer, 100*s)}, older, both},
			{[]Address{at(older, 1*s, withFlags(FlagPermanent)), at(newer, 200*s)}, older, both},
			{[]Address{at(older, 1*s, withFlags(FlagPermanent)), at(newer, 300*s)}, older, both},
		}},
		{name: "what isn't announced lives beside a dead network, too", looks: []look{
			{[]Address{at(older, 1*s, withFlags(FlagPermanent)), at("2600:4::1", 0), at("2600:3::1", 100*s), at(newer, 200*s)}, older, []Reason{Usable, Usable, Usable, Usable}},
			{[]Address{at(older, 1*s, withFlags(FlagPermanent)), at("2600:4::1", 0), at("2600:3::1", 100*s), at(newer, 300*s)}, older, []Reason{Usable, Usable, NotRefreshed, Usable}},
		}},
		{name: "an address that is rejected anyway keeps its reason", looks: []look{
			{[]Address{at(older, 100*s, withFlags(FlagDeprecated)), at("2600:1::2", 100*s), at(newer, 200*s)}, "2600:1::2", []Reason{Deprecated, Usable, Usable}},
			{[]Address{at(older, 100*s, withFlags(FlagDeprecated)), at("2600:1::2", 100*s), at(newer, 300*s)}, newer, []Reason{Deprecated, NotRefreshed, Usable}},
		}},
		{name: "an address by hand kills none", looks: []look{
			{[]Address{at(older, 1*s), at(newer, 100*s, withFlags(FlagPermanent))}, older, both},
			{[]Address{at(older, 1*s), at(newer, 200*s, withFlags(FlagPermanent))}, older, both},
		}},
		{name: "a source that doesn't know the time", looks: []look{
			{[]Address{at(older, 0), at(newer, 100*s)}, older, both},
			{[]Address{at(older, 0), at(newer, 200*s)}, older, both},
		}},
		// The lease is renewed once in hours, the prefix is announced all along.
		{name: "DHCPv6 beside SLAAC in a network", looks: []look{
			{[]Address{at("2600:1::aa", 10*s), at(newer, 11*s), at(older, 100*s)}, older, []Reason{Usable, Usable, Usable}},
			{[]Address{at("2600:1::aa", 10*s), at(newer, 100*s), at(older, 100*s)}, older, []Reason{Usable, Usable, Usable}},
			{[]Address{at("2600:1::aa", 10*s), at(newer, 200*s), at(older, 200*s)}, older, []Reason{Usable, Usable, Usable}},
		}},
		// A single look tells of one announcement, whatever is in the network.
		{name: "two addresses in a network are not two announcements", looks: []look{
			{[]Address{at(older, 10*s), at("2600:2::aa", 50*s), at(newer, 100*s)}, older, []Reason{Usable, Usable, Usable}},
		}},
		{name: "a temporary address's time is that of its making", looks: []look{
			{[]Address{at(older, 100*s), at("2600:2::7e39", 200*s, withFlags(FlagTemporary))}, older, []Reason{Usable, Temporary}},
			{[]Address{at(older, 100*s), at("2600:2::7e3a", 300*s, withFlags(FlagTemporary))}, older, []Reason{Usable, Temporary}},
			{[]Address{at(older, 100*s), at(newer, 300*s)}, older, both},
		}},
		{name: "only one network is never dead", looks: []look{
			{[]Address{at(older, 100*s), at("2600:1::2", 200*s)}, older, both},
			{[]Address{at(older, 100*s), at("2600:1::2", 300*s)}, older, both},
		}},
		{name: "another link doesn't count", looks: []look{
			{[]Address{at(older, 100*s), at(newer, 200*s, offDefaultRoute)}, older, both},
			{[]Address{at(older, 100*s), at(newer, 300*s, offDefaultRoute)}, older, both},
			// The same prefix on both: each link by itself.
			{[]Address{at(older, 100*s), at("2600:1::2", 400*s, onOtherLink)}, older, both},
			{[]Address{at(older, 100*s), at("2600:1::2", 500*s, onOtherLink)}, older, both},
		}},
		{name: "links take turns in the list", looks: []look{
			{[]Address{at(older, 100*s), at(newer, 200*s, onOtherLink), at("2600:3::1", 200*s), at("2600:4::1", 100*s, onOtherLink)}, older, []Reason{Usable, Usable, Usable, Usable}},
			{[]Address{at(older, 100*s), at(newer, 300*s, onOtherLink), at("2600:3::1", 200*s), at("2600:4::1", 100*s, onOtherLink)}, older, []Reason{Usable, Usable, Usable, NotRefreshed}},
			{[]Address{at(older, 100*s), at(newer, 400*s, onOtherLink), at("2600:3::1", 300*s), at("2600:4::1", 100*s, onOtherLink)}, newer, []Reason{NotRefreshed, Usable, Usable, NotRefreshed}},
		}},
		{name: "a ULA kills no global address", looks: []look{
			{[]Address{at(older, 100*s), at("fd00::1", 200*s)}, older, []Reason{Usable, NotGlobal}},
			{[]Address{at(older, 100*s), at("fd00::1", 300*s)}, older, []Reason{Usable, NotGlobal}},
		}},
		{name: "an address that is not usable comes first", looks: []look{
			{[]Address{at("fd00::1", 200*s), at(older, 100*s), at(newer, 200*s)}, older, []Reason{NotGlobal, Usable, Usable}},
			{[]Address{at("fd00::1", 200*s), at(older, 100*s), at(newer, 300*s)}, newer, []Reason{NotGlobal, NotRefreshed, Usable}},
		}},
		{name: "nor does one whose announced addresses are deprecated", looks: []look{
			{[]Address{at(older, 100*s), at(newer, 200*s, withPreferred(0)), at("2600:2::5", 1*s, withFlags(FlagPermanent))}, older, []Reason{Usable, Deprecated, Usable}},
			{[]Address{at(older, 100*s), at(newer, 300*s, withPreferred(0)), at("2600:2::5", 1*s, withFlags(FlagPermanent))}, older, []Reason{Usable, Deprecated, Usable}},
		}},
		{name: "a deprecated one kills none", looks: []look{
			{[]Address{at(older, 100*s), at(newer, 200*s, withPreferred(0))}, older, []Reason{Usable, Deprecated}},
			{[]Address{at(older, 100*s), at(newer, 300*s, withPreferred(0))}, older, []Reason{Usable, Deprecated}},
		}},
		{name: "a network that comes back begins anew", looks: []look{
			{[]Address{at(newer, 200*s)}, newer, []Reason{Usable}},
			{[]Address{at(older, 200*s)}, older, []Reason{Usable}},
			{[]Address{at(older, 200*s), at(newer, 300*s)}, older, both},
		}},
		// The routers of two providers: the rarer one was merely silent.
		{name: "false alarm: the network gets patience", looks: []look{
			{[]Address{at(older, 100*s), at(newer, 300*s)}, older, both},
			{[]Address{at(older, 100*s), at(newer, 500*s)}, newer, []Reason{NotRefreshed, Usable}},
			{[]Address{at(older, 600*s), at(newer, 500*s)}, newer, both},
			{[]Address{at(older, 600*s), at(newer, 700*s)}, newer, both},
			{[]Address{at(older, 600*s), at(newer, 1600*s)}, newer, both},
			{[]Address{at(older, 600*s), at(newer, 1600*s+s)}, newer, []Reason{NotRefreshed, Usable}},
		}},
		{name: "no more patience than an hour", looks: []look{
			{[]Address{at(older, 100*s), at(newer, 300*s)}, older, both},
			{[]Address{at(older, 100*s), at(newer, 500*s)}, newer, []Reason{NotRefreshed, Usable}},
			{[]Address{at(older, 7300*s), at(newer, 7300*s)}, newer, both},
			{[]Address{at(older, 7300*s), at(newer, 9000*s)}, newer, both},
			{[]Address{at(older, 7300*s), at(newer, 7300*s+time.Hour)}, newer, both},
			{[]Address{at(older, 7300*s), at(newer, 7301*s+time.Hour)}, newer, []Reason{NotRefreshed, Usable}},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var seen Sightings
			var current netip.Addr
			for i, look := range test.looks {
				seen.Observe(look.addresses)
				chosen, _, judged := Select(nil, look.addresses, Filter{}, &seen, current)
				if current = chosen.IP; current != netip.MustParseAddr(look.want) {
					t.Errorf("look %d: %s, want %s", i, current, look.want)
				}
				var got []Reason
				for _, j := range judged {
					got = append(got, j.Reason)
				}
				if d := cmp.Diff(look.reasons, got); d != "" {
					t.Errorf("look %d: %s", i, d)
				}
			}
		})
	}
}

// What another source listed before has clocks and links of its own.
func TestSightingsOfOneSource(t *testing.T) {
	var seen Sightings
	var judged []Judged
	earlier := Judged{Address: lanAddress("2600:9::1", refreshedAt(time.Second)), Reason: Usable}
	for i := range 3 {
		addresses := []Address{lanAddress("2600:1::1", refreshedAt(time.Minute)), lanAddress("2600:2::1", refreshedAt(time.Duration(i+1)*time.Hour))}
		seen.Observe(addresses)
		_, _, judged = Select([]Judged{earlier}, addresses, Filter{}, &seen, netip.Addr{})
	}
	var got []Reason
	for _, j := range judged {
		got = append(got, j.Reason)
	}
	if d := cmp.Diff([]Reason{Usable, NotRefreshed, Usable}, got); d != "" {
		t.Error(d)
	}
}

// Two routers announce a prefix each. A name may move once, to the one that
// announces its prefix more often, but it must not go back and forth.
func TestTwoRouters(t *testing.T) {
	type interval struct{ least, most time.Duration }
	every := func(d time.Duration) interval { return interval{d, d} }
	const s, minute = time.Second, time.Minute
	radvd := interval{198 * s, 600 * s} // its defaults
	tests := []struct {
		name    string
		routers [2]interval
		hours   time.Duration
		moves   int
	}{
		{name: "equal", routers: [2]interval{every(30 * s), every(30 * s)}, hours: 1},
		{name: "10 s and 30 s", routers: [2]interval{every(10 * s), every(30 * s)}, hours: 1, moves: 1},
		{name: "3 min and 10 min", routers: [2]interval{every(3 * minute), every(10 * minute)}, hours: 1, moves: 1},
		{name: "10 s and 30 min", routers: [2]interval{every(10 * s), every(30 * minute)}, hours: 1, moves: 1},
		{name: "as fast as is allowed", routers: [2]interval{{3 * s, 4 * s}, {3 * s, 4 * s}}, hours: 1},
		// Random intervals: without patience it is 46 moves a day.
		{name: "twice radvd", routers: [2]interval{radvd, radvd}, hours: 24, moves: 3},
		{name: "radvd, and one that is more even", routers: [2]interval{radvd, {450 * s, 600 * s}}, hours: 24, moves: 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for seed := range uint64(40) {
				r := rand.New(rand.NewPCG(seed, 0))
				var last, next [2]time.Duration
				for i := range last {
					last[i] = 1000*s + time.Duration(r.Int64N(int64(test.routers[i].least)))
					next[i] = last[i]
				}
				var seen Sightings
				var current netip.Addr
				moves := -1
				for now := time.Duration(0); now < 1000*s+test.hours*time.Hour; {
					i := 0
					if next[1] < next[0] {
						i = 1
					}
					now = next[i]
					last[i] = now
					next[i] += test.routers[i].least + time.Duration(r.Int64N(int64(test.routers[i].most-test.routers[i].least)+1))
					addresses := []Address{
						lanAddress("2600:1::1", refreshedAt(last[0]), withPreferred(time.Hour-now+last[0])),
						lanAddress("2600:2::1", refreshedAt(last[1]), withPreferred(time.Hour-now+last[1])),
					}
					seen.Observe(addresses)
					chosen, ok, _ := Select(nil, addresses, Filter{}, &seen, current)
					if chosen.IP != current || !ok {
						moves++
						current = chosen.IP
					}
				}
				if moves > test.moves {
					t.Errorf("seed %d: %d moves, want %d at most", seed, moves, test.moves)
				}
			}
		})
	}
}

// Of the addresses that are usable by themselves one always stays, and all that
// is remembered is of networks that are there.
func TestSightingsProperties(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 0))
		var seen Sightings
		for look := range 10 {
			addresses := someAddresses(r)
			for i := range addresses {
				addresses[i].Refreshed += time.Duration(look) * 2 * time.Second
			}
			seen.Observe(addresses)
			_, ok, judged := Select(nil, addresses, Filter{}, &seen, netip.Addr{})
			usable, present := false, make(map[network]bool)
			for _, j := range judged {
				usable = usable || Filter{}.Judge(j.Address) == Usable
				present[network{j.Interface, netip.PrefixFrom(j.IP, 64).Masked()}] = true
			}
			if ok != usable {
				t.Fatalf("seed %d, look %d: none is left of %v", seed, look, judged)
			}
			for key := range seen.networks {
				if !present[key] {
					t.Fatalf("seed %d, look %d: %v is remembered", seed, look, key)
				}
			}
		}
	}
}

// A provider that renumbers every day, or an attacker on the link, must not
// make the process grow.
func TestSightingsForget(t *testing.T) {
	var seen Sightings
	for i := range 10000 {
		now := time.Duration(i+1) * 10 * time.Second
		seen.Observe([]Address{
			lanAddress(fmt.Sprintf("2600:%x::1", i), refreshedAt(now)),
			lanAddress("2600:ffff::1", refreshedAt(now)),
		})
		if len(seen.networks) != 2 {
			t.Fatalf("%d networks are remembered after %d looks", len(seen.networks), i+1)
		}
	}
	if seen.Observe(nil); len(seen.networks) != 0 {
		t.Errorf("%d networks are remembered of none", len(seen.networks))
	}
}

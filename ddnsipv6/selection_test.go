package ddnsipv6

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lanAddress is a usable address of eth0, which has the default route.
func lanAddress(ip string, with ...func(*Address)) Address {
	a := Address{
		IP: netip.MustParseAddr(ip), Interface: "eth0", DefaultRoute: true,
		Preferred: time.Hour, Valid: 2 * time.Hour,
	}
	a.Prefix = netip.PrefixFrom(a.IP, 64).Masked()
	for _, f := range with {
		f(&a)
	}
	return a
}

func withFlags(f Flags) func(*Address) { return func(a *Address) { a.Flags |= f } }

func withPreferred(d time.Duration) func(*Address) { return func(a *Address) { a.Preferred = d } }

func refreshedAt(d time.Duration) func(*Address) { return func(a *Address) { a.Refreshed = d } }

func onOtherLink(a *Address) { a.Interface = "eth1" }

func rejectedFor(r Reason) func(*Address) { return func(a *Address) { a.Rejected = r } }

func offDefaultRoute(a *Address) { a.Interface, a.DefaultRoute = "eth1", false }

func prefixList(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// The edges of every network that is not published, and each of the flags.
func TestJudge(t *testing.T) {
	const home = "2600:1:2:3::10"
	all := Filter{Include: prefixList("::/0")}
	lab := Filter{Include: prefixList("2001:db8:1::/48", "fd00::/8")}
	guests := Filter{Exclude: prefixList("2600:1:2:4::/64")}
	tests := []struct {
		name    string
		address Address
		filter  Filter
		want    Reason
	}{
		{name: "global", address: lanAddress(home)},
		{name: "lowest global", address: lanAddress("2000::")},
		{name: "highest global", address: lanAddress("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")},
		{name: "below global", address: lanAddress("1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), want: NotGlobal},
		{name: "above global", address: lanAddress("4000::1"), want: NotGlobal},
		{name: "no address", address: Address{Preferred: time.Hour}, want: NotIPv6},
		{name: "IPv4", address: lanAddress("192.0.2.1"), filter: all, want: NotIPv6},
		{name: "IPv4-mapped", address: lanAddress("::ffff:192.0.2.1"), filter: all, want: NotIPv6},
		{name: "zone", address: lanAddress(home + "%eth0"), want: NotGlobal},
		{name: "zone, included", address: lanAddress(home + "%eth0"), filter: all, want: NotIncluded},

		{name: "ULA", address: lanAddress("fd00::1"), want: NotGlobal},
		{name: "site-local", address: lanAddress("fec0::1"), want: NotGlobal},
		{name: "NAT64", address: lanAddress("64:ff9b::1"), want: NotGlobal},
		{name: "link-local", address: lanAddress("fe80::1"), want: NotGlobal},
		{name: "link-local, included", address: lanAddress("fe80::1"), filter: all, want: NotGlobal},
		{name: "loopback, included", address: lanAddress("::1"), filter: all, want: NotGlobal},
		{name: "multicast, included", address: lanAddress("ff0e::1"), filter: all, want: NotGlobal},
		{name: "unspecified, included", address: lanAddress("::"), filter: all, want: NotGlobal},

		{name: "below documentation", address: lanAddress("2001:db7:ffff::1")},
		{name: "documentation", address: lanAddress("2001:db8:ffff::1"), want: Documentation},
		{name: "above documentation", address: lanAddress("2001:db9::1")},
		{name: "documentation, RFC 9637", address: lanAddress("3fff:fff::1"), want: Documentation},
		{name: "above documentation, RFC 9637", address: lanAddress("3fff:1000::1")},
		{name: "Teredo", address: lanAddress("2001::1"), want: Teredo},
		{name: "end of Teredo", address: lanAddress("2001:0:ffff::1"), want: Teredo},
		{name: "above Teredo", address: lanAddress("2001:1::8")},
		{name: "benchmarking", address: lanAddress("2001:2::1"), want: Benchmarking},
		{name: "end of benchmarking", address: lanAddress("2001:2:0:ffff::1"), want: Benchmarking},
		{name: "above benchmarking", address: lanAddress("2001:2:1::1")},
		{name: "below ORCHID", address: lanAddress("2001:f::1")},
		{name: "ORCHID", address: lanAddress("2001:1f::1"), want: ORCHID},
		{name: "ORCHIDv2", address: lanAddress("2001:2f::1"), want: ORCHID},
		{name: "above ORCHIDv2", address: lanAddress("2001:30::1")},
		{name: "6to4", address: lanAddress("2002:c000:201::1"), want: SixToFour},
		{name: "above 6to4", address: lanAddress("2003::1")},

		{name: "documentation, included", address: lanAddress("2001:db8:1::1"), filter: lab},
		{name: "ULA, included", address: lanAddress("fd00::1"), filter: lab},
		{name: "second ULA, not included", address: lanAddress("fc00::1"), filter: lab, want: NotIncluded},
		{name: "global, not included", address: lanAddress(home), filter: lab, want: NotIncluded},
		{name: "global, included", address: lanAddress(home), filter: Filter{Include: prefixList("2600:1::/32")}},
		{name: "excluded", address: lanAddress("2600:1:2:4::1"), filter: guests, want: Excluded},
		{name: "not excluded", address: lanAddress(home), filter: guests},
		{
			name: "excluded from what is included", address: lanAddress("2001:db8:1:1::1"),
			filter: Filter{Include: lab.Include, Exclude: prefixList("2001:db8:1:1::/64")}, want: Excluded,
		},

		{name: "temporary", address: lanAddress(home, withFlags(FlagTemporary)), want: Temporary},
		// A temporary address at its end shows preferred 0 before the flag.
		{name: "temporary, preferred 0", address: lanAddress(home, withFlags(FlagTemporary), withPreferred(0)), want: Temporary},
		{name: "duplicate", address: lanAddress(home, withFlags(FlagDADFailed)), want: DADFailed},
		{name: "duplicate, tentative", address: lanAddress(home, withFlags(FlagDADFailed|FlagTentative)), want: DADFailed},
		{name: "tentative", address: lanAddress(home, withFlags(FlagTentative)), want: Tentative},
		{name: "optimistic", address: lanAddress(home, withFlags(FlagOptimistic)), want: Tentative},
		{name: "deprecated", address: lanAddress(home, withFlags(FlagDeprecated)), want: Deprecated},
		{name: "preferred 0 without the flag", address: lanAddress(home, withPreferred(0)), want: Deprecated},
		{name: "preferred below 0", address: lanAddress(home, withPreferred(-1)), want: Deprecated},
		{name: "preferred for an instant", address: lanAddress(home, withPreferred(1))},
		{name: "flags of no account", address: lanAddress(home, withFlags(FlagPermanent|FlagStablePrivacy|0x100|0x200))},
		{name: "included, but deprecated", address: lanAddress("fd00::1", withFlags(FlagDeprecated)), filter: lab, want: Deprecated},
		{name: "by the source", address: lanAddress(home, rejectedFor(NotOnDefaultRoute)), want: NotOnDefaultRoute},
		{name: "by the source, temporary", address: lanAddress(home, rejectedFor(NotOnDefaultRoute), withFlags(FlagTemporary)), want: NotOnDefaultRoute},
		{name: "by the source, link-local", address: lanAddress("fe80::1", rejectedFor(NotOnDefaultRoute)), want: NotGlobal},
	}
	covered := map[Reason]bool{NotRefreshed: true} // TestSightings
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			covered[test.want] = true
			if got := test.filter.Judge(test.address); got != test.want {
				t.Errorf("%s %s is %q, want %q", test.address.IP, test.address.Flags, got, test.want)
			}
		})
	}
	texts := make(map[string]bool)
	for i := range reasons {
		if texts[Reason(i).String()] = true; !covered[Reason(i)] {
			t.Errorf("no case for %q", Reason(i))
		}
	}
	if len(texts) != len(reasons) || texts[""] {
		t.Errorf("reasons are not told apart: %v", texts)
	}
}

func TestFlagNames(t *testing.T) {
	got := []string{Flags(0).String(), (FlagTemporary | FlagDeprecated | 0x100).String(), Flags(0x8ed).String()}
	want := []string{"", "temporary deprecated", "temporary optimistic dadfailed deprecated tentative permanent stable-privacy"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Each rule of the order alone, and against all that come after it. What must
// not be chosen is numerically lower, and stands both before and after.
func TestOrder(t *testing.T) {
	const low, high, lowEUI, highEUI = "2600:1::1", "2600:9::9", "2600:1::211:32ff:fe01:1", "2600:9::211:32ff:fe01:1"
	stable, forever, longer := withFlags(FlagStablePrivacy), withPreferred(Forever), withPreferred(time.Hour+1)
	tests := []struct {
		name          string
		better, worse Address
	}{
		{name: "default route", better: lanAddress(high), worse: lanAddress(low, offDefaultRoute)},
		{name: "without an end", better: lanAddress(high, forever), worse: lanAddress(low, withPreferred(Forever-1))},
		{name: "preferred for longer", better: lanAddress(high, longer), worse: lanAddress(low)},
		{name: "of the MAC address", better: lanAddress(highEUI), worse: lanAddress(low)},
		{name: "stable-privacy", better: lanAddress(high, stable), worse: lanAddress(low)},
		{name: "numerically lowest", better: lanAddress(low), worse: lanAddress(high)},
		{name: "stable-privacy and of the MAC address are equal", better: lanAddress(low, stable), worse: lanAddress(highEUI)},

		{name: "default route before the rest", better: lanAddress(high), worse: lanAddress(lowEUI, offDefaultRoute, forever)},
		{name: "no end before the rest", better: lanAddress(high, forever), worse: lanAddress(lowEUI)},
		{name: "longer before the rest", better: lanAddress(high, longer), worse: lanAddress(lowEUI, stable)},
		{name: "staying before lower", better: lanAddress(high, stable, forever), worse: lanAddress(low, forever)},
		{name: "of none on the default route", better: lanAddress(high, offDefaultRoute, longer), worse: lanAddress(low, offDefaultRoute)},
		// An interface identifier ends in xx:xxff:fexx:xxxx; others look alike.
		{name: "fe alone", better: lanAddress("2600:1::211:3200:fe01:1"), worse: lanAddress("2600:9::211:3200:fe01:1")},
		{name: "ff alone", better: lanAddress("2600:1::1"), worse: lanAddress("2600:9::211:32ff:101:1")},
		{name: "fe is not ff", better: lanAddress("2600:1::1"), worse: lanAddress("2600:9::211:3200:fe01:1")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			addresses := []Address{test.worse, test.better, test.worse}
			if got, ok, _ := Select(nil, addresses, Filter{}, nil, netip.Addr{}); !ok || got != test.better {
				t.Errorf("got %s, want %s", got.IP, test.better.IP)
			}
		})
	}
}

func TestSelect(t *testing.T) {
	// What Linux lists for a host that was renumbered: the newest first, and
	// per prefix the deprecated before the temporary before the stable.
	linux := []Address{
		lanAddress("2600:2::dead", withFlags(FlagTemporary|FlagDeprecated), withPreferred(0)),
		lanAddress("2600:2::7e39", withFlags(FlagTemporary)),
		lanAddress("2600:2::211:32ff:fe01:1"),
		lanAddress("2600:1::beef", withFlags(FlagTemporary|FlagDeprecated), withPreferred(0)),
		lanAddress("2600:1::211:32ff:fe01:1", withFlags(FlagDeprecated), withPreferred(0)),
		lanAddress("fd00::211:32ff:fe01:1"),
		lanAddress("fe80::211:32ff:fe01:1", withFlags(FlagPermanent), withPreferred(Forever)),
	}
	// Announced, but nothing is known of when before that.
	two := []Address{
		lanAddress("2600:1::1", withPreferred(Forever), refreshedAt(time.Second)),
		lanAddress("2600:2::1", offDefaultRoute, refreshedAt(time.Hour)),
	}
	tests := []struct {
		name      string
		addresses []Address
		current   string
		want      string // empty: none
		reasons   []Reason
	}{
		{name: "no addresses"},
		{
			name: "order of Linux", addresses: linux, want: "2600:2::211:32ff:fe01:1",
			reasons: []Reason{Temporary, Temporary, Usable, Temporary, Deprecated, NotGlobal, NotGlobal},
		},
		{
			name: "current is deprecated", addresses: linux, current: "2600:1::211:32ff:fe01:1", want: "2600:2::211:32ff:fe01:1",
			reasons: []Reason{Temporary, Temporary, Usable, Temporary, Deprecated, NotGlobal, NotGlobal},
		},
		{name: "none usable", addresses: linux[3:], reasons: []Reason{Temporary, Deprecated, NotGlobal, NotGlobal}},
		{name: "none usable, not even the current one", addresses: linux[3:], current: "2600:1::beef", reasons: []Reason{Temporary, Deprecated, NotGlobal, NotGlobal}},
		{name: "better one", addresses: two, want: "2600:1::1", reasons: []Reason{Usable, Usable}},
		{name: "stay with the worse one", addresses: two, current: "2600:2::1", want: "2600:2::1", reasons: []Reason{Usable, Usable}},
		{name: "current is gone", addresses: two, current: "2600:3::1", want: "2600:1::1", reasons: []Reason{Usable, Usable}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var current netip.Addr
			if test.current != "" {
				current = netip.MustParseAddr(test.current)
			}
			before := Judged{Address: lanAddress("2600:f::1"), Reason: Usable} // what another source had
			got, ok, judged := Select([]Judged{before}, test.addresses, Filter{}, nil, current)
			if ok != (test.want != "") || ok && got.IP != netip.MustParseAddr(test.want) || !ok && got != (Address{}) {
				t.Errorf("got %s, %t, want %q", got.IP, ok, test.want)
			}
			want := []Judged{before}
			for i, a := range test.addresses {
				want = append(want, Judged{Address: a, Reason: test.reasons[i]})
			}
			if d := cmp.Diff(want, judged, cmp.Comparer(sameAddress)); d != "" {
				t.Error(d)
			}
		})
	}
}

func sameAddress(a, b Address) bool { return a == b }

// someAddresses returns up to ten different addresses of all kinds.
func someAddresses(r *rand.Rand) (list []Address) {
	for _, i := range r.Perm(10)[:r.IntN(11)] {
		prefix := pick(r, "2600:1", "2600:2", "2600:1:1", "2001:db8", "fd00", "fe80", "2002:1")
		a := lanAddress(prefix + pick(r, "::211:32ff:fe01:", "::") + string(rune('0'+i)))
		a.Preferred = pick(r, 0, time.Minute, time.Hour, Forever)
		a.Flags = pick(r, 0, 0, 0, FlagStablePrivacy, FlagPermanent, FlagTemporary, FlagDeprecated, FlagTentative, FlagDADFailed)
		a.Rejected = pick(r, Usable, Usable, Usable, NotOnDefaultRoute)
		a.Refreshed = time.Duration(r.IntN(8)) * 2 * time.Second
		if r.IntN(3) == 0 {
			offDefaultRoute(&a)
		}
		list = append(list, a)
	}
	return list
}

func pick[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

// Whatever the source lists in whatever order: the choice is the same, it is
// usable, there is one if any is usable, the current one stays, and every
// address is judged.
func TestSelectProperties(t *testing.T) {
	filters := []Filter{{}, {Include: prefixList("2600:1::/32", "fd00::/8")}, {Exclude: prefixList("2600:2::/32")}, {Include: prefixList("::/0")}}
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 0))
		f := pick(r, filters...)
		var seen, seenShuffled Sightings
		var addresses, shuffled []Address
		for range 1 + r.IntN(3) { // earlier looks, of which one is remembered
			addresses = someAddresses(r)
			shuffled = slices.Clone(addresses)
			r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			seen.Observe(addresses)
			seenShuffled.Observe(shuffled)
		}
		chosen, ok, judged := Select(nil, addresses, f, &seen, netip.Addr{})
		again, okAgain, _ := Select(nil, shuffled, f, &seenShuffled, netip.Addr{})
		if chosen != again || ok != okAgain {
			t.Fatalf("seed %d: %s and %s by the order of %v", seed, chosen.IP, again.IP, addresses)
		}
		var usable []netip.Addr
		for i, j := range judged {
			if j.Address != addresses[i] {
				t.Fatalf("seed %d: judged %s instead of %s", seed, j.IP, addresses[i].IP)
			}
			if j.Reason == Usable {
				usable = append(usable, j.IP)
			}
		}
		if len(judged) != len(addresses) || ok != (len(usable) > 0) || ok && !slices.Contains(usable, chosen.IP) {
			t.Fatalf("seed %d: chose %s, %t of %v", seed, chosen.IP, ok, judged)
		}
		for _, current := range usable {
			if stays, _, _ := Select(nil, addresses, f, &seen, current); stays.IP != current {
				t.Fatalf("seed %d: moved from %s to %s", seed, current, stays.IP)
			}
		}
	}
}

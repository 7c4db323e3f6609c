package ddnsipv6

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

const forever = 1<<32 - 1

func message(index uint32, bits uint8, attributes rtnetlink.AddressAttributes) rtnetlink.AddressMessage {
	return rtnetlink.AddressMessage{Family: unix.AF_INET6, Index: index, PrefixLength: bits, Attributes: &attributes}
}

// unicast returns a route of the main table; dst is empty for a default route.
func unicast(dst string, attributes rtnetlink.RouteAttributes) rtnetlink.RouteMessage {
	m := rtnetlink.RouteMessage{Family: unix.AF_INET6, Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Attributes: attributes}
	if dst != "" {
		prefix := netip.MustParsePrefix(dst)
		m.DstLength, m.Attributes.Dst = uint8(prefix.Bits()), prefix.Addr().AsSlice()
	}
	return m
}

func TestReadingHost(t *testing.T) {
	ip, peer, gateway := net.ParseIP("2600:0:0:1::5"), net.ParseIP("2600:0:0:1::6"), net.ParseIP("fe80::1")
	cache := rtnetlink.CacheInfo{Preferred: forever, Valid: forever}
	headerOnly := message(2, 64, rtnetlink.AddressAttributes{Address: ip, CacheInfo: cache})
	headerOnly.Flags = 0xa0
	ipv4 := message(2, 24, rtnetlink.AddressAttributes{Address: net.IP{192, 0, 2, 1}})
	ipv4.Family = unix.AF_INET
	plain := Address{
		IP: netip.MustParseAddr("2600:0:0:1::5"), Prefix: netip.MustParsePrefix("2600:0:0:1::/64"), Interface: "eth0",
		Preferred: Forever, Valid: Forever,
	}
	with := func(edit func(*Address)) []Address {
		a := plain
		edit(&a)
		return []Address{a}
	}
	single := message(2, 128, rtnetlink.AddressAttributes{Address: ip, CacheInfo: cache})
	for _, tt := range []struct {
		name    string
		message rtnetlink.AddressMessage
		routes  []rtnetlink.RouteMessage
		want    []Address
	}{
		{
			name: "lifetimes, timestamp and flags beyond eight bits",
			message: message(2, 64, rtnetlink.AddressAttributes{
				Address: ip, Flags: 0x900, CacheInfo: rtnetlink.CacheInfo{Preferred: 300, Valid: 600, Created: 1, Updated: 12345},
			}),
			want: with(func(a *Address) {
				a.Flags = FlagStablePrivacy | 0x100
				a.Preferred, a.Valid, a.Refreshed = 5*time.Minute, 10*time.Minute, 123450*time.Millisecond
			}),
		},
		{name: "flags of the header", message: headerOnly, want: with(func(a *Address) { a.Flags = FlagPermanent | FlagDeprecated })},
		{
			name:    "point to point",
			message: message(2, 64, rtnetlink.AddressAttributes{Local: ip, Address: peer, CacheInfo: cache}),
			want:    []Address{plain},
		},
		{name: "IPv4", message: ipv4, want: []Address{}},
		{name: "interface unknown", message: message(9, 64, rtnetlink.AddressAttributes{Address: ip}), want: []Address{}},
		{name: "no address", message: message(2, 64, rtnetlink.AddressAttributes{}), want: []Address{}},
		{name: "no attributes", message: rtnetlink.AddressMessage{Family: unix.AF_INET6, Index: 2}, want: []Address{}},
		{
			name:    "default route",
			message: message(2, 64, rtnetlink.AddressAttributes{Address: ip, CacheInfo: cache}),
			routes:  []rtnetlink.RouteMessage{unicast("", rtnetlink.RouteAttributes{OutIface: 2, Gateway: gateway})},
			want:    with(func(a *Address) { a.DefaultRoute = true }),
		},
		{name: "128 bits and no route", message: single, want: with(func(a *Address) { a.Prefix = netip.Prefix{} })},
		{
			name: "128 bits and routes", message: single,
			routes: []rtnetlink.RouteMessage{
				unicast("2600::/32", rtnetlink.RouteAttributes{OutIface: 2}),
				unicast("2600:0:0:1::/64", rtnetlink.RouteAttributes{OutIface: 2}),
				unicast("2600::/48", rtnetlink.RouteAttributes{OutIface: 2}),
				unicast("2600:0:0:1::/80", rtnetlink.RouteAttributes{OutIface: 3}),
				unicast("2600:0:0:1::/96", rtnetlink.RouteAttributes{OutIface: 2, Gateway: gateway}),
				unicast("2600:0:0:1::5/128", rtnetlink.RouteAttributes{OutIface: 2}),
				unicast("2600:0:0:2::/72", rtnetlink.RouteAttributes{OutIface: 2}),
			},
			want: []Address{plain},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := reading{
				addresses: []rtnetlink.AddressMessage{tt.message}, routes: tt.routes,
				links: []link{{index: 1, name: "lo", loopback: true}, {index: 2, name: "eth0"}, {index: 3, name: "eth1"}},
			}
			if diff := cmp.Diff(tt.want, r.host().addresses, cmp.Comparer(func(a, b Address) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDefaultLinks(t *testing.T) {
	via := func(metric, index uint32) rtnetlink.RouteMessage {
		return unicast("", rtnetlink.RouteAttributes{OutIface: index, Priority: metric, Gateway: net.ParseIP("fe80::1")})
	}
	dead := via(10, 7)
	dead.Flags = unix.RTNH_F_DEAD
	hops := func(metric uint32, hops ...rtnetlink.RTNextHop) rtnetlink.RouteMessage {
		m := unicast("", rtnetlink.RouteAttributes{Priority: metric})
		for _, hop := range hops {
			m.Attributes.Multipath = append(m.Attributes.Multipath, rtnetlink.NextHop{Hop: hop})
		}
		return m
	}
	for _, tt := range []struct {
		name   string
		routes []rtnetlink.RouteMessage
		want   []uint32
	}{
		{name: "none", routes: []rtnetlink.RouteMessage{unicast("2600::/64", rtnetlink.RouteAttributes{OutIface: 2})}},
		{name: "lowest metric", routes: []rtnetlink.RouteMessage{via(1024, 2), via(100, 3), via(600, 4)}, want: []uint32{3}},
		{name: "as good", routes: []rtnetlink.RouteMessage{via(1024, 2), via(1024, 3)}, want: []uint32{2, 3}},
		{name: "next hops", routes: []rtnetlink.RouteMessage{
			hops(1024, rtnetlink.RTNextHop{IfIndex: 2}, rtnetlink.RTNextHop{IfIndex: 3}, rtnetlink.RTNextHop{IfIndex: 4, Flags: unix.RTNH_F_DEAD}),
		}, want: []uint32{2, 3}},
		{name: "dead", routes: []rtnetlink.RouteMessage{dead, via(1024, 2)}, want: []uint32{2}},
		{name: "dead next hops", routes: []rtnetlink.RouteMessage{
			via(1024, 2), hops(10, rtnetlink.RTNextHop{IfIndex: 3, Flags: unix.RTNH_F_DEAD}),
		}, want: []uint32{2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := defaultLinks(tt.routes); !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// follow reads a source's addresses whenever it says that they changed. It
// returns a function that waits until they are as wanted: by events alone.
func follow(t *testing.T, s Source) func(what string, check func([]Address) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		s.Watch(ctx, func() {
			select {
			case events <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return func(what string, check func([]Address) error) {
		t.Helper()
		timeout := time.NewTimer(30 * time.Second)
		defer timeout.Stop()
		for {
			addresses, err := s.Addresses(ctx)
			if err == nil {
				err = check(addresses)
			}
			if err == nil {
				return
			}
			select {
			case <-events:
			case <-timeout.C:
				t.Fatalf("waiting for %s: %v\n%s", what, err, testenv.IP(t, "-6", "addr"))
			}
		}
	}
}

// in checks that the prefix has an address with the reason, and returns it.
func in(prefix string, reason Reason, found *Address) func([]Address) error {
	return func(addresses []Address) error {
		for _, a := range addresses {
			if netip.MustParsePrefix(prefix).Contains(a.IP) && (Filter{}).Judge(a) == reason {
				*found = a
				return nil
			}
		}
		return fmt.Errorf("no address in %s is %q: %+v", prefix, reason, addresses)
	}
}

func none(prefix string) func([]Address) error {
	return func(addresses []Address) error {
		if slices.ContainsFunc(addresses, func(a Address) bool { return netip.MustParsePrefix(prefix).Contains(a.IP) }) {
			return errors.New("it is there")
		}
		return nil
	}
}

func TestKernelRouterAdvertisements(t *testing.T) {
	t.Parallel()
	if !testenv.Namespace(t) {
		return
	}
	router := testenv.NewRouter(t, "v0")
	testenv.Sysctl(t, "net/ipv6/conf/v0/use_tempaddr", "2")
	s, _ := newInterfaceSource(t)
	await := follow(t, s)

	const lan = "2600:0:0:1::/64"
	router.Advertise(testenv.Advertised{Prefix: lan, Preferred: time.Hour, Valid: 2 * time.Hour})
	var a, temporary Address
	await("an address while it is checked for duplicates", in(lan, Tentative, &a))
	await("an address", in(lan, Usable, &a))
	await("a temporary address", in(lan, Temporary, &temporary))
	if a.Interface != "v0" || !a.DefaultRoute || a.Prefix.String() != lan || !isEUI64(a.IP) || a.Flags != 0x100 ||
		a.Preferred > time.Hour || a.Preferred < time.Hour-time.Minute || a.Valid < 2*time.Hour-time.Minute {
		t.Errorf("got %+v", a)
	}
	if isEUI64(temporary.IP) || temporary.Flags&FlagTemporary == 0 {
		t.Errorf("got %+v", temporary)
	}
	if a.Refreshed <= 0 {
		t.Errorf("refreshed at %s", a.Refreshed)
	}
	for range 2 {
		before := a.Refreshed
		await("the next advertisement", func(addresses []Address) error {
			if err := in(lan, Usable, &a)(addresses); err != nil || a.Refreshed > before {
				return err
			}
			return errors.New("not refreshed")
		})
		t.Logf("advertisements are %s apart", a.Refreshed-before)
	}

	// Another prefix takes over, and goes away by itself in the end.
	const short = "2600:0:0:2::/64"
	router.Advertise(
		testenv.Advertised{Prefix: lan, Preferred: 0, Valid: 2 * time.Hour},
		testenv.Advertised{Prefix: short, Preferred: 5 * time.Second, Valid: 6 * time.Second},
	)
	await("the old address to be deprecated", in(lan, Deprecated, &a))
	await("the new address", in(short, Usable, &a))
	router.Silence()
	await("the new address to be deprecated", in(short, Deprecated, &a))
	await("the new address to be removed", none(short))
	await("the old address to stay", in(lan, Deprecated, &a))
}

func TestKernelAddressesByHand(t *testing.T) {
	t.Parallel()
	if !testenv.Namespace(t) {
		return
	}
	cable(t, "v0")
	s, _ := newInterfaceSource(t, "v0")
	await := follow(t, s)
	var a Address

	testenv.IP(t, "addr", "add", "2600:0:0:1::5/64", "dev", "v0", "nodad")
	await("a static address", in("2600:0:0:1::/64", Usable, &a))
	if a.Flags&FlagPermanent == 0 || a.Preferred != Forever || a.Valid != Forever || a.DefaultRoute || a.Prefix.String() != "2600:0:0:1::/64" {
		t.Errorf("got %+v", a)
	}
	// As DHCPv6 clients set one; the router advertised the network's prefix.
	testenv.IP(t, "addr", "add", "2600:0:0:2::5/128", "dev", "v0", "nodad", "preferred_lft", "300", "valid_lft", "600")
	await("an address by DHCPv6", in("2600:0:0:2::5/128", Usable, &a))
	if a.Prefix.IsValid() || a.Flags&FlagPermanent != 0 || a.Preferred > 5*time.Minute || a.Preferred < 4*time.Minute || a.Valid > 10*time.Minute {
		t.Errorf("got %+v", a)
	}
	testenv.IP(t, "-6", "route", "add", "2600:0:0:2::/64", "dev", "v0")
	await("its prefix", func(addresses []Address) error {
		if err := in("2600:0:0:2::5/128", Usable, &a)(addresses); err != nil || a.Prefix.String() == "2600:0:0:2::/64" {
			return err
		}
		return fmt.Errorf("prefix %s", a.Prefix)
	})
	testenv.IP(t, "addr", "change", "2600:0:0:2::5/128", "dev", "v0", "preferred_lft", "0", "valid_lft", "600")
	await("it to be deprecated", in("2600:0:0:2::5/128", Deprecated, &a))
	testenv.IP(t, "addr", "del", "2600:0:0:2::5/128", "dev", "v0")
	await("it to be removed", none("2600:0:0:2::/64"))
	testenv.IP(t, "addr", "add", "2600:0:0:3::5", "peer", "2600:0:0:3::6/128", "dev", "v0", "nodad")
	await("the near end of a point-to-point link", in("2600:0:0:3::5/128", Usable, &a))
	await("no far end", none("2600:0:0:3::6/128"))
}

func TestKernelDefaultRoute(t *testing.T) {
	t.Parallel()
	if !testenv.Namespace(t) {
		return
	}
	for i, name := range []string{"v0", "w0"} {
		cable(t, name)
		testenv.IP(t, "addr", "add", fmt.Sprintf("2600:0:0:%d::5/64", i+1), "dev", name, "nodad")
	}
	s, _ := newInterfaceSource(t)
	await := follow(t, s)
	var v, w Address
	both := func(wantV, wantW Reason) func([]Address) error {
		return func(addresses []Address) error {
			return errors.Join(in("2600:0:0:1::/64", wantV, &v)(addresses), in("2600:0:0:2::/64", wantW, &w)(addresses))
		}
	}
	route := func(args string) { testenv.IP(t, strings.Fields("-6 route "+args)...) }

	await("no default route", both(NotOnDefaultRoute, NotOnDefaultRoute))
	route("add default via fe80::1 dev v0 metric 200")
	await("a default route", both(Usable, NotOnDefaultRoute))
	route("add default via fe80::1 dev w0 metric 100")
	await("a better one", both(NotOnDefaultRoute, Usable))
	route("add unreachable default metric 10")
	route("add default via fe80::1 dev v0 metric 50 table 100")
	route("add default metric 20 nexthop via fe80::1 dev v0 nexthop via fe80::1 dev w0")
	await("one with two next hops, and not those that don't count", both(Usable, Usable))
	route("del default metric 20")
	route("del default via fe80::1 dev w0 metric 100")
	await("the first one again", both(Usable, NotOnDefaultRoute))

	named, _ := newInterfaceSource(t, "v0", "w0")
	addresses, err := named.Addresses(t.Context())
	if err = errors.Join(err, in("2600:0:0:1::/64", Usable, &v)(addresses), in("2600:0:0:2::/64", Usable, &w)(addresses)); err != nil {
		t.Fatal(err)
	}
	if !v.DefaultRoute || w.DefaultRoute {
		t.Errorf("got %+v, %+v", v, w)
	}
}

func TestKernelInterfaceComesAndGoes(t *testing.T) {
	t.Parallel()
	if !testenv.Namespace(t) {
		return
	}
	add := func(name, ip string) {
		cable(t, name)
		testenv.IP(t, "addr", "add", ip, "dev", name, "nodad")
	}
	add("v0", "2600:0:0:1::5/64")
	add("w0", "2600:0:0:2::5/64")
	s, logs := newInterfaceSource(t, "v0", "w0")
	await := follow(t, s)
	var a Address
	await("the address", in("2600:0:0:2::/64", Usable, &a))
	testenv.IP(t, "link", "del", "w0")
	await("it to be gone", none("2600:0:0:2::/64"))
	await("the other one to stay", in("2600:0:0:1::/64", Usable, &a))
	add("w0", "2600:0:0:2::6/64")
	await("another one on an interface of that name", in("2600:0:0:2::6/128", Usable, &a))
	if diff := cmp.Diff([]string{"warn interface does not exist, using the others w0", "info interface exists again w0"}, lines(logs)); diff != "" {
		t.Error(diff)
	}

	testenv.IP(t, "link", "del", "v0")
	testenv.IP(t, "link", "set", "w0", "down")
	testenv.IP(t, "link", "set", "w0", "name", "x0")
	testenv.Eventually(t, "both to be gone", func() error {
		_, err := s.Addresses(t.Context())
		if want := "none of the interfaces v0, w0 exists; there are: far-w0, lo, x0"; err == nil || err.Error() != want {
			return fmt.Errorf("error %w, want %q", err, want)
		}
		return nil
	})
}

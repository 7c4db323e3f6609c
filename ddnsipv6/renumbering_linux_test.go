package ddnsipv6

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// lan is a network namespace with a real router in it, and a real Caddy that
// publishes through a fake provider.
type lan struct {
	*inCaddy
	router *testenv.Router
	usable *usableTimes
}

// newLAN makes both; documentation prefixes are admitted.
func newLAN(t *testing.T) *lan {
	// Unlimited: each prefix leaves its addresses for a while.
	l := &lan{inCaddy: newInCaddy(t), router: testenv.NewRouter(t, "v0")}
	testenv.Sysctl(t, "net/ipv6/conf/v0/max_addresses", "0")
	testenv.Sysctl(t, "net/ipv6/conf/v0/use_tempaddr", "2")
	l.usable = watchUsable(t)
	return l
}

const admitted = `, "include": ["2001:db8::/32"]`

// prefix returns one of a number of documentation prefixes.
func prefix(n int) string { return fmt.Sprintf("2001:db8:%x::/64", n) }

// within tells whether an address is the stable one of a prefix.
func (l *lan) stableIn(n int, addr string) bool {
	ip := netip.MustParseAddr(addr)
	return netip.MustParsePrefix(prefix(n)).Contains(ip) && isEUI64(ip)
}

// awaitPrefix waits until nas has the stable address of a prefix, and no other.
func (l *lan) awaitPrefix(n int) string {
	l.t.Helper()
	var got []string
	testenv.Eventually(l.t, "the address in "+prefix(n), func() error {
		if got = l.aaaa("nas"); len(got) != 1 || !l.stableIn(n, got[0]) {
			return fmt.Errorf("nas has %v", got)
		}
		return nil
	})
	return got[0]
}

// expectWritten holds that only stable addresses of the prefixes were written.
func (l *lan) expectWritten() {
	l.t.Helper()
	l.change(func(f *fakeDNS) {
		for _, addr := range f.written {
			if ip := netip.MustParseAddr(addr); !isEUI64(ip) || !netip.MustParsePrefix("2001:db8::/32").Contains(ip) {
				l.t.Errorf("%s was published", addr)
			}
		}
	})
}

// usableTimes are the times at which the kernel reported addresses usable, in a
// watch of the test's own.
type usableTimes struct {
	mu    sync.Mutex
	times map[string]time.Time
}

func (u *usableTimes) of(addr string) (time.Time, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	at, ok := u.times[addr]
	return at, ok
}

// count returns how many addresses of their own the prefixes had, temporary
// ones aside.
func (u *usableTimes) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.times)
}

func watchUsable(t *testing.T) *usableTimes {
	t.Helper()
	conn, err := rtnetlink.Dial(&netlink.Config{Groups: unix.RTMGRP_IPV6_IFADDR})
	if err != nil {
		t.Fatal(err)
	}
	u := &usableTimes{times: make(map[string]time.Time)}
	done := make(chan struct{})
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	go func() {
		defer close(done)
		for {
			messages, _, err := conn.Receive()
			switch {
			case errors.Is(err, unix.ENOBUFS):
				continue
			case err != nil:
				return
			}
			now := time.Now()
			for _, m := range messages {
				a, ok := m.(*rtnetlink.AddressMessage)
				if !ok || a.Attributes == nil || Flags(a.Attributes.Flags)&(FlagTentative|FlagTemporary|FlagDeprecated) != 0 {
					continue
				}
				ip, ok := netip.AddrFromSlice(a.Attributes.Address)
				if !ok || !globalUnicast.Contains(ip) {
					continue
				}
				u.mu.Lock()
				if _, seen := u.times[ip.String()]; !seen {
					u.times[ip.String()] = now
				}
				u.mu.Unlock()
			}
		}
	}()
	return u
}

// TestRealRenumbering: with a real kernel and real router advertisements a new
// prefix replaces the old one, and nothing but stable, global addresses is ever
// published. The median from the kernel's word that an address is usable to the
// provider's SetRecords, the read before it included, is below 300 ms: what that
// guards against is a change that waits for a timer.
func TestRealRenumbering(t *testing.T) {
	if !testenv.Namespace(t) {
		return
	}
	l := newLAN(t)
	l.load("")
	const day = 24 * time.Hour
	// Neither a documentation prefix nor a private one is published.
	l.router.Advertise(testenv.Advertised{Prefix: prefix(1), Preferred: day, Valid: day}, testenv.Advertised{Prefix: "fd00:1::/64", Preferred: day, Valid: day})
	testenv.Eventually(t, "the addresses in the status", func() error {
		var usable, documentation, temporary, private bool
		for _, a := range l.status().Policies[0].Addresses {
			usable = usable || a.Usable
			documentation = documentation || a.Rejected == Documentation.String() && len(a.Flags) == 0
			temporary = temporary || slices.Contains(a.Flags, "temporary") && !slices.Contains(a.Flags, "tentative")
			private = private || strings.HasPrefix(a.Address, "fd00:1:") && a.Rejected == NotGlobal.String()
		}
		if usable || !documentation || !temporary || !private {
			return fmt.Errorf("%+v", l.status())
		}
		return nil
	})
	if _, sets, _ := l.counts(); sets > 0 {
		t.Fatalf("%d writes of what must not be published", sets)
	}

	l.load(admitted)
	l.awaitPrefix(1)
	rounds := 3
	if testenv.Long() {
		rounds = 20
	}
	var delays []time.Duration
	for n := 2; n < 2+rounds; n++ {
		l.router.Advertise(testenv.Advertised{Prefix: prefix(n), Preferred: day, Valid: day}, testenv.Advertised{Prefix: prefix(n - 1), Preferred: 0, Valid: day})
		addr := l.awaitPrefix(n)
		at, ok := l.usable.of(addr)
		if !ok {
			t.Fatalf("the kernel has not reported %s", addr)
		}
		l.change(func(f *fakeDNS) { delays = append(delays, f.sets[len(f.sets)-1].Sub(at)) })
	}
	slices.Sort(delays)
	median := delays[len(delays)/2]
	t.Logf("from usable to SetRecords: median %s, all %s", median, delays)
	if median > 300*time.Millisecond {
		t.Errorf("median %s", median)
	}
	l.expectWritten()
	if _, sets, _ := l.counts(); sets != rounds+1 {
		t.Errorf("%d writes for %d addresses", sets, rounds+1)
	}
}

// TestRealFlashRenumbering: a router that forgets the old prefix without ever
// deprecating it moves the name as well, once it has announced the new one twice.
func TestRealFlashRenumbering(t *testing.T) {
	if !testenv.Namespace(t) {
		return
	}
	l := newLAN(t)
	l.load(admitted)
	const day = 24 * time.Hour
	l.router.Advertise(testenv.Advertised{Prefix: prefix(2), Preferred: day, Valid: day})
	l.awaitPrefix(2)
	// The new address is worse by the order of several, which counts only
	// until the old one is dead.
	l.router.Advertise(testenv.Advertised{Prefix: prefix(3), Preferred: time.Hour, Valid: day})
	l.awaitPrefix(3)
	l.expectWritten()
	found := false
	for _, a := range l.status().Policies[0].Addresses {
		found = found || l.stableIn(2, a.Address) && a.Rejected == NotRefreshed.String()
	}
	if !found {
		t.Errorf("the old address is not rejected for its silence: %+v", l.status())
	}
	if _, sets, _ := l.counts(); sets != 2 {
		t.Errorf("%d writes", sets)
	}
}

// TestRealBurst: 50 renumberings in a minute lead to the right record, and to no
// more than one write per address that became usable.
func TestRealBurst(t *testing.T) {
	testenv.Time(t)
	if !testenv.Namespace(t) {
		return
	}
	l := newLAN(t)
	l.load(admitted)
	const day = 24 * time.Hour
	tick := time.NewTicker(1200 * time.Millisecond)
	defer tick.Stop()
	for n := 1; n <= 50; n++ {
		l.router.Advertise(testenv.Advertised{Prefix: prefix(n), Preferred: day, Valid: day}, testenv.Advertised{Prefix: prefix(n - 1), Preferred: 0, Valid: day})
		<-tick.C
	}
	l.awaitPrefix(50)
	_, sets, _ := l.counts()
	t.Logf("%d writes for %d addresses that became usable", sets, l.usable.count())
	// Most are deprecated again while the kernel still looks for duplicates.
	if settled := l.usable.count(); sets > settled || settled < 3 {
		t.Errorf("%d writes for %d addresses that became usable", sets, settled)
	}
	l.expectWritten()
}

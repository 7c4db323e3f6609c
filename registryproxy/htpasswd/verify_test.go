package htpasswd

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newTestVerifier(t testing.TB) *verifier {
	t.Helper()
	v, err := newVerifier()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// none is the network of a client whose address says nothing.
var none netip.Prefix

// TestMac: an HMAC that is used again, by many at once and after longer parts,
// is that of its own parts, and no others have the same.
func TestMac(t *testing.T) {
	v := newTestVerifier(t)
	long := strings.Repeat("x", 1000)
	four, six := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")
	logins := []struct {
		network        netip.Prefix
		user, password string
		hash           []byte
		name           string
	}{
		{none, "", "", nil, "0::0::"},
		{none, "ab", "c", nil, "2:ab:1:c:"},
		{none, "a", "bc", nil, "1:a:2:bc:"},
		{four, "a", "bc", nil, "192.0.2.1/32 1:a:2:bc:"},
		{six, "a", "bc", nil, "2001:db8::/64 1:a:2:bc:"},
		{none, "a", "b", []byte("c"), "1:a:1:b:1:c:"},
		{six, long, "b", []byte("c"), "2001:db8::/64 1000:" + long + ":1:b:1:c:"},
		{none, "a", long, nil, "1:a:1000:" + long + ":"},
	}
	want := make(map[fingerprint]string)
	for _, l := range logins {
		parts := [][]byte{[]byte(l.user), []byte(l.password)}
		if l.hash != nil {
			parts = append(parts, l.hash)
		}
		h := hmac.New(sha256.New, v.key)
		if l.network.IsValid() {
			address := l.network.Addr().As16()
			h.Write(append([]byte{byte(l.network.Bits())}, address[:]...))
		} else {
			h.Write([]byte{0xff})
		}
		for _, part := range parts {
			h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
			h.Write(part)
		}
		want[fingerprint(h.Sum(nil))] = l.name
	}
	if len(want) != len(logins) {
		t.Fatalf("%d of %d differ", len(want), len(logins))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				for _, l := range logins {
					if got := want[v.mac(l.network, l.user, l.password, l.hash)]; got != l.name {
						t.Errorf("the HMAC of %.40s is that of %.40q", l.name, got)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestVerifierRemembers(t *testing.T) {
	v := newTestVerifier(t)
	now := time.Now()
	v.now = func() time.Time { return now }
	hash, other := []byte(hashOfSecret(t)), []byte(hashOfSecret(t))
	failures := 0
	verify := func(password string) bool {
		ok, err := v.verify(t.Context(), none, "alice", password, hash, false, func() { failures++ })
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if verify("wrong") || v.isKnown(none, "alice", "wrong", hash) || failures != 1 {
		t.Errorf("a wrong password passes, or is remembered, or is not counted (%d)", failures)
	}
	if v.isKnown(none, "alice", "secret", hash) {
		t.Error("a login is known that never was")
	}
	if !v.isWrong(none, "alice", "wrong", hash) || v.isWrong(none, "alice", "other", hash) || v.isWrong(none, "alice", "wrong", other) {
		t.Error("a failure is not remembered, or one that never was")
	}
	if !verify("secret") || !v.isKnown(none, "alice", "secret", hash) {
		t.Error("a login is not remembered")
	}
	// Once the stored hash is another, the login is none any more.
	if v.isKnown(none, "alice", "secret", other) {
		t.Error("a login outlives the stored hash")
	}
	elsewhere := netip.MustParsePrefix("192.0.2.1/32")
	if v.isKnown(elsewhere, "alice", "secret", hash) || v.isWrong(elsewhere, "alice", "wrong", hash) {
		t.Error("strangers elsewhere are told what is known")
	}
	// Length prefixes: the same bytes, cut elsewhere.
	if v.isKnown(none, "alices", "ecret", hash) || v.isKnown(none, "alic", "esecret", hash) {
		t.Error("user and password run into one another")
	}
	// Who is at work stays known.
	for range 10 {
		now = now.Add(cacheTime - time.Minute)
		if !v.isKnown(none, "alice", "secret", hash) {
			t.Fatal("a login is forgotten while it is used")
		}
	}
	now = now.Add(cacheTime + time.Second)
	if v.isKnown(none, "alice", "secret", hash) {
		t.Error("a login is remembered for ever")
	}
	if v.isWrong(none, "alice", "wrong", hash) {
		t.Error("a failure is remembered for ever")
	}
}

// TestVerifierShares: equal requests at once cost one bcrypt run, and one
// failure.
func TestVerifierShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVerifier(t)
		hash := []byte(hashOfSecret(t))
		// No run begins until all requests have come.
		held := int64(0)
		for v.runs.TryAcquire(1) {
			held++
		}
		failures := 0
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				if ok, err := v.verify(t.Context(), none, "alice", "wrong", hash, false, func() { failures++ }); ok || err != nil {
					t.Errorf("%v %v", ok, err)
				}
			})
		}
		synctest.Wait()
		v.runs.Release(held)
		group.Wait()
		if failures != 1 {
			t.Errorf("%d runs, want 1", failures)
		}
	})
}

// TestVerifierBound: beyond the room there is, a login is refused at once.
func TestVerifierBound(t *testing.T) {
	v := newTestVerifier(t)
	hash := []byte(hashOfSecret(t))
	for v.room.TryAcquire(1) {
	}
	_, err := v.verify(t.Context(), none, "alice", "secret", hash, false, func() { t.Error("counted as a failure") })
	if !errors.Is(err, errBusy) {
		t.Errorf("got %v, want errBusy", err)
	}
	// Strangers can't take the place of familiar clients.
	if ok, err := v.verify(t.Context(), none, "alice", "secret", hash, true, func() {}); !ok || err != nil {
		t.Errorf("a familiar client: %v %v", ok, err)
	}
	v.room.Release(1)
	if ok, err := v.verify(t.Context(), none, "alice", "secret", hash, false, func() {}); !ok || err != nil {
		t.Errorf("with room again: %v %v", ok, err)
	}
}

// at is a login to an account from an address.
func at(addr, account string) login { return login{networkOf(netip.MustParseAddr(addr)), account} }

func TestThrottle(t *testing.T) {
	th, err := newThrottle()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	attack := at("2001:db8:1:2::1", "alice")
	for i := range failBurst {
		if wait := th.wait(now, attack); wait != 0 {
			t.Fatalf("attempt %d must wait %v", i+1, wait)
		}
		th.failed(now, attack)
	}
	for _, tc := range []struct {
		name, addr, user string
		throttled        bool
	}{
		{"the same again", "2001:db8:1:2::1", "alice", true},
		{"the same client as another user", "2001:db8:1:2::1", "bob", true},
		{"another address of the same /64", "2001:db8:1:2:ffff::9", "bob", true},
		{"another client for the same user", "198.51.100.7", "alice", true},
		{"another /64, another user", "2001:db8:1:3::1", "bob", false},
		{"another IPv4 client", "198.51.100.7", "bob", false},
	} {
		wait := th.wait(now, at(tc.addr, tc.user))
		if (wait > 0) != tc.throttled || wait > failEvery {
			t.Errorf("%s: waits %v", tc.name, wait)
		}
	}
	if wait := th.wait(now.Add(failEvery), attack); wait != 0 {
		t.Errorf("after %v: waits %v", failEvery, wait)
	}
	// Guesses that come at once, when one may be tried, are paid for afterwards.
	for range 9 {
		th.failed(now.Add(failEvery), attack)
	}
	if wait := th.wait(now.Add(failEvery), attack); wait != 9*failEvery {
		t.Errorf("after nine at once: waits %v", wait)
	}

	// What all clients may share does not count: a proxy, a bridge's gateway.
	for _, shared := range []string{"127.0.0.1", "::1", "172.17.0.1", "192.168.1.1", "fd00::1", "fe80::1%eth0", "::ffff:10.0.0.1"} {
		for i := range 3 * failBurst {
			th.failed(now, at(shared, "nobody"+string(rune('a'+i))))
		}
		if wait := th.wait(now, at(shared, "carol")); wait != 0 {
			t.Errorf("failures behind %s lock carol out for %v", shared, wait)
		}
	}
	if wait := th.wait(now, login{networkOf(netip.Addr{}), "carol"}); wait != 0 {
		t.Errorf("a client on a unix socket waits %v", wait)
	}
}

// TestFamiliar: where an account has logged in from, strangers who fail elsewhere, or
// with other names, don't lock it out; its own failures there count all the same.
func TestFamiliar(t *testing.T) {
	th, err := newThrottle()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	const home, stranger, proxy = "2001:db8:1:2::1", "198.51.100.7", "::1"
	th.succeeded(at(home, "alice"))
	th.succeeded(at(proxy, "alice"))
	for range failBurst {
		th.failed(now, at(stranger, "alice"))
		th.failed(now, at(home, "bob"))
	}
	for _, tc := range []struct {
		name, addr, account string
		throttled           bool
	}{
		{"alice at home", home, "alice", false},
		{"alice at another machine at home", "2001:db8:1:2::2", "alice", false},
		{"alice elsewhere", "203.0.113.1", "alice", true},
		{"alice behind the proxy, as anybody may be", proxy, "alice", true},
		{"carol, who has never logged in, at home", home, "carol", true},
	} {
		if wait := th.wait(now, at(tc.addr, tc.account)); (wait > 0) != tc.throttled {
			t.Errorf("%s: waits %v", tc.name, wait)
		}
	}
	for range failBurst {
		th.failed(now, at(home, "alice"))
	}
	if th.wait(now, at(home, "alice")) == 0 {
		t.Error("guesses from home are not counted")
	}
	// Familiar accounts are no way to more guesses with other names.
	if wait := th.wait(now, at(home, "carol")); wait <= failBurst*failEvery {
		t.Errorf("carol waits %v only", wait)
	}
}

func BenchmarkKnown(b *testing.B) {
	v := newTestVerifier(b)
	hash := []byte(hashOfSecret(b))
	if ok, err := v.verify(b.Context(), none, "alice", "secret", hash, false, func() {}); !ok || err != nil {
		b.Fatal(ok, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !v.isKnown(none, "alice", "secret", hash) {
			b.Fatal("not known")
		}
	}
}

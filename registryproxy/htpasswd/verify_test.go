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

// TestMac: an HMAC that is used again, by many at once and after longer parts,
// is that of its own parts, and no others have the same.
func TestMac(t *testing.T) {
	v := newTestVerifier(t)
	long := strings.Repeat("x", 1000)
	logins := []struct {
		user, password string
		hash           []byte
		name           string
	}{
		{"", "", nil, "0::0::"},
		{"ab", "c", nil, "2:ab:1:c:"},
		{"a", "bc", nil, "1:a:2:bc:"},
		{"a", "b", []byte("c"), "1:a:1:b:1:c:"},
		{long, "b", []byte("c"), "1000:" + long + ":1:b:1:c:"},
		{"a", long, nil, "1:a:1000:" + long + ":"},
	}
	want := make(map[fingerprint]string)
	for _, l := range logins {
		parts := [][]byte{[]byte(l.user), []byte(l.password)}
		if l.hash != nil {
			parts = append(parts, l.hash)
		}
		h := hmac.New(sha256.New, v.key)
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
					if got := want[v.mac(l.user, l.password, l.hash)]; got != l.name {
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
		ok, err := v.verify(t.Context(), "alice", password, hash, false, func() { failures++ })
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if verify("wrong") || v.isKnown("alice", "wrong", hash) || failures != 1 {
		t.Errorf("a wrong password passes, or is remembered, or is not counted (%d)", failures)
	}
	if v.isKnown("alice", "secret", hash) {
		t.Error("a login is known that never was")
	}
	if !v.isWrong("alice", "wrong", hash) || v.isWrong("alice", "other", hash) || v.isWrong("alice", "wrong", other) {
		t.Error("a failure is not remembered, or one that never was")
	}
	if !verify("secret") || !v.isKnown("alice", "secret", hash) {
		t.Error("a login is not remembered")
	}
	// Once the stored hash is another, the login is none any more.
	if v.isKnown("alice", "secret", other) {
		t.Error("a login outlives the stored hash")
	}
	// Length prefixes: the same bytes, cut elsewhere.
	if v.isKnown("alices", "ecret", hash) || v.isKnown("alic", "esecret", hash) {
		t.Error("user and password run into one another")
	}
	// Who is at work stays known.
	for range 10 {
		now = now.Add(cacheTime - time.Minute)
		if !v.isKnown("alice", "secret", hash) {
			t.Fatal("a login is forgotten while it is used")
		}
	}
	now = now.Add(cacheTime + time.Second)
	if v.isKnown("alice", "secret", hash) {
		t.Error("a login is remembered for ever")
	}
	if v.isWrong("alice", "wrong", hash) {
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
				if ok, err := v.verify(t.Context(), "alice", "wrong", hash, false, func() { failures++ }); ok || err != nil {
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
	_, err := v.verify(t.Context(), "alice", "secret", hash, false, func() { t.Error("counted as a failure") })
	if !errors.Is(err, errBusy) {
		t.Errorf("got %v, want errBusy", err)
	}
	// Strangers can't take the place of familiar clients.
	if ok, err := v.verify(t.Context(), "alice", "secret", hash, true, func() {}); !ok || err != nil {
		t.Errorf("a familiar client: %v %v", ok, err)
	}
	v.room.Release(1)
	if ok, err := v.verify(t.Context(), "alice", "secret", hash, false, func() {}); !ok || err != nil {
		t.Errorf("with room again: %v %v", ok, err)
	}
}

func TestThrottle(t *testing.T) {
	th, err := newThrottle()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	addr := netip.MustParseAddr
	attacker := addr("2001:db8:1:2::1")
	for i := range failBurst {
		if wait := th.wait(now, attacker, "alice"); wait != 0 {
			t.Fatalf("attempt %d must wait %v", i+1, wait)
		}
		th.failed(now, attacker, "alice")
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
		wait := th.wait(now, addr(tc.addr), tc.user)
		if (wait > 0) != tc.throttled || wait > failEvery {
			t.Errorf("%s: waits %v", tc.name, wait)
		}
	}
	if wait := th.wait(now.Add(failEvery), attacker, "alice"); wait != 0 {
		t.Errorf("after %v: waits %v", failEvery, wait)
	}

	// What all clients may share does not count: a proxy, a bridge's gateway.
	for _, shared := range []string{"127.0.0.1", "::1", "172.17.0.1", "192.168.1.1", "fd00::1", "fe80::1%eth0", "::ffff:10.0.0.1"} {
		for i := range 3 * failBurst {
			th.failed(now, addr(shared), "nobody"+string(rune('a'+i)))
		}
		if wait := th.wait(now, addr(shared), "carol"); wait != 0 {
			t.Errorf("failures behind %s lock carol out for %v", shared, wait)
		}
	}
	if wait := th.wait(now, netip.Addr{}, "carol"); wait != 0 {
		t.Errorf("a client on a unix socket waits %v", wait)
	}
}

// TestFamiliar: where an account has logged in from, neither strangers elsewhere nor
// neighbours in the same network lock it out; guesses from there count all the same.
func TestFamiliar(t *testing.T) {
	th, err := newThrottle()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	home, stranger, proxy := netip.MustParseAddr("2001:db8:1:2::1"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("::1")
	th.succeeded(home, "alice")
	th.succeeded(proxy, "alice")
	for range failBurst {
		th.failed(now, stranger, "alice")
		th.failed(now, home.Next(), "bob")
	}
	for _, tc := range []struct {
		name      string
		addr      netip.Addr
		account   string
		throttled bool
	}{
		{"alice at home", home, "alice", false},
		{"alice at another machine at home", home.Next(), "alice", false},
		{"alice elsewhere", netip.MustParseAddr("203.0.113.1"), "alice", true},
		{"alice behind the proxy, as anybody may be", proxy, "alice", true},
		{"carol, who has never logged in, at home", home, "carol", true},
	} {
		if wait := th.wait(now, tc.addr, tc.account); (wait > 0) != tc.throttled {
			t.Errorf("%s: waits %v", tc.name, wait)
		}
	}
	for range failBurst {
		th.failed(now, home, "alice")
	}
	if th.wait(now, home, "alice") == 0 {
		t.Error("guesses from home are not counted")
	}
}

func BenchmarkKnown(b *testing.B) {
	v := newTestVerifier(b)
	hash := []byte(hashOfSecret(b))
	if ok, err := v.verify(b.Context(), "alice", "secret", hash, false, func() {}); !ok || err != nil {
		b.Fatal(ok, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !v.isKnown("alice", "secret", hash) {
			b.Fatal("not known")
		}
	}
}

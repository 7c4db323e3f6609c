package htpasswd

import (
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

const (
	// failBurst wrong passwords may come at once, and one more each failEvery.
	failBurst = 10
	failEvery = 10 * time.Second
	// throttleSize bounds how many addresses and users are counted.
	throttleSize = 16384
)

// throttle counts failed logins by client address and by account. Where an account
// has logged in from before, its failures count for itself: strangers who fail
// elsewhere, or neighbours in the same network, don't lock it out there.
type throttle struct {
	mu       sync.Mutex // guards the making of limiters
	fails    *lru.Cache[string, *rate.Limiter]
	familiar *lru.Cache[string, struct{}] // accounts and their networks
}

func newThrottle() (*throttle, error) {
	fails, err := lru.New[string, *rate.Limiter](throttleSize)
	if err != nil {
		return nil, err
	}
	familiar, err := lru.New[string, struct{}](throttleSize)
	return &throttle{fails: fails, familiar: familiar}, err
}

// succeeded remembers where an account logs in from.
func (t *throttle) succeeded(addr netip.Addr, account string) {
	if network, ok := networkOf(addr); ok {
		t.familiar.Add(pairKey(account, network), struct{}{})
	}
}

// isFamiliar reports whether an account has logged in from there before.
func (t *throttle) isFamiliar(addr netip.Addr, account string) bool {
	network, ok := networkOf(addr)
	if !ok {
		return false
	}
	_, ok = t.familiar.Get(pairKey(account, network))
	return ok
}

// wait returns how long a client at addr must wait before it may try to log in
// to account. Zero: it need not.
func (t *throttle) wait(now time.Time, addr netip.Addr, account string) time.Duration {
	var longest time.Duration
	for _, key := range t.keys(addr, account) {
		limiter, ok := t.fails.Get(key)
		if !ok {
			continue
		}
		if missing := 1 - limiter.TokensAt(now); missing > 0 {
			longest = max(longest, time.Duration(missing*float64(failEvery)))
		}
	}
	return longest
}

// failed counts a failure.
func (t *throttle) failed(now time.Time, addr netip.Addr, account string) {
	for _, key := range t.keys(addr, account) {
		t.limiter(key).AllowN(now, 1)
	}
}

func (t *throttle) limiter(key string) *rate.Limiter {
	t.mu.Lock()
	defer t.mu.Unlock()
	if limiter, ok := t.fails.Get(key); ok {
		return limiter
	}
	limiter := rate.NewLimiter(rate.Every(failEvery), failBurst)
	t.fails.Add(key, limiter)
	return limiter
}

// keys returns what a failure counts against.
func (t *throttle) keys(addr netip.Addr, account string) []string {
	network, ok := networkOf(addr)
	switch {
	case !ok:
		return []string{"account " + account}
	case t.isFamiliar(addr, account):
		return []string{pairKey(account, network)}
	}
	return []string{"account " + account, "addr " + network.String()}
}

func pairKey(account string, network netip.Prefix) string {
	return "pair " + network.String() + " " + account
}

// networkOf returns what stands for a client: its address, and of an IPv6 client
// the /64 that it has to choose from. There is none for loopback and private
// addresses: they may belong to a proxy or to the gateway of a bridge, behind which
// all clients have the same.
func networkOf(addr netip.Addr) (netip.Prefix, bool) {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() || addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() {
		return netip.Prefix{}, false
	}
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	return prefix, err == nil
}

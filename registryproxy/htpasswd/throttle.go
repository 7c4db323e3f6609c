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

// throttle counts failed logins by client address and by account.
type throttle struct {
	mu    sync.Mutex // guards the making of limiters
	fails *lru.Cache[string, *rate.Limiter]
}

func newThrottle() (*throttle, error) {
	fails, err := lru.New[string, *rate.Limiter](throttleSize)
	return &throttle{fails: fails}, err
}

// wait returns how long a client at addr must wait before it may try to log in
// to account. Zero: it need not.
func (t *throttle) wait(now time.Time, addr netip.Addr, account string) time.Duration {
	var longest time.Duration
	for _, key := range throttleKeys(addr, account) {
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
	for _, key := range throttleKeys(addr, account) {
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

// throttleKeys returns what a failure counts against. An IPv6 client has a
// whole /64 to choose from. Loopback and private addresses don't count: they
// may belong to a proxy or to the gateway of a bridge, behind which all
// clients have the same.
func throttleKeys(addr netip.Addr, account string) []string {
	keys := []string{"account " + account}
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() || addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() {
		return keys
	}
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return keys
	}
	return append(keys, "addr "+prefix.String())
}

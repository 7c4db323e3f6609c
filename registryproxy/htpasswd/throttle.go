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

// throttle counts failed logins by client network and by account. An account that
// has logged in from a network before has a count of its own there: strangers who
// fail elsewhere, or with other names, don't lock it out.
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

// login is who tries to log in, and from where.
type login struct {
	network netip.Prefix // see networkOf
	account string       // stands for a user and the user's hash
}

func (l login) pair() string { return "pair " + l.network.String() + " " + l.account }

// succeeded remembers where an account logs in from.
func (t *throttle) succeeded(l login) {
	if l.network.IsValid() {
		t.familiar.Add(l.pair(), struct{}{})
	}
}

// isFamiliar reports whether an account has logged in from there before.
func (t *throttle) isFamiliar(l login) bool {
	return l.network.IsValid() && t.familiar.Contains(l.pair())
}

// wait returns how long a client must wait before it may try to log in. Zero: it
// need not.
func (t *throttle) wait(now time.Time, l login) time.Duration {
	keys := l.keys()
	if t.isFamiliar(l) {
		keys = []string{l.pair()}
	}
	var longest time.Duration
	for _, key := range keys {
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

// failed counts a failure. Of several that were tried at once each counts: the next
// must wait for all of them.
func (t *throttle) failed(now time.Time, l login) {
	keys := l.keys()
	if t.isFamiliar(l) {
		keys = append(keys, l.pair())
	}
	for _, key := range keys {
		t.limiter(key).ReserveN(now, 1)
	}
}

// keys returns what a failure counts against.
func (l login) keys() []string {
	keys := []string{"account " + l.account}
	if l.network.IsValid() {
		keys = append(keys, "network "+l.network.String())
	}
	return keys
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

// networkOf returns what stands for a client: its address, and of an IPv6 client
// the /64 that it has to choose from. It is invalid for loopback and private
// addresses: they may belong to a proxy or to the gateway of a bridge, behind which
// all clients have the same.
func networkOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() || addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() {
		return netip.Prefix{}
	}
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, _ := addr.Prefix(bits) // fails beyond the address's own bits only
	return prefix
}

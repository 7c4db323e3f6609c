package ddnsipv6

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

const (
	// A failed call to a provider is repeated after 5 s to 10 min: the last
	// one is 8 min, and a quarter of that.
	firstRetry = 5 * time.Second
	lastRetry  = 8 * time.Minute

	// Changes that follow one another within a second are gathered, for ten
	// seconds at most: a renumbering is a burst.
	quiet     = time.Second
	gatherFor = 10 * time.Second

	// on_missing remove waits that long, since a renumbering may leave the
	// host without an address for a moment.
	missingFor = time.Minute
)

// backoff returns how long to wait after the given number of failures in a row,
// with up to a quarter more, so that many hosts don't come back at once.
func backoff(failures int) time.Duration {
	d := lastRetry
	if failures = max(failures, 1); failures < 8 {
		d = firstRetry << (failures - 1)
	}
	return d + rand.N(d/4) //nolint:gosec // jitter needs no secrecy
}

// burst tells when to act on a change: at once on the first one, and on those
// that follow closely together.
type burst struct {
	last, limit time.Time // the last change, and the end of the gathering
}

// change notes a change, and returns when to act on it.
func (b *burst) change(now time.Time) time.Time {
	first := now.Sub(b.last) > quiet
	b.last = now
	if first {
		b.limit = now.Add(gatherFor)
		return now
	}
	return earlier(now.Add(quiet), b.limit)
}

// acted notes that what was gathered is being written.
func (b *burst) acted(now time.Time) { b.limit = now.Add(gatherFor) }

// earlier returns the earlier of two times. The zero time means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// duty is what a name asks for.
type duty struct {
	// Act tells that its records are to be looked at now.
	Act bool
	// Keepalive tells that they are to be written even if they are right.
	Keepalive bool
	// Next is when to ask again. Zero: not before something changes.
	Next time.Time
}

// due returns what a name asks for now. wanted is the address that it shall
// have, or the zero Addr; with remove, it shall have none. settled is when a
// change of wanted may be written.
func due(s *standing, wanted netip.Addr, remove bool, settled time.Time, p *Policy, now time.Time) duty {
	if !wanted.IsValid() && !remove {
		return duty{}
	}
	next := s.Verified.Add(time.Duration(p.VerifyInterval))
	alive := s.Written.Add(p.keepalive)
	switch {
	case remove || s.Written.IsZero():
		alive = time.Time{}
	case s.TTL != 0 && s.TTL != time.Duration(p.TTL):
		alive = now
	case p.keepalive == 0:
		alive = time.Time{}
	}
	switch {
	case s.Forced:
		next = now
	case s.Failures > 0:
		next = s.RetryAt
	case wanted != s.Address || s.Uncertain || s.Provider != p.provider.name:
		next = settled
	case s.Verified.IsZero():
		next = now
	default:
		next = earlier(earlier(next, alive), s.CheckAt)
	}
	if next.After(now) {
		return duty{Next: next}
	}
	return duty{Act: true, Keepalive: !alive.IsZero() && !alive.After(now)}
}

package ddnsipv6

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

const (
	// dnsDelay is how long a change may take to reach the authoritative servers.
	dnsDelay = 30 * time.Second

	// longestWait bounds what a provider may ask for by Retry-After.
	longestWait = 24 * time.Hour
)

// confirmed notes that a name's records, as they were read, are what they shall
// be; or as near to that as the provider can bring them.
func (u *updater) confirmed(ctx context.Context, zone string, t *task, set RRset) {
	u.note(ctx, zone, t, func(s *standing) {
		s.Published = set.addresses()
		s.Failures, s.LastErr, s.RetryAt, s.CheckAt = 0, nil, time.Time{}, time.Time{}
		if extra := set.others(t.wanted); len(extra) > 0 {
			s.LastErr = fmt.Errorf("provider %s can't delete the other AAAA records among %v", u.policy.provider.name, s.Published)
		}
	})
}

// accepted notes that a provider which can't be read took what it was given.
// Whether it did shows in DNS after a while.
func (u *updater) accepted(ctx context.Context, zone string, t *task) {
	u.note(ctx, zone, t, func(s *standing) {
		s.Published = nil
		s.CheckAt = time.Now().Add(max(dnsDelay, backoff(s.Failures)))
		s.RetryAt = s.CheckAt
	})
}

// note writes down a success, and tells of it.
func (u *updater) note(ctx context.Context, zone string, t *task, f func(*standing)) {
	t.done = true
	var (
		c       confirmation
		changed bool
		old     []netip.Addr
		hinted  time.Time
	)
	t.entry.change(func(s *standing) {
		s.Address, s.Zone, s.Provider, s.Verified = t.wanted, zone, u.policy.provider.name, u.began
		s.Uncertain, s.Forced = false, false
		if t.wanted.IsValid() {
			s.Host = u.current
		}
		if s.Written.IsZero() {
			s.Written = u.began // found as it shall be: keepalive counts from here
		}
		if s.TTL == 0 {
			s.TTL = time.Duration(u.policy.TTL)
		}
		changed, old = s.Untold, s.Old
		s.Untold, s.Old = false, nil
		if changed {
			s.Updates++
			hinted, s.Hinted = s.Hinted, time.Time{}
		}
		f(s)
		c = s.confirmation
	})
	t.logged = ""
	if !hinted.IsZero() {
		u.ledger.delay.Observe(time.Since(hinted).Seconds())
	}
	u.tell(t, zone, changed, old)
	if err := save(ctx, u.storage, t.target, c); err != nil && ctx.Err() == nil {
		u.logger.Warn("state not stored; after a restart the records are read again", zap.String("name", t.name()), zap.Error(err))
	}
}

// tell logs a success: what has changed at Info, the rest at Debug.
func (u *updater) tell(t *task, zone string, changed bool, old []netip.Addr) {
	fields := []zap.Field{zap.String("zone", zone), zap.String("name", t.name()), zap.String("type", "AAAA"), zap.String("addr", text(t.wanted))}
	switch {
	case !changed:
		u.logger.Debug("record verified", fields...)
	case len(old) == 1 && old[0] == t.wanted:
		u.logger.Debug("record written again", fields...)
	default:
		u.logger.Info("record updated", append(fields, zap.Stringers("old", old))...)
		u.events.emit(eventUpdated, map[string]any{"name": t.name(), "old": firstOf(old), "new": text(t.wanted)})
	}
}

// failed notes that a name's records could not be brought to what they shall
// be, and when to try again.
func (u *updater) failed(ctx context.Context, t *task, err error) {
	t.done = true
	if ctx.Err() != nil {
		return // not the provider's fault: this config ends
	}
	var (
		wait     time.Duration
		failures int
		old      []netip.Addr
	)
	t.entry.change(func(s *standing) {
		s.Failures++
		s.FailedUpdates++
		wait = max(backoff(s.Failures), min(retryAfter(err), longestWait))
		s.LastErr, s.RetryAt, s.Forced = err, time.Now().Add(wait), false
		failures = s.Failures
		if old = t.before; s.Untold {
			old = s.Old
		}
	})
	level := zap.DebugLevel
	if t.logged != err.Error() {
		t.logged, level = err.Error(), zap.WarnLevel
	}
	if entry := u.logger.Check(level, "record not updated; will retry"); entry != nil {
		entry.Write(zap.String("name", t.name()), zap.String("type", "AAAA"), zap.String("addr", text(t.wanted)),
			zap.Error(err), zap.Duration("retry_in", wait))
	}
	if failures == 1 {
		u.events.emit(eventFailed, map[string]any{"name": t.name(), "old": firstOf(old), "new": text(t.wanted), "error": err.Error()})
	}
}

// text writes an address, or nothing if there is none.
func text(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

// firstOf writes the first of some addresses, or nothing.
func firstOf(ips []netip.Addr) string {
	if len(ips) == 0 {
		return ""
	}
	return text(ips[0])
}

package ddnsipv6

import (
	"cmp"
	"context"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// look asks the sources, selects an address and notes what the names shall
// have. Where the sources don't know, all stays as it was.
func (u *updater) look(ctx context.Context, hinted time.Time) {
	host, judged, err := u.ask(ctx)
	if ctx.Err() != nil {
		return
	}
	now, found := time.Now(), host.IP.IsValid()
	u.lookAt = time.Time{}
	if u.failures++; err == nil {
		u.failures = 0
	} else {
		u.lookAt = now.Add(backoff(u.failures))
	}
	u.mu.Lock()
	u.view.Err = err
	u.view.Judged, u.spare = judged, u.view.Judged
	switch {
	case found:
		u.view.Host, u.view.MissingSince = host, time.Time{}
		u.current = host.IP
	case err != nil:
		u.view.MissingSince = time.Time{}
	default:
		u.view.Host = Address{}
		if u.view.MissingSince.IsZero() {
			u.view.MissingSince = now
		}
	}
	u.mu.Unlock()
	u.report(found)
	if found || err == nil {
		u.want(host, hinted, now)
	}
}

// ask returns the first source's address that is usable, or the zero Address if
// there is none. judged is what all sources returned that come before, and err
// why one of them does not know.
func (u *updater) ask(ctx context.Context) (host Address, judged []Judged, err error) {
again:
	for interruptions := 0; ; {
		judged, err = u.spare[:0], nil
		for i, s := range u.sources {
			if u.askOne(ctx, i, interruptions < maxInterruptions) {
				interruptions++
				continue again
			}
			if s.err != nil {
				err = cmp.Or(err, s.err)
				continue
			}
			var found bool
			host, found, judged = Select(judged, s.addresses, u.policy.filter, &s.sightings, u.current)
			if found {
				return host, judged, err
			}
		}
		return Address{}, judged, err
	}
}

// askOne asks a source. Where it may be interrupted it is left alone once one
// before it has news.
func (u *updater) askOne(ctx context.Context, i int, interruptible bool) (interrupted bool) {
	if !interruptible {
		u.sources[i].look(ctx)
		return false
	}
	asks, cancel := context.WithCancel(ctx)
	defer cancel()
	u.asking.Store(&asking{i, cancel})
	defer u.asking.Store(nil)
	for _, before := range u.sources[:i] {
		if before.stale.Load() { // its hint came before the line above
			return true
		}
	}
	s := u.sources[i]
	s.look(asks)
	if asks.Err() != nil && ctx.Err() == nil {
		s.stale.Store(true)
		return true
	}
	return false
}

// report logs when a look turns out otherwise than the one before.
func (u *updater) report(found bool) {
	if u.logger.Core().Enabled(zap.DebugLevel) {
		for _, j := range u.view.Judged {
			u.logger.Debug("address judged", zap.Stringer("addr", j.IP), zap.String("interface", j.Interface),
				zap.Stringer("flags", j.Flags), zap.Stringer("reason", j.Reason))
		}
	}
	message, cause, rejected := "", "", []string{}
	switch {
	case u.view.Err != nil && found:
		message, cause = "a source does not know this host's address", u.view.Err.Error()
	case u.view.Err != nil:
		message, cause = "this host's address is not known; the records stay until it is", u.view.Err.Error()
	case !u.view.MissingSince.IsZero():
		message = "this host has no usable IPv6 address; waiting for one"
		for _, j := range u.view.Judged {
			rejected = append(rejected, j.IP.String()+" ("+j.Interface+"): "+j.Reason.String())
		}
	}
	// Which addresses are rejected changes with every look.
	text := message + cause
	if text == u.lookErr {
		return
	}
	u.lookErr = text
	if message == "" {
		u.logger.Info("this host's address is known again", zap.Stringer("addr", u.view.Host.IP))
		return
	}
	u.logger.Warn(message, zap.String("error", cause), zap.Strings("rejected", rejected), zap.Strings("names", u.names()))
}

// want notes what each name shall have, now that the host's address is host.
func (u *updater) want(host Address, hinted, now time.Time) {
	changed := false
	for _, j := range u.jobs {
		var wanted netip.Addr
		var problem error
		if host.IP.IsValid() {
			wanted, problem = j.device.Address(host)
		}
		if problem != nil && (j.problem == nil || j.problem.Error() != problem.Error()) {
			u.logger.Warn("the device has no address", zap.String("name", j.name()), zap.Error(problem))
		}
		_, mine := j.entry.look(u)
		j.entry.change(func(s *standing) {
			if !mine || !wanted.IsValid() {
				return
			}
			fresh := wanted != s.Wanted
			if fresh { // a new address deserves a try at once
				s.Wanted, s.Hinted = wanted, hinted
				s.Failures, s.RetryAt = 0, time.Time{}
			}
			if wanted == s.Address && !s.Uncertain {
				s.Hinted = time.Time{} // it is published already
			} else if fresh || wanted != j.wanted {
				changed = true
			}
		})
		j.mu.Lock()
		j.wanted, j.problem = wanted, problem
		j.mu.Unlock()
	}
	if !changed {
		return
	}
	settled := u.burst.change(now)
	for _, j := range u.jobs {
		j.settled = settled
	}
}

func (u *updater) names() []string {
	names := make([]string, len(u.jobs))
	for i, j := range u.jobs {
		names[i] = j.name()
	}
	return names
}

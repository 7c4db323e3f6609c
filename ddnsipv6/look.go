package ddnsipv6

import (
	"cmp"
	"context"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// lookTimeout bounds a look at a source; a slow one asks a service.
const lookTimeout = 30 * time.Second

// look asks the sources, selects an address and notes what the names shall
// have. Where the sources don't know, all stays as it was.
func (u *updater) look(ctx context.Context, hinted time.Time) {
	host, judged, err := u.ask(ctx)
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
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
	case err != nil:
		u.view.MissingSince = time.Time{}
	case host.IP.IsValid():
		u.view.Host, u.view.MissingSince = host, time.Time{}
		u.current = host.IP
	default:
		u.view.Host = Address{}
		if u.view.MissingSince.IsZero() {
			u.view.MissingSince = now
		}
	}
	u.mu.Unlock()
	u.report()
	if err == nil {
		u.want(host, hinted, now)
	}
}

// ask returns the first source's address that is usable, or the zero Address if
// all sources know that there is none. judged is what all of them returned.
func (u *updater) ask(ctx context.Context) (host Address, judged []Judged, err error) {
	judged = u.spare[:0]
	for i, s := range u.policy.sources {
		addresses, askErr := func() ([]Address, error) {
			ctx, cancel := context.WithTimeout(ctx, lookTimeout)
			defer cancel()
			return bounded(ctx, s.Addresses)
		}()
		if askErr != nil {
			err = cmp.Or(err, askErr)
			continue
		}
		u.sightings[i].Observe(addresses)
		var found bool
		host, found, judged = Select(judged, addresses, u.policy.filter, &u.sightings[i], u.current)
		if found {
			return host, judged, nil
		}
	}
	return Address{}, judged, err
}

// report logs when a look turns out otherwise than the one before.
func (u *updater) report() {
	if u.logger.Core().Enabled(zap.DebugLevel) {
		for _, j := range u.view.Judged {
			u.logger.Debug("address judged", zap.Stringer("addr", j.IP), zap.String("interface", j.Interface),
				zap.Stringer("flags", j.Flags), zap.Stringer("reason", j.Reason))
		}
	}
	text := ""
	switch {
	case u.view.Err != nil:
		text = u.view.Err.Error()
	case !u.view.MissingSince.IsZero():
		text = "none of the addresses is usable"
	}
	if text == u.lookErr {
		return
	}
	u.lookErr = text
	if text == "" {
		u.logger.Info("this host's address is known again", zap.Strings("names", u.names()))
		return
	}
	u.logger.Warn("this host's address is not known; waiting for one",
		zap.String("error", text), zap.Int("rejected", len(u.view.Judged)), zap.Strings("names", u.names()))
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
		if wanted != j.wanted {
			j.hinted = time.Time{}
			j.entry.change(func(s *standing) {
				if wanted != s.Address { // else it is published already
					changed, j.hinted = true, hinted
				}
				if wanted != s.Tried { // a new address deserves a try at once
					s.Failures, s.RetryAt = 0, time.Time{}
				}
			})
		}
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

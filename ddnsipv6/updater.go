package ddnsipv6

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// updater is the loop that keeps a policy's records.
type updater struct {
	policy  *Policy
	logger  *zap.Logger
	storage certmagic.Storage
	events  *events
	ledger  *ledger

	hints    chan time.Time     // when the first unheeded hint came
	requests chan chan struct{} // from the operator; closed when done
	jobs     []*job
	burst    burst
	// began is when the reconciliation that runs began: names that are read
	// together fall due together.
	began time.Time

	sources  []*asked
	asking   atomic.Pointer[asking]
	current  netip.Addr // the host's address that is published, or was last
	spare    []Judged   // memory for the next look
	lookErr  string     // what was logged last
	lookAt   time.Time  // when to look again after a failure, else zero
	failures int        // of looks, in a row

	mu   sync.Mutex // guards the following, which others read
	view view
}

// view is what the last look at the sources has shown.
type view struct {
	Host         Address // the zero Address: none is usable, or known
	Judged       []Judged
	Err          error     // why a source doesn't know
	MissingSince time.Time // zero unless all sources know that there is none
	ReadErr      error     // why the provider could not be read
}

// job is a name of a policy.
type job struct {
	target
	entry *entry

	mu sync.Mutex // guards the following, which others read
	// wanted is the address that the name shall have; the zero Addr if there
	// is none to publish.
	wanted  netip.Addr
	problem error // why there is none, besides that this host has none

	settled time.Time // when a change of wanted may be written
	logged  string    // the error that was logged last
}

func newUpdater(p *Policy, logger *zap.Logger, storage certmagic.Storage, e *events) *updater {
	u := &updater{
		policy: p, logger: logger, storage: storage, events: e,
		hints: make(chan time.Time, 1), requests: make(chan chan struct{}),
	}
	for _, s := range p.sources {
		u.sources = append(u.sources, newAsked(s))
	}
	for _, t := range p.targets {
		u.jobs = append(u.jobs, &job{target: t})
	}
	// In one order, because two configs that overlap wait for turns.
	slices.SortFunc(u.jobs, func(a, b *job) int { return cmp.Compare(a.fqdn, b.fqdn) })
	return u
}

func (u *updater) claim(l *ledger) {
	u.ledger = l
	for _, j := range u.jobs {
		j.entry = l.claim(j.fqdn, u)
	}
}

func (u *updater) release(l *ledger) {
	for _, j := range u.jobs {
		l.release(j.entry, u)
	}
}

// hint tells that the addresses of a source may have changed. It does not block.
func (u *updater) hint(source int) {
	u.sources[source].stale.Store(true)
	// A slow source doesn't matter once one before it may have an address.
	if a := u.asking.Load(); a != nil && a.index > source {
		a.cancel()
	}
	u.wake()
}

// wake makes the loop look again. It does not block.
func (u *updater) wake() {
	select {
	case u.hints <- time.Now():
	default: // an earlier one is not heeded yet
	}
}

// run keeps the records until ctx is done.
func (u *updater) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for i, s := range u.sources {
		wg.Go(func() { s.Watch(ctx, func() { u.hint(i) }) })
	}
	u.recall(ctx)
	u.look(ctx, time.Now())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var asked chan struct{}
		select {
		case <-ctx.Done():
			return
		case at := <-u.hints:
			u.look(ctx, at)
		case asked = <-u.requests:
			u.force()
			u.look(ctx, time.Now())
		case <-timer.C:
			if !u.lookAt.IsZero() && !u.lookAt.After(time.Now()) {
				u.retry()
				u.look(ctx, time.Now())
			}
		}
		next := earlier(u.reconcile(ctx), u.lookAt)
		if asked != nil {
			close(asked)
		}
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// recall finds out how the names stood before this process or config.
func (u *updater) recall(ctx context.Context) {
	for _, j := range u.jobs {
		if !j.entry.begin(ctx, u) {
			continue
		}
		if err := j.entry.recall(ctx, u.storage, u.policy, j.target); err != nil {
			u.logger.Warn("state not loaded; the records are read instead", zap.String("name", j.name()), zap.Error(err))
		}
		j.entry.end()
		// The address that is published stays if it can.
		if host := j.entry.now().Host; !u.current.IsValid() {
			u.current = host
		}
	}
}

// retry makes the next look ask the sources that failed.
func (u *updater) retry() {
	for _, s := range u.sources {
		if s.err != nil {
			s.stale.Store(true)
		}
	}
}

// force makes all names due, and the next look ask all sources, as the operator
// wants it.
func (u *updater) force() {
	for _, s := range u.sources {
		s.stale.Store(true)
	}
	for _, j := range u.jobs {
		j.settled = time.Time{}
		j.entry.change(func(s *standing) { s.Failures, s.RetryAt, s.Forced = 0, time.Time{}, true })
	}
}

// reconcile does what is due, and returns when to do so again.
func (u *updater) reconcile(ctx context.Context) time.Time {
	work, next := u.due()
	if len(work) == 0 {
		return next
	}
	u.burst.acted(time.Now())
	u.publish(ctx, work)
	work, next = u.due()
	if len(work) > 0 {
		// Something became due meanwhile.
		next = earlier(next, time.Now().Add(quiet))
	}
	return next
}

// due returns what is to be done now, and when there will be more.
func (u *updater) due() (work []*task, next time.Time) {
	now := time.Now()
	removeAt := u.removeAt()
	remove := !removeAt.IsZero() && !removeAt.After(now)
	if !remove {
		next = removeAt
	}
	for _, j := range u.jobs {
		s, mine := j.entry.look(u)
		if !mine {
			continue // a hint comes should that change
		}
		d := due(&s, j.wanted, remove, j.settled, u.policy, now)
		if d.Act {
			work = append(work, &task{job: j, keepalive: d.Keepalive})
		}
		next = earlier(next, d.Next)
	}
	return work, next
}

// removeAt is when the records of a host without an address are removed.
func (u *updater) removeAt() time.Time {
	if u.policy.OnMissing != removeRecords || u.view.MissingSince.IsZero() {
		return time.Time{}
	}
	return u.view.MissingSince.Add(missingFor)
}

package ddnsipv6

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/libdns/libdns"
)

// step takes the next step towards what a name shall have.
func (u *updater) step(ctx context.Context, zone string, t *task, set RRset) {
	s := t.entry.now()
	certain := s.Address
	switch {
	case s.Uncertain && t.wanted.IsValid():
		certain = netip.Addr{}
	case s.Uncertain:
		certain = s.Wanted // it may have been written
	}
	if t.steps++; t.steps == 1 {
		if t.before = set.addresses(); !set.Known && certain.IsValid() {
			t.before = []netip.Addr{certain}
		}
	}
	plan := Plan(t.wanted, set, certain)
	if t.keepalive && !t.wrote {
		plan = Step{Write: true}
	}
	if u.again(t, set, plan) {
		return
	}
	switch {
	case plan.Write && t.thin:
		u.thin(ctx, zone, t, Thin(set, s.Address))
	case plan.Write:
		u.write(ctx, zone, t, set)
	case plan.DeleteAll:
		// Not an Address: a zero one is an A record.
		u.remove(ctx, zone, t, set, libdns.RR{Name: libdns.RelativeName(t.fqdn, zone), Type: "AAAA"})
	case len(plan.Delete) > 0:
		u.remove(ctx, zone, t, set, plan.Delete...)
	default:
		u.confirmed(ctx, zone, t, set)
	}
}

// again deals with what is not as it should be after it was changed. It returns
// true if the records are to be read once more before that is a failure.
func (u *updater) again(t *task, set RRset, plan Step) bool {
	if t.wrote && t.deleted && plan.Write && len(set.Records) == 0 && !t.rewritten {
		// The provider deletes by name and type, whatever the value.
		t.rewritten, t.wrote = true, false
		return false
	}
	unchanged := plan.Write && t.wrote || len(plan.Delete) > 0 && t.deleted
	if !unchanged || t.waited {
		return false
	}
	t.wait, t.waited = true, true
	return true
}

// write sets the wanted address.
func (u *updater) write(ctx context.Context, zone string, t *task, set RRset) {
	p := u.policy.provider
	if t.wrote {
		u.failed(ctx, t, fmt.Errorf("provider %s accepted %s, and still returns %v", p.name, t.wanted, set.addresses()))
		return
	}
	t.wrote = true
	t.entry.change(func(s *standing) { s.begins(t.before) })
	err := p.set(ctx, zone, u.policy.record(libdns.RelativeName(t.fqdn, zone), t.wanted))
	switch {
	case err == nil:
		t.entry.change(func(s *standing) { s.Written, s.TTL = time.Now(), time.Duration(u.policy.TTL) })
	case len(set.Records) > 1 && p.deleter != nil && !t.thinned && ctx.Err() == nil && retryAfter(err) == 0 && !errors.Is(err, context.DeadlineExceeded):
		// Some providers can replace one record, but not several. What they
		// have done before they failed is read first.
		t.thin, t.thinned, t.wrote, t.refused = true, true, false, err
	default:
		u.failed(ctx, t, errors.Join(t.refused, err))
	}
}

// thin deletes all records but one, before a write is tried again.
func (u *updater) thin(ctx context.Context, zone string, t *task, extra []libdns.Record) {
	t.thin = false
	if len(extra) == 0 {
		u.failed(ctx, t, t.refused)
		return
	}
	if err := u.policy.provider.delete(ctx, zone, extra...); err != nil {
		u.failed(ctx, t, errors.Join(t.refused, err))
	}
}

// remove deletes records that the name shall not have.
func (u *updater) remove(ctx context.Context, zone string, t *task, set RRset, records ...libdns.Record) {
	p := u.policy.provider
	switch {
	case p.deleter != nil && t.deleted:
		u.failed(ctx, t, fmt.Errorf("provider %s accepted a deletion, and still returns %v", p.name, set.addresses()))
	case p.deleter != nil:
		t.deleted = true
		t.entry.change(func(s *standing) { s.begins(t.before) })
		if err := p.delete(ctx, zone, records...); err != nil {
			u.failed(ctx, t, err)
		}
	case !t.wrote && !slices.Equal(set.addresses(), t.entry.now().Published):
		// Writing the whole RRset may do it, too. Once: see the next case.
		u.write(ctx, zone, t, set)
	default:
		u.confirmed(ctx, zone, t, set)
	}
}

package ddnsipv6

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/libdns"
)

// task is a job that is due, for the time of one reconciliation. The flags make
// sure that it ends: each thing is done once.
type task struct {
	*job
	keepalive               bool // write even if it is right
	wrote, deleted, thinned bool

	steps  int
	old    netip.Addr   // what was confirmed before
	before []netip.Addr // what was there before, if known
	done   bool
}

// publish brings the records of the due names to what they shall be, zone by
// zone, and notes how it went.
func (u *updater) publish(ctx context.Context, work []*task) {
	u.began = time.Now()
	zones := make(map[string][]*task)
	for _, t := range work {
		if !t.entry.begin(ctx, u) {
			continue
		}
		defer t.entry.end()
		zone, err := u.zoneOf(ctx, t.job)
		if err != nil {
			u.failed(ctx, t, err)
			continue
		}
		zones[zone] = append(zones[zone], t)
	}
	for zone, tasks := range zones {
		u.publishZone(ctx, zone, tasks)
	}
}

func (u *updater) zoneOf(ctx context.Context, j *job) (string, error) {
	if j.zone != "" {
		return j.zone, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	zone, err := bounded(ctx, func(ctx context.Context) (string, error) {
		return certmagic.FindZoneByFQDN(ctx, u.logger, j.fqdn, certmagic.RecursiveNameservers(u.policy.authority.resolvers))
	})
	if err != nil {
		return "", fmt.Errorf("finding the zone of %s (it may be set: domain %s zone <zone>): %w", j.name(), j.name(), err)
	}
	return strings.ToLower(zone), nil
}

// publishZone reads a zone, takes the next step for each name, and so on until
// what is read is what is wanted. A provider's word is not enough: some append
// where they should replace, or leave what they should delete.
func (u *updater) publishZone(ctx context.Context, zone string, tasks []*task) {
	for len(tasks) > 0 && ctx.Err() == nil {
		records, err := u.read(ctx, zone)
		for _, t := range tasks {
			set := aaaa(records, t.fqdn, zone)
			if err != nil {
				set = u.unread(ctx, zone, t, err)
			}
			if !t.done {
				u.step(ctx, zone, t, set)
			}
		}
		tasks = slices.DeleteFunc(tasks, func(t *task) bool { return t.done })
	}
}

// read returns the zone's records, or why they are not known.
func (u *updater) read(ctx context.Context, zone string) ([]libdns.Record, error) {
	if u.policy.provider.getter == nil {
		return nil, fmt.Errorf("provider %s can't read records", u.policy.provider.name)
	}
	return u.policy.provider.get(ctx, zone)
}

// unread returns what is known of a name where the provider could not be read.
// What shall change is not looked up: it is written in any case, and shows in
// DNS only later. What should be right is asked for by DNS.
func (u *updater) unread(ctx context.Context, zone string, t *task, cause error) RRset {
	s := t.entry.now()
	switch {
	case t.wrote || t.deleted:
		u.accepted(ctx, zone, t)
		return RRset{}
	case t.wanted != s.Address || t.keepalive:
		return RRset{}
	}
	addresses, err := bounded(ctx, func(ctx context.Context) ([]netip.Addr, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return u.policy.authority.AAAA(ctx, t.fqdn, zone)
	})
	if err != nil {
		u.failed(ctx, t, fmt.Errorf("not verified: %w", errors.Join(cause, err)))
		return RRset{}
	}
	set := RRset{Known: true}
	for _, ip := range addresses {
		set.Records = append(set.Records, libdns.RR{Name: libdns.RelativeName(t.fqdn, zone), Type: "AAAA", Data: ip.String()})
	}
	if !s.CheckAt.IsZero() && !Plan(t.wanted, set, s.Address).Nothing() {
		// Written anew at the next try, not at once: it may be on its way.
		t.entry.change(func(s *standing) { s.Address, s.CheckAt = netip.Addr{}, time.Time{} })
		u.failed(ctx, t, fmt.Errorf("provider %s accepted %s, but the authoritative servers answer %v",
			u.policy.provider.name, wish(t.wanted), addresses))
	}
	return set
}

// step takes the next step towards what a name shall have.
func (u *updater) step(ctx context.Context, zone string, t *task, set RRset) {
	s := t.entry.now()
	if t.steps++; t.steps == 1 {
		t.old, t.before = s.Address, set.addresses()
	}
	plan := Plan(t.wanted, set, s.Address)
	if t.keepalive && !t.wrote {
		plan = Step{Write: true}
	}
	switch {
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

// write sets the wanted address.
func (u *updater) write(ctx context.Context, zone string, t *task, set RRset) {
	p := u.policy.provider
	if t.wrote {
		u.failed(ctx, t, fmt.Errorf("provider %s accepted %s, and still returns %v", p.name, t.wanted, set.addresses()))
		return
	}
	t.wrote = true
	// Until the provider has answered, nothing is certain.
	t.entry.change(func(s *standing) { s.Address = netip.Addr{} })
	err := p.set(ctx, zone, u.policy.record(libdns.RelativeName(t.fqdn, zone), t.wanted))
	if err == nil {
		t.entry.change(func(s *standing) { s.Written = time.Now() })
		return
	}
	// Some providers can replace one record, but not several.
	if extra := Thin(set, t.old); len(extra) > 0 && p.deleter != nil && !t.thinned {
		t.thinned = true
		deleteErr := p.delete(ctx, zone, extra...)
		if deleteErr == nil {
			t.wrote = false
			return
		}
		err = errors.Join(err, deleteErr)
	}
	u.failed(ctx, t, err)
}

// remove deletes records that the name shall not have.
func (u *updater) remove(ctx context.Context, zone string, t *task, set RRset, records ...libdns.Record) {
	p := u.policy.provider
	switch {
	case p.deleter != nil && t.deleted:
		u.failed(ctx, t, fmt.Errorf("provider %s accepted a deletion, and still returns %v", p.name, set.addresses()))
	case p.deleter != nil:
		t.deleted = true
		if err := p.delete(ctx, zone, records...); err != nil {
			u.failed(ctx, t, err)
		}
	case !t.wrote && !slices.Equal(set.addresses(), t.entry.now().Published):
		// Writing the whole RRset may do it, too. Once: see below.
		u.write(ctx, zone, t, set)
	default:
		u.confirmed(ctx, zone, t, set)
	}
}

// wish names what a name shall have.
func wish(wanted netip.Addr) string {
	if !wanted.IsValid() {
		return "that there is no record"
	}
	return wanted.String()
}

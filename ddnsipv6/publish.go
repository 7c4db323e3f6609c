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
	"github.com/miekg/dns"
	"go.uber.org/zap"
)

// lag is how long a provider may take to return what it was just given.
const lag = time.Second

// task is a job that is due, for the time of one reconciliation. The flags make
// sure that it ends: each thing is done once.
type task struct {
	*job
	keepalive bool // write even if it is right

	steps                    int
	before                   []netip.Addr // what was there before, as far as it is known
	wrote, deleted           bool         // that was accepted, or is not certain
	thin, thinned, rewritten bool
	refused                  error // of the write before thinning
	wait, waited             bool
	done                     bool
}

// publish brings the records of the due names to what they shall be, zone by
// zone, and notes how it went.
func (u *updater) publish(ctx context.Context, work []*task) {
	u.began = time.Now()
	zones := make(map[string][]*task)
	looks, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, t := range work {
		if !t.entry.begin(ctx, u) {
			continue
		}
		defer t.entry.end()
		zone, err := u.zoneOf(looks, t.job)
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

// zoneOf returns the zone of a name. One that held it before is asked for again
// only when that doesn't work any more: after a renumbering, DNS is what may be
// away.
func (u *updater) zoneOf(ctx context.Context, j *job) (string, error) {
	if j.zone != "" {
		return j.zone, nil
	}
	s := j.entry.now()
	known := s.Zone != "" && dns.IsSubDomain(s.Zone, j.fqdn)
	if known && s.Failures < 3 {
		return s.Zone, nil
	}
	zone, err := bounded(ctx, func(ctx context.Context) (string, error) {
		return certmagic.FindZoneByFQDN(ctx, u.logger, j.fqdn, certmagic.RecursiveNameservers(u.policy.authority.Resolvers))
	})
	switch {
	case err == nil:
		return strings.ToLower(zone), nil
	case known:
		return s.Zone, nil
	}
	return "", fmt.Errorf("finding the zone of %s (it may be set: domain %s zone <zone>): %w", j.name(), j.name(), err)
}

// publishZone reads a zone, takes the next step for each name, and so on until
// what is read is what is wanted. A provider's word is not enough: some append
// where they should replace, or leave what they should delete.
func (u *updater) publishZone(ctx context.Context, zone string, tasks []*task) {
	for len(tasks) > 0 && ctx.Err() == nil {
		records, err := u.read(ctx, zone)
		checks, cancel := context.WithTimeout(ctx, callTimeout)
		wait := false
		for _, t := range tasks {
			set := aaaa(records, t.fqdn, zone)
			if err != nil {
				set = u.unread(ctx, checks, zone, t, err)
			}
			if !t.done {
				u.step(ctx, zone, t, set)
			}
			wait = wait || t.wait
			t.wait = false
		}
		cancel()
		tasks = slices.DeleteFunc(tasks, func(t *task) bool { return t.done })
		if wait {
			select {
			case <-ctx.Done():
			case <-time.After(lag):
			}
		}
	}
}

// read returns the zone's records, or why they are not known.
func (u *updater) read(ctx context.Context, zone string) ([]libdns.Record, error) {
	p := u.policy.provider
	if p.getter == nil {
		return nil, fmt.Errorf("provider %s can't read records", p.name)
	}
	records, err := p.get(ctx, zone)
	if ctx.Err() != nil {
		return nil, err
	}
	if err != nil && errorText(err) != errorText(u.view.ReadErr) {
		u.logger.Warn("the provider can't be read; its records are checked by DNS", zap.String("zone", zone), zap.Error(err))
	}
	u.mu.Lock()
	u.view.ReadErr = err
	u.mu.Unlock()
	return records, err
}

// unread returns what is known of a name where the provider could not be read.
// What shall change is not looked up: it is written in any case, and shows in
// DNS only later. What should be right is asked for by DNS.
func (u *updater) unread(ctx, checks context.Context, zone string, t *task, cause error) RRset {
	s := t.entry.now()
	switch {
	case t.wrote || t.deleted:
		u.accepted(ctx, zone, t)
		return RRset{}
	case retryAfter(cause) > 0:
		u.failed(ctx, t, cause)
		return RRset{}
	case t.wanted != s.Address || s.Uncertain || t.keepalive:
		return RRset{}
	}
	addresses, err := bounded(checks, func(ctx context.Context) ([]netip.Addr, error) {
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
		t.entry.change(func(s *standing) { s.Uncertain, s.CheckAt = true, time.Time{} })
		u.failed(ctx, t, fmt.Errorf("provider %s accepted %s, but the authoritative servers answer %v",
			u.policy.provider.name, wish(t.wanted), addresses))
	}
	return set
}

// wish names what a name shall have.
func wish(wanted netip.Addr) string {
	if !wanted.IsValid() {
		return "that there is no record"
	}
	return wanted.String()
}

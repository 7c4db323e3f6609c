package dnssynology

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
	"go.uber.org/zap"
)

const (
	// confirmTXT is how long a TXT value may take to show at the name server.
	confirmTXT = 2 * time.Minute

	// confirmAddresses is the same of addresses. What the service has accepted
	// counts as done even if it does not show by then.
	confirmAddresses = 15 * time.Second

	// cleanup bounds what is done about a failed write after its context ended.
	cleanup = 5 * time.Second
)

// serviceBackend publishes records through the DDNS service, and reads them from
// the authoritative name server.
type serviceBackend struct {
	service *service
	server  dnsServer
	holds   *holds
	logger  *zap.Logger
	now     func() time.Time
	pause   func(context.Context, time.Duration) error
	beat    time.Duration // 0: never
	turn    chan struct{} // has room for one: who writes addresses

	mu      sync.Mutex // guards all following fields
	used    map[string]bool
	closed  bool
	stop    context.CancelFunc
	stopped chan struct{} // nil while there is no heartbeat
}

// newServiceBackend reads the credentials. It sends nothing.
func newServiceBackend(p *Provider) (backend, error) {
	b, err := openService(p)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func openService(p *Provider) (*serviceBackend, error) {
	credentials, err := p.credentials()
	if err != nil {
		return nil, err
	}
	client, err := newService(p.Service, credentials)
	if err != nil {
		return nil, err
	}
	server, err := newDNSServer(p.NameServer)
	if err != nil {
		return nil, err
	}
	if p.Heartbeat < 0 {
		return nil, fmt.Errorf("heartbeat is %s; leave it out to have none", p.Heartbeat)
	}
	logger := p.Logger
	if logger == nil {
		logger = zap.NewNop()
	}
	return &serviceBackend{
		service: client, server: server, holds: &challenges, logger: logger,
		now: time.Now, pause: pause, beat: p.Heartbeat, used: map[string]bool{},
		turn: make(chan struct{}, 1),
	}, nil
}

// get returns the records of the hostnames that this provider was asked about,
// as far as they are in the zone, and of the one that the zone belongs to.
func (b *serviceBackend) get(ctx context.Context, zone string) ([]libdns.Record, error) {
	zone = dns.CanonicalName(zone)
	if !servedBelow(zone) {
		o, err := parseOwner(zone)
		if err != nil {
			return nil, err
		}
		b.use(o.hostname) //nolint:contextcheck // the heartbeat outlives the call
	}
	b.mu.Lock()
	hostnames := slices.Sorted(maps.Keys(b.used))
	b.mu.Unlock()
	if servedBelow(zone) && !slices.ContainsFunc(hostnames, func(h string) bool { return dns.IsSubDomain(zone, dns.Fqdn(h)) }) {
		// Not an empty list: the name may have records.
		return nil, fmt.Errorf("which hostnames of %s are yours is known once one was written; the hostname itself can be read as a zone", zone)
	}
	var list []libdns.Record
	for _, hostname := range hostnames {
		for _, q := range []owner{{hostname, atHost}, {hostname, atWildcard}, {hostname, atChallenge}} {
			if !dns.IsSubDomain(zone, q.fqdn()) {
				continue
			}
			records, err := b.read(ctx, q, zone, q.types()...)
			if err != nil {
				return nil, err // no answer is not an empty one
			}
			list = append(list, records...)
		}
	}
	return list, nil
}

// read asks the name server for a name's records.
func (b *serviceBackend) read(ctx context.Context, o owner, zone string, types ...uint16) ([]libdns.Record, error) {
	var list []libdns.Record
	for _, rrtype := range types {
		answers, err := b.server.records(ctx, o.fqdn(), rrtype)
		if err != nil {
			return nil, err
		}
		for _, a := range answers {
			rr := libdns.RR{Name: libdns.RelativeName(o.fqdn(), zone), Type: dns.TypeToString[rrtype], TTL: a.ttl, Data: a.value}
			record, err := rr.Parse()
			if err != nil {
				return nil, fmt.Errorf("%s of %s: %w", rr.Type, o.fqdn(), err)
			}
			list = append(list, record)
		}
	}
	return list, nil
}

// add writes TXT values of challenges, and addresses that are not there yet. Not
// atomic: what was written before a failure stays.
func (b *serviceBackend) add(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return b.write(ctx, zone, records, func(ctx context.Context, c change) error {
		for _, family := range []struct {
			rrtype uint16
			addr   *netip.Addr
		}{{dns.TypeA, &c.v4}, {dns.TypeAAAA, &c.v6}} {
			if !family.addr.IsValid() {
				continue
			}
			answers, err := b.server.records(ctx, c.hostname+".", family.rrtype)
			if err != nil {
				return err
			}
			for _, a := range answers {
				if a.value != family.addr.String() {
					return fmt.Errorf("adding %s to %s: it has the address %s, and can have one of each family only; set records to replace it", family.addr, c.hostname, a.value)
				}
				*family.addr = netip.Addr{} // there already
			}
		}
		return b.setAddresses(ctx, c)
	})
}

// set is add, but it replaces addresses, and the TXT value of this provider.
// Addresses of the other family stay.
func (b *serviceBackend) set(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	plan, err := planOf(zone, records)
	if err != nil {
		return nil, err
	}
	for _, c := range plan {
		name := b.holdName(c.hostname)
		if held, _, isHeld := b.holds.held(name); isHeld && c.txt != "" && held != c.txt && b.holds.owns(name, held, b) {
			if _, err := b.deleteTXT(ctx, c.hostname, held); err != nil {
				return nil, err
			}
		}
	}
	return b.write(ctx, zone, records, b.setAddresses)
}

// write carries out all changes, one hostname after the other. TXT values come
// last: they keep their hostnames from other challenges.
func (b *serviceBackend) write(ctx context.Context, zone string, records []libdns.Record, addresses func(context.Context, change) error) ([]libdns.Record, error) {
	plan, err := planOf(zone, records)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(plan, change.hasAddress) {
		if err := b.service.credentials.needForAddresses(); err != nil {
			return nil, err
		}
	}
	var done []libdns.Record
	for _, c := range plan {
		b.use(c.hostname) //nolint:contextcheck // the heartbeat outlives the call
		if !c.hasAddress() {
			continue
		}
		err := b.inTurn(ctx, func() error { return addresses(ctx, c) })
		if err != nil {
			return done, err
		}
		done = append(done, c.addresses...)
	}
	for _, c := range plan {
		if c.txt == "" {
			continue
		}
		ttl, err := b.present(ctx, c.hostname, c.txt)
		if err != nil {
			return done, err
		}
		done = append(done, libdns.TXT{Name: c.txtName, TTL: ttl, Text: c.txt})
	}
	return done, nil
}

// inTurn keeps what looks at addresses and then writes them from another's doing so.
func (b *serviceBackend) inTurn(ctx context.Context, f func() error) error {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
		return f()
	case <-ctx.Done():
		return fmt.Errorf("waiting for another change of addresses: %w", ctx.Err())
	}
}

// setAddresses sends a hostname's addresses, and waits a little until they show.
func (b *serviceBackend) setAddresses(ctx context.Context, c change) error {
	if !c.hasAddress() {
		return nil
	}
	if err := b.service.setAddresses(ctx, c.hostname, c.v4, c.v6); err != nil {
		return err
	}
	err := b.wait(ctx, confirmAddresses, func() error {
		for _, family := range []struct {
			rrtype uint16
			addr   netip.Addr
		}{{dns.TypeA, c.v4}, {dns.TypeAAAA, c.v6}} {
			if !family.addr.IsValid() {
				continue
			}
			if _, err := b.shows(ctx, c.hostname+".", family.rrtype, family.addr.String()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.logger.Debug("the DDNS service has accepted addresses that don't show yet", zap.String("name", c.hostname), zap.Error(err))
	}
	return nil
}

// present writes a challenge's value and waits until the name server has it. It
// keeps other challenges of the hostname waiting until the value is deleted.
func (b *serviceBackend) present(ctx context.Context, hostname, value string) (ttl time.Duration, err error) {
	name := b.holdName(hostname)
	first, err := b.holds.take(ctx, name, value, b)
	if err != nil {
		return 0, err
	}
	if !first {
		_, ttl, _ = b.holds.held(name)
		return ttl, nil
	}
	b.sweep(ctx, hostname, value)
	err = b.service.txt(ctx, b.service.createTXT, hostname, value)
	if err == nil {
		err = b.wait(ctx, confirmTXT, func() (err error) {
			ttl, err = b.shows(ctx, challengeLabel+hostname+".", dns.TypeTXT, value)
			return err
		})
	}
	if err == nil {
		b.holds.confirm(name, value, ttl)
		return ttl, nil
	}
	// It may have been written all the same, by a try whose reply was lost.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanup)
	defer cancel()
	b.drop(after, hostname, value)
	b.holds.release(name, value)
	return 0, fmt.Errorf("writing TXT of %s%s: %w", challengeLabel, hostname, err)
}

// sweep deletes what a killed process has left behind: where the service keeps
// one value only, it would stand in the way. That it fails is no trouble yet.
func (b *serviceBackend) sweep(ctx context.Context, hostname, value string) {
	answers, err := b.server.records(ctx, challengeLabel+hostname+".", dns.TypeTXT)
	if err != nil {
		b.logger.Debug("can't look for TXT values of former challenges", zap.String("name", hostname), zap.Error(err))
	}
	for _, a := range answers {
		if a.value != value {
			b.drop(ctx, hostname, a.value)
		}
	}
}

// drop deletes a value if it can.
func (b *serviceBackend) drop(ctx context.Context, hostname, value string) {
	if err := b.service.txt(ctx, b.service.deleteTXT, hostname, value); err != nil {
		b.logger.Warn("a TXT value of a challenge may be left; the next one tries again to delete it", zap.String("name", hostname), zap.Error(err))
	}
}

// shows returns a record's TTL once the name server has it.
func (b *serviceBackend) shows(ctx context.Context, fqdn string, rrtype uint16, value string) (time.Duration, error) {
	answers, err := b.server.records(ctx, fqdn, rrtype)
	if err != nil {
		return 0, err
	}
	for _, a := range answers {
		if a.value == value {
			return a.ttl, nil
		}
	}
	return 0, fmt.Errorf("name server %s does not have the new %s of %s", b.server.addr, dns.TypeToString[rrtype], fqdn)
}

// wait asks until ready has no error, or limit is over: 1 s after the first
// time, then every 2, 4, 5 s.
func (b *serviceBackend) wait(ctx context.Context, limit time.Duration, ready func() error) error {
	end := b.now().Add(limit)
	for delay := time.Second; ; delay = min(2*delay, 5*time.Second) {
		err := ready()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		if b.now().Add(delay).After(end) {
			return fmt.Errorf("%w, after %s", err, limit)
		}
		if stopped := b.pause(ctx, delay); stopped != nil {
			return fmt.Errorf("%w: %w", err, stopped)
		}
	}
}

// zones has nothing to list: the service knows one hostname, and does not tell.
func (b *serviceBackend) zones(context.Context) ([]libdns.Zone, error) {
	return nil, errors.New("the DDNS service has no list of zones: use the hostname of the NAS, or its suffix such as synology.me., as the zone")
}

func (b *serviceBackend) holdName(hostname string) holdName {
	return holdName{b.service.endpoint.String(), hostname}
}

package ddnsipv6

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/libdns/libdns"
)

// fakeDNS is a DNS service in memory that breaks libdns's contract in the ways
// that real providers do. It is reached through the providers below.
type fakeDNS struct {
	mu      sync.Mutex
	records []libdns.RR // names relative to the zone

	// How it misbehaves. The counts are of calls that do.
	appends, leavesExtras, oneValueOnly, ignoresWrites, ignoresDeletes bool
	deletesByName                                                      bool          // whatever the value
	lag                                                                time.Duration // until reads return what was written
	failReads, failSets, failDeletes, failAfterSet, rateLimit          int
	failHalfWay                                                        int // after one old record was deleted
	retryAfter                                                         time.Duration
	hang                                                               chan struct{} // calls wait for it, whatever their context says
	clampTTL                                                           time.Duration

	gets, sets, deletes []time.Time
	before              []libdns.RR // what reads return until they no longer lag
	written             []string    // every address that was ever set
	emptied             []string    // names that were left without AAAA
}

var errFake = errors.New("fake failure")

// tooManyRequests is how a provider can tell when to come back.
type tooManyRequests time.Duration

func (e tooManyRequests) Error() string             { return "429 Too Many Requests" }
func (e tooManyRequests) RetryAfter() time.Duration { return time.Duration(e) }

// fails counts down a number of failures.
func fails(n *int) bool {
	if *n == 0 {
		return false
	}
	*n--
	return true
}

// wait hangs if the service does.
func (f *fakeDNS) wait() {
	f.mu.Lock()
	hang := f.hang
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
}

func (f *fakeDNS) get() ([]libdns.Record, error) {
	f.wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gets = append(f.gets, time.Now())
	if fails(&f.failReads) {
		return nil, errFake
	}
	records := f.records
	if len(f.sets) > 0 && time.Since(f.sets[len(f.sets)-1]) < f.lag {
		records = f.before
	}
	var list []libdns.Record
	for _, rr := range records {
		parsed, err := rr.Parse()
		if err != nil {
			parsed = rr
		}
		list = append(list, parsed)
	}
	return list, nil
}

// aaaa returns the addresses of a name.
func (f *fakeDNS) aaaa(name string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lockedAAAA(name)
}

func (f *fakeDNS) lockedAAAA(name string) []string {
	var list []string
	for _, rr := range f.records {
		if rr.Name == name && rr.Type == "AAAA" {
			list = append(list, rr.Data)
		}
	}
	slices.Sort(list)
	return list
}

func (f *fakeDNS) set(records []libdns.Record) error {
	f.wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sets = append(f.sets, time.Now())
	f.before = slices.Clone(f.records)
	switch {
	case fails(&f.failHalfWay):
		for i, rr := range f.records {
			if rr.Name == records[0].RR().Name && rr.Type == "AAAA" {
				f.records = slices.Delete(f.records, i, i+1)
				break
			}
		}
		return errFake
	case fails(&f.rateLimit):
		return tooManyRequests(f.retryAfter)
	case fails(&f.failSets):
		return errFake
	case f.ignoresWrites:
		return nil
	}
	for _, r := range records {
		rr := r.RR()
		if rr.Type != "AAAA" {
			return fmt.Errorf("%s record %s written", rr.Type, rr.Name)
		}
		f.written = append(f.written, rr.Data)
		had := len(f.lockedAAAA(rr.Name))
		if f.oneValueOnly && had > 1 {
			return errors.New("expected at most one record")
		}
		if f.clampTTL != 0 {
			rr.TTL = f.clampTTL
		}
		if !f.appends {
			replaced := false
			f.records = slices.DeleteFunc(f.records, func(old libdns.RR) bool {
				match := old.Name == rr.Name && old.Type == rr.Type && (!f.leavesExtras || !replaced)
				replaced = replaced || match
				return match
			})
		}
		f.records = append(f.records, rr)
	}
	if fails(&f.failAfterSet) {
		return errFake
	}
	return nil
}

func (f *fakeDNS) delete(records []libdns.Record) error {
	f.wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deletes = append(f.deletes, time.Now())
	switch {
	case fails(&f.failDeletes):
		return errFake
	case f.ignoresDeletes:
		return nil
	}
	for _, r := range records {
		rr := r.RR()
		had := len(f.lockedAAAA(rr.Name))
		f.records = slices.DeleteFunc(f.records, func(old libdns.RR) bool {
			return old.Name == rr.Name && (rr.Type == "" || old.Type == rr.Type) && (rr.TTL == 0 || old.TTL == rr.TTL || f.deletesByName) &&
				(rr.Data == "" || old.Data == rr.Data || f.deletesByName)
		})
		if had > 0 && len(f.lockedAAAA(rr.Name)) == 0 {
			f.emptied = append(f.emptied, rr.Name)
		}
	}
	return nil
}

// counts returns how often the service was read, written and deleted from.
func (f *fakeDNS) counts() (gets, sets, deletes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.gets), len(f.sets), len(f.deletes)
}

// change lets a test change the service.
func (f *fakeDNS) change(do func(*fakeDNS)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f)
}

// fakeSource is a source whose addresses a test sets.
type fakeSource struct {
	mu        sync.Mutex
	addresses []Address
	err       error
	looks     int
	watchers  map[int]func()
	next      int
	hang      chan struct{} // both methods wait for it, whatever their context says
	slow      bool          // Addresses answers only when its context ends
}

func (s *fakeSource) Addresses(ctx context.Context) ([]Address, error) {
	s.mu.Lock()
	hang, slow := s.hang, s.slow
	s.mu.Unlock()
	if slow {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if hang != nil {
		<-hang
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	return slices.Clone(s.addresses), s.err
}

func (s *fakeSource) Watch(ctx context.Context, changed func()) {
	s.mu.Lock()
	id := s.next
	s.next++
	if s.watchers == nil {
		s.watchers = make(map[int]func())
	}
	s.watchers[id] = changed
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	delete(s.watchers, id)
	hang := s.hang
	s.mu.Unlock()
	if hang != nil {
		<-hang
	}
}

// set changes what the source returns, and tells those that watch.
func (s *fakeSource) set(err error, addresses ...Address) {
	s.mu.Lock()
	s.addresses, s.err = addresses, err
	watchers := make([]func(), 0, len(s.watchers))
	for _, changed := range s.watchers {
		watchers = append(watchers, changed)
	}
	s.mu.Unlock()
	for _, changed := range watchers {
		changed()
	}
}

func (s *fakeSource) lookCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

// stable returns a usable address without an end.
func stable(ip string) Address {
	addr := netip.MustParseAddr(ip)
	return Address{IP: addr, Prefix: netip.PrefixFrom(addr, 64).Masked(), Interface: "eth0", DefaultRoute: true, Preferred: Forever, Valid: Forever}
}

// Caddy makes the modules by itself; what they stand for is found by an ID.
var (
	fakeMu      sync.Mutex
	fakeDNSs    = map[string]*fakeDNS{}
	fakeSources = map[string]*fakeSource{}
)

// newFakes returns a service and a source under the ID of the test's name.
func newFakes(t *testing.T) (string, *fakeDNS, *fakeSource) {
	t.Helper()
	fakeMu.Lock()
	defer fakeMu.Unlock()
	id := t.Name()
	fakeDNSs[id], fakeSources[id] = new(fakeDNS), new(fakeSource)
	t.Cleanup(func() {
		fakeMu.Lock()
		defer fakeMu.Unlock()
		delete(fakeDNSs, id)
		delete(fakeSources, id)
	})
	return id, fakeDNSs[id], fakeSources[id]
}

type fakeModule struct {
	ID       string `json:"id,omitempty"`
	APIToken string `json:"api_token,omitempty"`
}

func (m *fakeModule) dns() *fakeDNS {
	fakeMu.Lock()
	defer fakeMu.Unlock()
	return fakeDNSs[m.ID]
}

// The providers: one that can do everything, and others that can't.
type (
	setOnly   struct{ fakeModule }
	fakeFull  struct{ setOnly }
	noDeleter struct{ setOnly }
	noGetter  struct{ setOnly }
	noSetter  struct{ fakeModule }
)

func (p *setOnly) SetRecords(_ context.Context, _ string, r []libdns.Record) ([]libdns.Record, error) {
	return r, p.dns().set(r)
}

func (p *fakeFull) GetRecords(context.Context, string) ([]libdns.Record, error) { return p.dns().get() }

func (p *fakeFull) DeleteRecords(_ context.Context, _ string, r []libdns.Record) ([]libdns.Record, error) {
	return r, p.dns().delete(r)
}

func (p *noDeleter) GetRecords(context.Context, string) ([]libdns.Record, error) {
	return p.dns().get()
}

func (p *noGetter) DeleteRecords(_ context.Context, _ string, r []libdns.Record) ([]libdns.Record, error) {
	return r, p.dns().delete(r)
}

func (p *noSetter) GetRecords(context.Context, string) ([]libdns.Record, error) { return p.dns().get() }

func info(id string, n func() caddy.Module) caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: caddy.ModuleID(id), New: n}
}

func (*fakeFull) CaddyModule() caddy.ModuleInfo {
	return info("dns.providers.fake", func() caddy.Module { return new(fakeFull) })
}

func (*noDeleter) CaddyModule() caddy.ModuleInfo {
	return info("dns.providers.fake_no_deleter", func() caddy.Module { return new(noDeleter) })
}

func (*noGetter) CaddyModule() caddy.ModuleInfo {
	return info("dns.providers.fake_no_getter", func() caddy.Module { return new(noGetter) })
}

func (*noSetter) CaddyModule() caddy.ModuleInfo {
	return info("dns.providers.fake_no_setter", func() caddy.Module { return new(noSetter) })
}

// sourceModule is the source module that stands for a fakeSource.
type sourceModule struct {
	ID string `json:"id,omitempty"`
	*fakeSource
}

func (*sourceModule) CaddyModule() caddy.ModuleInfo {
	return info("ddns_ipv6.sources.fake", func() caddy.Module { return new(sourceModule) })
}

func (m *sourceModule) Provision(caddy.Context) error {
	fakeMu.Lock()
	defer fakeMu.Unlock()
	m.fakeSource = fakeSources[m.ID]
	return nil
}

func init() {
	for _, m := range []caddy.Module{new(fakeFull), new(noDeleter), new(noGetter), new(noSetter), new(sourceModule)} {
		caddy.RegisterModule(m)
	}
}

package ddnsipv6

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"github.com/prometheus/client_golang/prometheus"
)

// storageTimeout bounds a look into Caddy's storage, which may be remote.
const storageTimeout = 5 * time.Second

// ledgers holds the one ledger of this process while a config needs it, so that
// it survives reloads.
var ledgers = caddy.NewUsagePool()

// ledger holds what this process knows of the names that it manages.
type ledger struct {
	delay prometheus.Histogram

	mu      sync.Mutex
	entries map[string]*entry // by fqdn
}

func newLedger() (caddy.Destructor, error) {
	return &ledger{entries: make(map[string]*entry), delay: newDelayHistogram()}, nil
}

// Destruct does nothing: what must last is in Caddy's storage.
func (*ledger) Destruct() error { return nil }

// entry is what is known of a name. The configs that overlap in a reload share
// it; only the last one that claimed it acts on it, one at a time.
type entry struct {
	fqdn string
	// turn is held while the name's records are read and changed. It guards
	// the next two fields.
	turn   chan struct{}
	origin string // the settings that standing is about: secret
	loaded bool   // the storage was asked

	mu sync.Mutex // guards the following
	// claims are the updaters that manage the name, the present one last.
	claims []*updater
	standing
}

// standing is how a name's records stand.
type standing struct {
	confirmation

	// Published are the addresses that were read last.
	Published []netip.Addr
	// Wanted is the address that the name was to have last, and Hinted when
	// the hint came that made it so; zero once it is confirmed.
	Wanted netip.Addr
	Hinted time.Time
	// Uncertain tells that a change has begun whose outcome is not known.
	Uncertain bool
	// Untold tells that a change has begun that nobody was told of, since it
	// is not confirmed, and Old what was there before it.
	Untold bool
	Old    []netip.Addr
	// Failures in a row, the last error, and when to try again.
	Failures int
	LastErr  error
	RetryAt  time.Time
	// Forced tells that the operator asked for an update.
	Forced bool
	// CheckAt is when to check by DNS what a provider accepted that can't be
	// read. Zero: no check is due.
	CheckAt time.Time

	Updates, FailedUpdates uint64 // since the name is managed
}

// confirmation is what a provider confirmed. It is kept in Caddy's storage.
type confirmation struct {
	// Address is the name's address, and Host the one of this host that it
	// was made for. The zero Addr: none, or nothing is known.
	Address netip.Addr `json:"address"`
	Host    netip.Addr `json:"host"`
	// Zone and Provider are where that is so.
	Zone     string `json:"zone"`
	Provider string `json:"provider"`
	// Written is when the record was written last, or first found as it shall
	// be, and TTL what it got then.
	Written time.Time     `json:"written"`
	TTL     time.Duration `json:"ttl"`
	// Verified is when it was read, or accepted by a provider that can't be
	// read, by this process.
	Verified time.Time `json:"-"`
}

// begins notes that the records are being changed. Until that is confirmed
// nothing is certain.
func (s *standing) begins(before []netip.Addr) {
	s.Uncertain = true
	if !s.Untold {
		s.Untold, s.Old = true, before
	}
}

// claim makes u the one that manages a name.
func (l *ledger) claim(fqdn string, u *updater) *entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[fqdn]
	if e == nil {
		e = &entry{fqdn: fqdn, turn: make(chan struct{}, 1)}
		l.entries[fqdn] = e
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.claims = append(e.claims, u)
	return e
}

// release ends a claim. Where the one before is still there, as after a config
// that failed to start, it goes on.
func (l *ledger) release(e *entry, u *updater) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.claims = slices.DeleteFunc(e.claims, func(other *updater) bool { return other == u })
	if n := len(e.claims); n > 0 {
		e.claims[n-1].wake()
		return
	}
	delete(l.entries, e.fqdn)
}

// begin waits for the turn of a name. It returns false if the name is another's
// now, or ctx is done; otherwise end must be called.
func (e *entry) begin(ctx context.Context, u *updater) bool {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	_, mine := e.look(u)
	if !mine {
		e.end()
	}
	return mine
}

func (e *entry) end() { <-e.turn }

// now returns a copy of how the name stands. Its Published is not to be changed.
func (e *entry) now() standing {
	s, _ := e.look(nil)
	return s
}

// look is now, and tells whether u is the one to act on it.
func (e *entry) look(u *updater) (s standing, mine bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := len(e.claims)
	return e.standing, n > 0 && e.claims[n-1] == u
}

// change changes how the name stands.
func (e *entry) change(f func(*standing)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(&e.standing)
}

// recall loads what was confirmed before the process began, once; and forgets
// what is about other settings. The caller has the turn.
func (e *entry) recall(ctx context.Context, storage certmagic.Storage, p *Policy, t target) error {
	if !e.loaded {
		c, err := load(ctx, storage, t)
		if err != nil {
			return err
		}
		e.loaded = true
		e.change(func(s *standing) { s.confirmation = c })
	}
	e.change(func(s *standing) {
		if s.Provider != p.provider.name || t.zone != "" && s.Zone != t.zone {
			s.confirmation = confirmation{Provider: p.provider.name, Zone: t.zone, Host: s.Host}
		}
	})
	// The same provider with other settings may be another account: its records
	// are read. What failed before may work now.
	if origin := t.zone + " " + p.origin; e.origin != origin {
		e.origin = origin
		e.change(func(s *standing) {
			s.Verified, s.Failures, s.RetryAt, s.CheckAt = time.Time{}, 0, time.Time{}, time.Time{}
		})
	}
	return nil
}

func storageKey(t target) string {
	return path.Join(ID, certmagic.StorageKeys.Safe(t.name())+".json")
}

func load(ctx context.Context, storage certmagic.Storage, t target) (c confirmation, err error) {
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	content, err := bounded(ctx, func(ctx context.Context) ([]byte, error) { return storage.Load(ctx, storageKey(t)) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return confirmation{}, nil
	case err != nil:
		return confirmation{}, fmt.Errorf("loading the state of %s: %w", t.name(), err)
	}
	// What can't be read is written anew.
	if json.Unmarshal(content, &c) != nil {
		return confirmation{}, nil
	}
	// A clock that went wrong once must not put off keepalive for years.
	if c.Written.After(time.Now()) {
		c.Written = time.Time{}
	}
	return c, nil
}

func save(ctx context.Context, storage certmagic.Storage, t target, c confirmation) error {
	content, err := json.Marshal(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	_, err = bounded(ctx, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, storage.Store(ctx, storageKey(t), content)
	})
	if err != nil {
		return fmt.Errorf("storing the state of %s: %w", t.name(), err)
	}
	return nil
}

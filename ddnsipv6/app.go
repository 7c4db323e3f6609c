// Package ddnsipv6 keeps AAAA records true: a Caddy app that publishes the
// global IPv6 address of this host, and those of other devices in its LAN,
// through any libdns provider, as soon as the kernel reports a new one.
//
// Whoever looks for the room of a change:
//
//   - which address: selection.go, sightings.go, device.go (pure);
//   - what to write and delete: reconcile.go; when: schedule.go (pure);
//   - the loop around them: updater.go, look.go, publish.go, outcome.go;
//   - where addresses come from: source*.go, netlink*.go;
//   - what is remembered over reloads and restarts: ledger.go;
//   - what is to be seen: status.go, metrics.go, events.go;
//   - what others ask for once: once.go, route_*.go.
package ddnsipv6

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// ID is the name of the app.
const ID = "ddns_ipv6"

// stopWithin is how long Stop waits for what doesn't end with its context.
const stopWithin = 900 * time.Millisecond

func init() {
	caddy.RegisterModule(new(App))
}

// App keeps AAAA records true. A name belongs to one policy.
type App struct {
	// Policies are sets of names with a provider and sources of their own.
	Policies []*Policy `json:"policies,omitempty"`

	logger   *zap.Logger
	events   *events
	updaters []*updater
	ledger   atomic.Pointer[ledger] // nil before Start

	cancel context.CancelFunc // ends the updaters
	done   <-chan struct{}
	wg     sync.WaitGroup // the updaters, and after them the events
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ddns_ipv6",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision loads the modules and reads the config. It looks up nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger()
	var err error
	if a.events, err = newEvents(ctx); err != nil {
		return err
	}
	for i, p := range a.Policies {
		if p == nil {
			return fmt.Errorf("policy %d is null", i+1)
		}
		if err := p.provision(ctx, a.logger); err != nil {
			return fmt.Errorf("policy %d%s: %w", i+1, p.hint(), err)
		}
		a.updaters = append(a.updaters, newUpdater(p, a.logger, ctx.Storage(), a.events))
	}
	return ctx.GetMetricsRegistry().Register(collector{a})
}

// Validate refuses two policies that would fight over a name.
func (a *App) Validate() error {
	owner := make(map[string]int)
	for i, p := range a.Policies {
		for _, t := range p.targets {
			other, taken := owner[t.fqdn]
			switch {
			case taken && other == i:
				return fmt.Errorf("policy %d%s lists %s twice", i+1, p.hint(), t.name())
			case taken:
				return fmt.Errorf("%s is managed by policy %d%s and by policy %d%s; a name belongs to one",
					t.name(), other+1, a.Policies[other].hint(), i+1, p.hint())
			}
			owner[t.fqdn] = i
		}
	}
	return nil
}

// Start begins to keep the records.
func (a *App) Start() error {
	value, _, err := ledgers.LoadOrNew(ID, newLedger)
	if err != nil {
		return fmt.Errorf("opening the ledger: %w", err)
	}
	l := value.(*ledger)
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel, a.done = cancel, ctx.Done()
	for _, u := range a.updaters {
		u.claim(l)
	}
	a.ledger.Store(l)
	quiet := make(chan struct{}) // closed when there will be no more events
	a.wg.Go(func() { a.events.run(quiet) })
	a.wg.Go(func() {
		defer close(quiet)
		var updaters sync.WaitGroup
		for _, u := range a.updaters {
			updaters.Go(func() { u.run(ctx) })
		}
		updaters.Wait()
	})
	return nil
}

// update makes all policies look at their addresses and records now, and waits.
func (a *App) update(ctx context.Context) error {
	for _, u := range a.updaters {
		answer := make(chan struct{})
		select {
		case u.requests <- answer:
		case <-a.done:
			return errors.New("this config is not running")
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-answer:
		case <-a.done:
			return errors.New("this config has ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Stop ends the updates. It returns within a second even where a provider or
// the kernel hangs; the config that follows goes on without waiting for them.
func (a *App) Stop() error {
	if a.cancel == nil {
		return nil
	}
	a.cancel()
	ended := make(chan struct{})
	go func() {
		a.wg.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(stopWithin):
		a.logger.Warn("something does not end with its context and is left behind")
	}
	for _, u := range a.updaters {
		u.release(a.ledger.Load())
	}
	_, err := ledgers.Delete(ID)
	return err
}

// Interface guards
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
	_ caddy.Validator   = (*App)(nil)
)

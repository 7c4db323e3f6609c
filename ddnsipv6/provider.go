package ddnsipv6

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/libdns/libdns"
	"go.uber.org/zap"

	"github.com/caddy-nas/caddy-nas-registry/internal/redact"
)

const (
	// callTimeout bounds a call to a provider: several requests over a slow line.
	callTimeout = 30 * time.Second

	// grace is how long a call may take to end after its context did.
	grace = 200 * time.Millisecond
)

// provider calls a libdns provider: one call at a time, since not every
// provider is as safe for concurrent use as it should be, and never longer
// than a context lasts, since not every provider heeds it. While a call hangs
// there is no other one, so that they don't pile up.
type provider struct {
	name    string
	setter  libdns.RecordSetter
	getter  libdns.RecordGetter  // nil if it can't
	deleter libdns.RecordDeleter // nil if it can't
	turn    chan struct{}
	secrets []string
}

func newProvider(module any) (*provider, error) {
	p := &provider{name: module.(caddy.Module).CaddyModule().ID.Name(), turn: make(chan struct{}, 1), secrets: redact.SecretsOf(module)}
	var ok bool
	if p.setter, ok = module.(libdns.RecordSetter); !ok {
		return nil, fmt.Errorf("provider %s can't set records (%T has no SetRecords), so that it can't publish addresses", p.name, module)
	}
	p.getter, _ = module.(libdns.RecordGetter)
	p.deleter, _ = module.(libdns.RecordDeleter)
	return p, nil
}

// get returns all records of a zone.
func (p *provider) get(ctx context.Context, zone string) ([]libdns.Record, error) {
	records, err := p.call(ctx, func(ctx context.Context) ([]libdns.Record, error) {
		return p.getter.GetRecords(ctx, zone)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the records of zone %s: %w", zone, err)
	}
	return records, nil
}

// set makes records the only ones of their names and types.
func (p *provider) set(ctx context.Context, zone string, records ...libdns.Record) error {
	_, err := p.call(ctx, func(ctx context.Context) ([]libdns.Record, error) {
		return p.setter.SetRecords(ctx, zone, records)
	})
	if err != nil {
		return fmt.Errorf("setting records of zone %s: %w", zone, err)
	}
	return nil
}

// delete removes exactly these records.
func (p *provider) delete(ctx context.Context, zone string, records ...libdns.Record) error {
	_, err := p.call(ctx, func(ctx context.Context) ([]libdns.Record, error) {
		return p.deleter.DeleteRecords(ctx, zone, records)
	})
	if err != nil {
		return fmt.Errorf("deleting records of zone %s: %w", zone, err)
	}
	return nil
}

func (p *provider) call(ctx context.Context, f func(context.Context) ([]libdns.Record, error)) ([]libdns.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	records, err := alone(ctx, p.turn, "provider "+p.name, f)
	return records, p.redacted(err)
}

// alone is bounded for calls of which there must not be two at a time, even
// where the first one hangs; turn has room for one.
func alone[T any](ctx context.Context, turn chan struct{}, what string, f func(context.Context) (T, error)) (T, error) {
	select {
	case turn <- struct{}{}:
	default:
		var zero T
		return zero, fmt.Errorf("a former call to the %s still hangs", what)
	}
	return bounded(ctx, func(ctx context.Context) (T, error) {
		defer func() { <-turn }()
		return f(ctx)
	})
}

// bounded returns what f does, or an error soon after ctx is done: then f is
// left behind, and ends when it ends.
func bounded[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			// Plug-ins must not take down the server.
			if cause := recover(); cause != nil {
				r.err = fmt.Errorf("panic: %v", cause)
				caddy.Log().Named(ID).Error("a plug-in has panicked", zap.Any("cause", cause), zap.ByteString("stack", debug.Stack()))
			}
			done <- r
		}()
		r.value, r.err = f(ctx)
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.value, r.err
	case <-time.After(grace):
		var zero T
		return zero, fmt.Errorf("no answer: %w", ctx.Err())
	}
}

// retryAfter returns when a provider asks to be called again at the earliest,
// or zero. Errors tell it by a method: `RetryAfter() time.Duration`.
func retryAfter(err error) time.Duration {
	var e interface{ RetryAfter() time.Duration }
	if errors.As(err, &e) {
		return e.RetryAfter()
	}
	return 0
}

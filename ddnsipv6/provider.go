package ddnsipv6

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/libdns/libdns"
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
	p := &provider{name: module.(caddy.Module).CaddyModule().ID.Name(), turn: make(chan struct{}, 1), secrets: secretsOf(module)}
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
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
	default:
		return nil, fmt.Errorf("a former call to provider %s still hangs", p.name)
	}
	records, err := bounded(ctx, func(ctx context.Context) ([]libdns.Record, error) {
		defer func() { <-p.turn }()
		return f(ctx)
	})
	return records, p.redacted(err)
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
				r.err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
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

// redactedError is an error whose text was freed of secrets.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }

// inURL is what may be a secret in a URL, which HTTP clients put in their errors.
var inURL = regexp.MustCompile(`(://)[^/@\s"]+@|\?[^\s"]+`)

// redacted removes from an error what a provider should not have put there.
func (p *provider) redacted(err error) error {
	if err == nil {
		return nil
	}
	text := inURL.ReplaceAllString(err.Error(), "${1}…")
	for _, secret := range p.secrets {
		text = strings.ReplaceAll(text, secret, "…")
	}
	if text == err.Error() {
		return err
	}
	return &redactedError{text, err}
}

// secretName is how the fields of providers are called that hold secrets.
var secretName = regexp.MustCompile(`(?i)token|key|secret|pass|auth|credential`)

// secretsOf returns the values of a provider's secret fields.
func secretsOf(module any) []string {
	encoded, err := json.Marshal(module)
	if err != nil {
		return nil
	}
	var fields any
	if err := json.Unmarshal(encoded, &fields); err != nil {
		return nil
	}
	var secrets []string
	var collect func(value any, secret bool)
	collect = func(value any, secret bool) {
		switch v := value.(type) {
		case map[string]any:
			for name, field := range v {
				collect(field, secret || secretName.MatchString(name))
			}
		case []any:
			for _, element := range v {
				collect(element, secret)
			}
		case string:
			// Shorter ones would make a text unreadable, and protect nothing.
			if secret && len(v) >= 6 {
				secrets = append(secrets, v)
			}
		}
	}
	collect(fields, false)
	return secrets
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

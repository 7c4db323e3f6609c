package dnssynology

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/libdns/libdns"
)

// roundTripper is a function that answers requests.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// formOf returns the parameters in a request's body, which stays unread.
func formOf(r *http.Request) url.Values {
	if r.GetBody == nil {
		return nil
	}
	body, err := r.GetBody()
	if err != nil {
		return nil
	}
	content, _ := io.ReadAll(body)
	form, _ := url.ParseQuery(string(content))
	return form
}

// reply answers a request with a body.
func reply(r *http.Request, body string) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

func TestBackendHonoursContext(t *testing.T) {
	fake, b := zoneAt(t)
	if _, err := b.get(t.Context(), "example.com"); err != nil {
		t.Fatal(err)
	}
	fake.Hang(true)
	defer fake.Hang(false)
	for name, do := range map[string]func(context.Context) error{
		"get": func(ctx context.Context) error { _, err := b.get(ctx, "example.com"); return err },
		"add": func(ctx context.Context) error {
			_, err := b.add(ctx, "example.com", []libdns.Record{libdns.TXT{Name: "x"}})
			return err
		},
		"set": func(ctx context.Context) error {
			_, err := b.set(ctx, "example.com", []libdns.Record{libdns.TXT{Name: "x"}})
			return err
		},
		"remove": func(ctx context.Context) error {
			_, err := b.remove(ctx, "example.com", []libdns.Record{libdns.TXT{Name: "x"}})
			return err
		},
		"zones": func(ctx context.Context) error { _, err := b.zones(ctx); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		if err := do(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// A writer that waits for another one stops waiting with its context.
func TestWriterWaitsWithItsContext(t *testing.T) {
	_, b := zoneAt(t)
	unlock, err := processLocks.lock(t.Context(), b.api.url+" example.com.")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := b.add(ctx, "example.com", []libdns.Record{libdns.TXT{Name: "x"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	unlock()
	if len(processLocks.held) != 0 {
		t.Errorf("%d locks are left", len(processLocks.held))
	}
	if _, err := b.add(t.Context(), "example.com", []libdns.Record{libdns.TXT{Name: "x"}}); err != nil {
		t.Error(err)
	}
}

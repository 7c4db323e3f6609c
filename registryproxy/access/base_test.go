package access

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
)

// upstream is a next handler that counts what it was asked.
type upstream struct {
	caddyhttp.Handler
	asked int
}

func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	u.asked++
	return u.Handler.ServeHTTP(w, r)
}

// base is a client of the base endpoint, with alice's login.
type base struct {
	handler *Handler
	next    *upstream
}

func newBase(t *testing.T, next caddyhttp.Handler) *base {
	t.Helper()
	return &base{newHandler(t, nil), &upstream{Handler: next}}
}

// ask returns the answer, and whether the registry was asked for it.
func (b *base) ask(method, target string) (*http.Response, bool, error) {
	w := httptest.NewRecorder()
	w.Header().Set("Server", "Caddy") // as the server sets it
	w.Header().Set("X-Request-Id", target)
	before := b.next.asked
	r := caddyRequest(w, httptest.NewRequest(method, target, nil), "alice")
	err := b.handler.ServeHTTP(w, r, b.next)
	return w.Result(), b.next.asked > before, err
}

// is asks for the base, and checks whether the registry was asked.
func (b *base) is(t *testing.T, name string, wantAsked bool) {
	t.Helper()
	resp, asked, err := b.ask(http.MethodGet, "/v2/")
	if err != nil || resp.StatusCode != http.StatusOK || asked != wantAsked {
		t.Errorf("%s: %s (%v), the registry was asked: %t, want %t", name, resp.Status, err, asked, wantAsked)
	}
}

// ok is what the reference registry answers to GET /v2/.
var ok = handlerFunc(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "2")
	_, _ = io.WriteString(w, "{}")
}))

// TestBaseIsRemembered holds what we answer from memory against what the
// registry answered.
func TestBaseIsRemembered(t *testing.T) {
	registry := newRegistry(t, 100)
	b := newBase(t, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Del("Server") // as reverse_proxy does
		registry.ServeHTTP(w, r)
		return nil
	}))
	type answer struct {
		Status int
		Header http.Header
		Body   string
	}
	ask := func(method, target string, wantAsked bool) answer {
		t.Helper()
		resp, asked, err := b.ask(method, target)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if asked != wantAsked {
			t.Errorf("%s %s: the registry was asked: %t, want %t", method, target, asked, wantAsked)
		}
		return answer{resp.StatusCode, resp.Header, string(body)}
	}
	head := ask(http.MethodHead, "/v2/", true) // has no body to remember
	head.Body = ""                             // net/http drops it
	get := ask(http.MethodGet, "/v2/", true)
	for range 3 {
		if diff := cmp.Diff(get, ask(http.MethodGet, "/v2/", false)); diff != "" {
			t.Errorf("GET (-registry +ours):\n%s", diff)
		}
		if diff := cmp.Diff(head, ask(http.MethodHead, "/v2/", false)); diff != "" {
			t.Errorf("HEAD (-registry +ours):\n%s", diff)
		}
	}
	for _, target := range []string{"/v2/?x", "/v2", "http://other.example/v2/"} {
		ask(http.MethodGet, target, true)
	}
}

func TestBaseIsForgotten(t *testing.T) {
	failure := errors.New("dial: connection refused")
	status := func(status int) func(w http.ResponseWriter) error {
		return func(w http.ResponseWriter) error {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			return nil
		}
	}
	for _, tc := range []struct {
		name    string
		fail    func(w http.ResponseWriter) error
		forgets bool
	}{
		{"error", func(http.ResponseWriter) error { return failure }, true},
		{"500", status(500), true},
		{"503", status(503), true},
		{"half an answer", func(w http.ResponseWriter) error {
			w.WriteHeader(http.StatusOK)
			panic(http.ErrAbortHandler)
		}, true},
		{"404", status(404), false},
		{"200", status(200), false},
	} {
		for _, request := range [][2]string{
			{http.MethodGet, "/v2/app/tags/list"}, {http.MethodPut, "/v2/app/manifests/v1"}, {http.MethodGet, "/v2/_catalog"},
		} {
			t.Run(tc.name+" "+request[0]+" "+request[1], func(t *testing.T) {
				b := newBase(t, ok)
				b.is(t, "first", true)
				b.is(t, "second", false)
				b.next.Handler = caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error { return tc.fail(w) })
				func() {
					defer func() { _ = recover() }()
					_, _, _ = b.ask(request[0], request[1])
				}()
				b.next.Handler = ok
				b.is(t, "afterwards", tc.forgets)
			})
		}
	}

	t.Run("while it is asked for", func(t *testing.T) {
		b := newBase(t, nil)
		b.next.Handler = caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			b.handler.base.forget() // another request fails meanwhile
			return ok.ServeHTTP(w, r)
		})
		b.is(t, "first", true)
		b.is(t, "second", true)
	})
}

func TestBaseAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBase(t, ok)
		b.is(t, "first", true)
		time.Sleep(baseTime - time.Millisecond)
		b.is(t, "still", false) // and it is not prolonged
		time.Sleep(time.Millisecond)
		b.is(t, "late", true)
	})
}

// TestBaseIsNotShared: an answer that may not be the same for everybody, or is
// not whole, is no answer for others.
func TestBaseIsNotShared(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		header []string
		body   string
	}{
		{"login wanted", 401, []string{"Content-Length", "0"}, ""},
		{"redirect", 307, []string{"Content-Length", "0"}, ""},
		{"varies", 200, []string{"Content-Length", "2", "Vary", "Origin"}, "{}"},
		{"cookie", 200, []string{"Content-Length", "2", "Set-Cookie", "a=b"}, "{}"},
		{"compressed", 200, []string{"Content-Length", "2", "Content-Encoding", "gzip"}, "{}"},
		{"caching", 200, []string{"Content-Length", "2", "Cache-Control", "no-store"}, "{}"},
		{"unknown length", 200, nil, "{}"},
		{"half", 200, []string{"Content-Length", "4"}, "{}"},
		{"large", 200, []string{"Content-Length", "5000"}, string(make([]byte, 5000))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBase(t, handlerFunc(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for i := 0; i < len(tc.header); i += 2 {
					w.Header().Set(tc.header[i], tc.header[i+1])
				}
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})))
			for range 2 {
				resp, asked, err := b.ask(http.MethodGet, "/v2/")
				body, _ := io.ReadAll(resp.Body)
				if err != nil || !asked || resp.StatusCode != tc.status || string(body) != tc.body {
					t.Errorf("%s %q (%v), the registry was asked: %t", resp.Status, body, err, asked)
				}
			}
		})
	}
}

// TestBaseAllocates guards the way that every client takes first.
func TestBaseAllocates(t *testing.T) {
	b := newBase(t, ok)
	b.is(t, "first", true)
	w := &page{header: make(http.Header)}
	r := caddyRequest(w, httptest.NewRequest(http.MethodGet, "/v2/", nil), "alice")
	allocations := testing.AllocsPerRun(100, func() {
		clear(w.header)
		w.body.Reset()
		if err := b.handler.ServeHTTP(w, r, b.next); err != nil {
			t.Fatal(err)
		}
	})
	// The writer, the values of the headers, and no-transform.
	if allocations > 3 || b.next.asked != 1 {
		t.Errorf("%.0f allocations, want 3; the registry was asked %d times", allocations, b.next.asked)
	}
}

// TestBaseHasItsOwnDate: each answer says when it was given, not when the
// registry gave the first.
func TestBaseHasItsOwnDate(t *testing.T) {
	b := newBase(t, handlerFunc(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", "Mon, 02 Jan 2006 15:04:05 GMT")
		_ = ok.ServeHTTP(w, r)
	})))
	b.is(t, "first", true)
	resp, asked, err := b.ask(http.MethodGet, "/v2/")
	if date := resp.Header.Get("Date"); err != nil || asked || date != "" {
		t.Errorf("the date is %q, and net/http adds none (%v, the registry was asked: %t)", date, err, asked)
	}
}

// TestBaseOfBrowsers: a page's request neither leaves an answer for others nor
// gets one from memory, even from a registry that answers by the request's
// headers and says nothing of it.
func TestBaseOfBrowsers(t *testing.T) {
	for _, name := range []string{"Origin", "Cookie"} {
		t.Run(name, func(t *testing.T) {
			b := newBase(t, handlerFunc(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if value := r.Header.Get(name); value != "" {
					w.Header().Set("X-Echo", value)
				}
				_ = ok.ServeHTTP(w, r)
			})))
			ask := func(value string) {
				t.Helper()
				w := httptest.NewRecorder()
				r := caddyRequest(w, httptest.NewRequest(http.MethodGet, "/v2/", nil), "alice")
				if value != "" {
					r.Header.Set(name, value)
				}
				if err := b.handler.ServeHTTP(w, r, b.next); err != nil {
					t.Fatal(err)
				}
				if got := w.Header().Get("X-Echo"); got != value {
					t.Errorf("asked with %q, answered with %q", value, got)
				}
			}
			ask("one")
			ask("")
			ask("two")
			ask("")
			if b.next.asked != 3 {
				t.Errorf("the registry was asked %d times, want 3", b.next.asked)
			}
		})
	}
}

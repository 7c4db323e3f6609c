package ddnsipv6

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
)

// echoServer is an echo service at [::1] until the test ends.
func echoServer(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := unstarted(t, handler)
	server.Start()
	return server
}

// tlsServer is an echoServer for https.
func tlsServer(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := unstarted(t, handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that don't trust it
	server.StartTLS()
	return server
}

func unstarted(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	server.Listener = l
	t.Cleanup(server.Close)
	return server
}

// says answers with a text.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// hangs never answers.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func breaks(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "2600:1::1", http.StatusInternalServerError)
}

// closes ends the connection without an answer.
func closes(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// provisioned makes a source ready for use.
func provisioned(t testing.TB, s *HTTPSource) *HTTPSource {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := s.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Cleanup() })
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHTTPSource(t *testing.T) {
	const a, b = "2600:1::1", "2600:2::2"
	services := func(handlers ...http.HandlerFunc) []http.HandlerFunc { return handlers }
	for _, tc := range []struct {
		name     string
		accept   string
		services []http.HandlerFunc
		want     string
		err      string // the whole of it, where <1> is the first service
	}{
		{name: "one", services: services(says(a)), want: a},
		{name: "blanks around", services: services(says("\r\n " + a + "\t\n")), want: a},
		{name: "all agree", services: services(says(a), says(a), says(a)), want: a},
		{name: "written differently", services: services(says(a), says("2600:0001:0::0001")), want: a},
		{name: "one lies", services: services(says(b), says(a), says(a)), want: a},
		{name: "one fails", services: services(breaks, says(a), says(a)), want: a},
		{name: "one hangs", services: services(says(a), hangs, says(a)), want: a},
		{name: "two of five hang", services: services(hangs, says(a), hangs, says(a), says(a)), want: a},
		{
			name: "tie of two", services: services(says(a), says(b)),
			err: "fewer than 2 of 2 agree: <1>: 2600:1::1; <2>: 2600:2::2",
		},
		{
			name: "tie of four", services: services(says(a), says(b), says(a), says(b)),
			err: "fewer than 3 of 4 agree: <1>: 2600:1::1; <2>: 2600:2::2; <3>: 2600:1::1; <4>: 2600:2::2",
		},
		{
			name: "half of the configured is no majority", services: services(says(a), breaks),
			err: "fewer than 2 of 2 agree: <1>: 2600:1::1; <2>: answered status 500",
		},
		{
			name: "lost before all answered", services: services(breaks, hangs, closes),
			err: "fewer than 2 of 3 agree: <1>: answered status 500; <2>: no answer yet; <3>: no valid HTTP answer",
		},
		{
			name: "IPv4", services: services(says("192.0.2.1"), says("::ffff:192.0.2.1")),
			err: "fewer than 2 of 2 agree: <1>: answered an IPv4 address; <2>: answered an IPv4 address",
		},
		{name: "zone", services: services(says("fe80::1%eth0")), err: "fewer than 1 of 1 agree: <1>: answered an address with a zone"},
		{name: "garbage", services: services(says("<html>" + a)), err: "fewer than 1 of 1 agree: <1>: answered something else than an address"},
		{name: "two addresses", services: services(says(a + "\n" + a)), err: "fewer than 1 of 1 agree: <1>: answered something else than an address"},
		{name: "nothing", services: services(says("")), err: "fewer than 1 of 1 agree: <1>: answered something else than an address"},
		{name: "too long", services: services(says(a + strings.Repeat(" ", maxAnswer))), err: "fewer than 1 of 1 agree: <1>: answered more than 1 KiB"},
		{
			name:     "no content",
			services: services(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }),
			err:      "fewer than 1 of 1 agree: <1>: answered status 204",
		},
		{
			name: "cut off",
			services: services(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(w, a)
			}),
			err: "fewer than 1 of 1 agree: <1>: no valid HTTP answer",
		},

		{name: "first", accept: acceptFirst, services: services(says(a), says(b)), want: a},
		{name: "first that works", accept: acceptFirst, services: services(breaks, says("192.0.2.1"), closes, says(a), says(b)), want: a},
		{
			name: "first, but none works", accept: acceptFirst, services: services(breaks, says("?")),
			err: "none gave a valid answer: <1>: answered status 500; <2>: answered something else than an address",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := &HTTPSource{Accept: tc.accept, Timeout: caddy.Duration(lookTimeout)}
			wantErr := "asking echo services: " + tc.err
			for i, handler := range tc.services {
				s.URLs = append(s.URLs, echoServer(t, handler).URL)
				wantErr = strings.ReplaceAll(wantErr, fmt.Sprintf("<%d>", i+1), s.URLs[i])
			}
			got, err := provisioned(t, s).Addresses(t.Context())
			if tc.err != "" {
				if err == nil || err.Error() != wantErr || got != nil {
					t.Errorf("got %v and the error\n%v, want\n%s", got, err, wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			ip := netip.MustParseAddr(tc.want)
			want := []Address{{
				IP: ip, Prefix: netip.PrefixFrom(ip, 64).Masked(), DefaultRoute: true,
				Preferred: Forever, Valid: Forever,
			}}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestHTTPSourcePrefixLength(t *testing.T) {
	server := echoServer(t, says("2600:1:2:3ff:4::5"))
	got, err := provisioned(t, &HTTPSource{URLs: []string{server.URL}, PrefixLength: 56}).Addresses(t.Context())
	if err != nil || len(got) != 1 || got[0].Prefix != netip.MustParsePrefix("2600:1:2:300::/56") {
		t.Errorf("got %v, %v", got, err)
	}
}

// With "first", the others are left alone.
func TestHTTPSourceFirstAsksOne(t *testing.T) {
	server := echoServer(t, says("2600:1::1"))
	other := echoServer(t, func(http.ResponseWriter, *http.Request) { t.Error("asked") })
	s := provisioned(t, &HTTPSource{URLs: []string{server.URL, other.URL}, Accept: acceptFirst})
	if _, err := s.Addresses(t.Context()); err != nil {
		t.Error(err)
	}
}

// No request goes on after the majority agreed, or was missed.
func TestHTTPSourceCancels(t *testing.T) {
	for _, handler := range []http.HandlerFunc{says("2600:1::1"), breaks} {
		began, ended := make(chan struct{}), make(chan struct{})
		slow := echoServer(t, func(_ http.ResponseWriter, r *http.Request) {
			close(began)
			<-r.Context().Done()
			close(ended)
		})
		after := func(w http.ResponseWriter, r *http.Request) { <-began; handler(w, r) }
		s := provisioned(t, &HTTPSource{
			URLs:    []string{echoServer(t, after).URL, slow.URL, echoServer(t, after).URL},
			Timeout: caddy.Duration(lookTimeout),
		})
		_, _ = s.Addresses(t.Context())
		<-ended
	}
}

func TestHTTPSourceTimeout(t *testing.T) {
	server := echoServer(t, hangs)
	for _, accept := range []string{acceptMajority, acceptFirst} {
		s := provisioned(t, &HTTPSource{URLs: []string{server.URL}, Accept: accept, Timeout: caddy.Duration(20 * time.Millisecond)})
		if _, err := s.Addresses(t.Context()); err == nil || !strings.HasSuffix(err.Error(), server.URL+": no answer in time") {
			t.Errorf("%s: got the error %v", accept, err)
		}
	}
}

func TestHTTPSourceEndsWithContext(t *testing.T) {
	for _, accept := range []string{acceptMajority, acceptFirst} {
		ctx, cancel := context.WithCancel(t.Context())
		server := echoServer(t, func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		s := provisioned(t, &HTTPSource{URLs: []string{server.URL, server.URL + "/2"}, Accept: accept, Timeout: caddy.Duration(lookTimeout)})
		if _, err := s.Addresses(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got the error %v", accept, err)
		}
	}
}

// The same failure reads the same each time, however the services race.
func TestHTTPSourceStableError(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close() // nobody listens any more
	down := "http://" + l.Addr().String()
	s := provisioned(t, &HTTPSource{URLs: []string{down, echoServer(t, closes).URL, down + "/2", echoServer(t, breaks).URL, down + "/3"}})
	_, first := s.Addresses(t.Context())
	if first == nil || !strings.Contains(first.Error(), down+": connect: connection refused; ") {
		t.Fatalf("got the error %v", first)
	}
	for range 20 {
		if _, err := s.Addresses(t.Context()); err == nil || err.Error() != first.Error() {
			t.Fatalf("got the error\n%v, and before\n%v", err, first)
		}
	}
}

func TestHTTPSourceWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &HTTPSource{Interval: caddy.Duration(3 * time.Minute)}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		start := time.Now()
		var calls []time.Duration
		s.Watch(ctx, func() { calls = append(calls, time.Since(start)) })
		if diff := cmp.Diff([]time.Duration{3 * time.Minute, 6 * time.Minute, 9 * time.Minute}, calls); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if took := time.Since(start); took != 10*time.Minute {
			t.Errorf("it returned after %v", took)
		}
	})
}

// Two looks at once don't disturb each other, nor the end of the config.
func TestHTTPSourceConcurrent(t *testing.T) {
	var asked atomic.Int32
	server := echoServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		says("2600:1::1")(w, r)
	})
	s := provisioned(t, &HTTPSource{URLs: []string{server.URL, server.URL + "/2"}})
	results := make(chan error)
	for range 8 {
		go func() {
			_, err := s.Addresses(t.Context())
			results <- err
		}()
	}
	if err := s.Cleanup(); err != nil {
		t.Error(err)
	}
	for range 8 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if asked.Load() != 16 {
		t.Errorf("%d requests, want 16", asked.Load())
	}
	if err := new(HTTPSource).Cleanup(); err != nil {
		t.Errorf("without Provision: %v", err)
	}
}

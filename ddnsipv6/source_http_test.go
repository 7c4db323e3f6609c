package ddnsipv6

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
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
			s := &HTTPSource{Accept: tc.accept, Timeout: caddy.Duration(time.Minute)}
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
			Timeout: caddy.Duration(time.Hour),
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
		s := provisioned(t, &HTTPSource{URLs: []string{server.URL, server.URL + "/2"}, Accept: accept, Timeout: caddy.Duration(time.Hour)})
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

// An answer over IPv4 would be of no use, and one through a proxy the proxy's.
func TestHTTPSourceIPv6Only(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked over IPv4") }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for host, cause := range map[string]string{
		"127.0.0.1":          "it has no IPv6 address",
		"[::ffff:127.0.0.1]": "it has no IPv6 address",
		"localhost":          "", // depends on the hosts file
	} {
		s := provisioned(t, &HTTPSource{URLs: []string{"http://" + host + ":" + port}})
		if _, err := s.Addresses(t.Context()); err == nil || !strings.HasSuffix(err.Error(), cause) {
			t.Errorf("%s: got the error %v", host, err)
		}
		if s.client.Transport.(*http.Transport).Proxy != nil {
			t.Error("it uses a proxy")
		}
	}
}

func TestHTTPSourceRedirects(t *testing.T) {
	target := echoServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Referer() != "" {
			t.Errorf("it got to know %s", r.Referer())
		}
		says("2600:1::1")(w, r)
	})
	// hops redirects n times, then to the target.
	hops := func(n int) string {
		server := echoServer(t, func(w http.ResponseWriter, r *http.Request) {
			if n--; n < 0 {
				http.Redirect(w, r, target.URL, http.StatusFound)
				return
			}
			http.Redirect(w, r, "/again", http.StatusFound)
		})
		return server.URL + "/?token=hunter2"
	}
	secure := tlsServer(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, http.StatusFound) })
	to := func(location string) string {
		return echoServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusMovedPermanently)
		}).URL
	}
	for _, tc := range []struct{ name, url, err string }{
		{name: "one", url: hops(0)},
		{name: "three", url: hops(2)},
		{name: "four", url: hops(3), err: "redirects more than 3 times"},
		{name: "from https to http", url: secure.URL, err: "redirects from https to http"},
		{name: "from http over https to http", url: to(secure.URL), err: "redirects from https to http"},
		{name: "to IPv4", url: to("http://127.0.0.1:1/"), err: "it has no IPv6 address"},
		{name: "to a file", url: to("file:///etc/passwd"), err: "no valid HTTP answer"},
		{name: "to nowhere", url: to(""), err: "answered status 301"},
		{name: "to garbage", url: to("http://[hunter2"), err: "no valid HTTP answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := provisioned(t, &HTTPSource{URLs: []string{tc.url}})
			s.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots(secure)
			_, err := s.Addresses(t.Context())
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.HasSuffix(err.Error(), ": "+tc.err)) {
				t.Errorf("got the error %v, want %q", err, tc.err)
			}
		})
	}
}

func roots(server *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return pool
}

func TestHTTPSourceCertificate(t *testing.T) {
	server := tlsServer(t, says("2600:1::1"))
	s := provisioned(t, &HTTPSource{URLs: []string{server.URL}})
	if _, err := s.Addresses(t.Context()); err == nil || !strings.Contains(err.Error(), "x509: certificate signed by unknown authority") {
		t.Errorf("got the error %v", err)
	}
	s.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots(server)
	if got, err := s.Addresses(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

// What a URL holds of user, password and query is for the service alone.
func TestHTTPSourceSecrets(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"status":   breaks,
		"nothing":  closes,
		"echo":     func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.String()) },
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) },
		"bad redirect": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://[?"+r.URL.RawQuery)
			w.WriteHeader(http.StatusFound)
		},
		"not HTTP": func(w http.ResponseWriter, r *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			_, _ = io.WriteString(conn, r.URL.String()+"\r\n\r\n")
			conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := echoServer(t, func(w http.ResponseWriter, r *http.Request) {
				user, password, _ := r.BasicAuth()
				if user != "hunter1" || password != "hunter2" || r.URL.Query().Get("token") != "hunter3" {
					t.Errorf("the service got %s %s %s", user, password, r.URL)
				}
				answer(w, r)
			})
			t.Setenv("DDNS_TEST_URL", strings.Replace(server.URL, "//", "//hunter1:hunter2@", 1)+"/ip?token=hunter3#hunter4")
			s := provisioned(t, &HTTPSource{URLs: []string{"{env.DDNS_TEST_URL}"}})
			_, err := s.Addresses(t.Context())
			if err == nil || strings.Contains(err.Error(), "hunter") || !strings.Contains(err.Error(), server.URL+"/ip: ") {
				t.Errorf("got the error %v", err)
			}
		})
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

func TestHTTPSourceCaddyfile(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     string // JSON
		err      string // a part of it
	}{
		{name: "nothing", in: "http", want: `{}`},
		{name: "empty block", in: "http {\n}", want: `{}`},
		{name: "URLs", in: "http https://a https://b", want: `{"urls":["https://a","https://b"]}`},
		{
			name: "everything",
			in: `http https://a {
				url https://b https://c
				interval 1h
				url {env.D}
				timeout 3s
				accept first
				prefix_length 56
			}`,
			want: `{"urls":["https://a","https://b","https://c","{env.D}"],"interval":3600000000000,"timeout":3000000000,"accept":"first","prefix_length":56}`,
		},
		{name: "days", in: "http {\ninterval 1d\n}", want: `{"interval":86400000000000}`},

		{name: "unknown option", in: "http {\nurls https://a\n}", err: `source http has no option "urls"`},
		{name: "block in an option", in: "http {\nurl https://a {\nb\n}\n}", err: `source http has no option "{"`},
		{name: "url without a value", in: "http {\nurl\n}", err: "url takes at least one value"},
		{name: "interval twice", in: "http {\ninterval 1m\ninterval 1m\n}", err: "interval is given more than once"},
		{name: "timeout twice", in: "http {\ntimeout 1m\ntimeout 2m\n}", err: "timeout is given more than once"},
		{name: "accept twice", in: "http {\naccept first\naccept first\n}", err: "accept is given more than once"},
		{name: "prefix_length twice", in: "http {\nprefix_length 64\nprefix_length 64\n}", err: "prefix_length is given more than once"},
		{name: "interval without a value", in: "http {\ninterval\n}", err: "interval takes one value"},
		{name: "interval with two", in: "http {\ninterval 1m 2m\n}", err: "interval takes one value"},
		{name: "interval in words", in: "http {\ninterval often\n}", err: `interval: "often" is not a duration`},
		{name: "interval of nothing", in: "http {\ninterval 0s\n}", err: `interval: "0s" is not a duration`},
		{name: "timeout negative", in: "http {\ntimeout -1s\n}", err: `timeout: "-1s" is not a duration`},
		{name: "accept without a value", in: "http {\naccept\n}", err: "accept takes one value"},
		{name: "accept empty", in: "http {\naccept \"\"\n}", err: "accept takes one value"},
		{name: "prefix_length in words", in: "http {\nprefix_length /64\n}", err: `prefix_length: "/64" is not a number`},
		{name: "prefix_length zero", in: "http {\nprefix_length 0\n}", err: `prefix_length: "0" is not a number`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := new(HTTPSource)
			err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tc.in))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got the error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestHTTPSourceLoad(t *testing.T) {
	t.Setenv("DDNS_TEST_URL", "https://user:hunter2@a.example/?token=hunter3")
	t.Setenv("DDNS_TEST_ACCEPT", "first")
	for _, tc := range []struct {
		name, config string
		want         HTTPSource // its exported fields
		err          string     // a part of it
	}{
		{
			name: "defaults", config: `{}`,
			want: HTTPSource{
				URLs:     []string{"https://api6.ipify.org", "https://ipv6.icanhazip.com", "https://v6.ident.me"},
				Interval: caddy.Duration(5 * time.Minute), Timeout: caddy.Duration(10 * time.Second),
				Accept: "majority", PrefixLength: 64,
			},
		},
		{
			name:   "everything",
			config: `{"urls": ["{env.DDNS_TEST_URL}", "http://[2600::1]:8080/ip"], "interval": "1s", "timeout": "1s", "accept": "{env.DDNS_TEST_ACCEPT}", "prefix_length": 56}`,
			want: HTTPSource{
				URLs:     []string{"{env.DDNS_TEST_URL}", "http://[2600::1]:8080/ip"},
				Interval: caddy.Duration(time.Second), Timeout: caddy.Duration(time.Second),
				Accept: "first", PrefixLength: 56,
			},
		},
		{name: "different queries", config: `{"urls": ["https://a?1", "https://a?2"]}`, want: HTTPSource{
			URLs:     []string{"https://a?1", "https://a?2"},
			Interval: caddy.Duration(5 * time.Minute), Timeout: caddy.Duration(10 * time.Second),
			Accept: "majority", PrefixLength: 64,
		}},

		{name: "unknown field", config: `{"url": "https://a"}`, err: `unknown field "url"`},
		{name: "unknown placeholder", config: `{"urls": ["{env.DDNS_TEST_MISSING}"]}`, err: "env.DDNS_TEST_MISSING"},
		{name: "unknown placeholder in accept", config: `{"accept": "{env.DDNS_TEST_MISSING}"}`, err: "env.DDNS_TEST_MISSING"},
		{name: "no scheme", config: `{"urls": ["a.example"]}`, err: "url 1 of 1 is not one of http or https"},
		{name: "another scheme", config: `{"urls": ["https://a", "ftp://b"]}`, err: "url 2 of 2 is not one of http or https"},
		{name: "no host", config: `{"urls": ["https:///a"]}`, err: "url 1 of 1 is not one of http or https"},
		{name: "not a URL", config: `{"urls": ["https://user:hunter2@[::1"]}`, err: "url 1 of 1 is not one of http or https"},
		{name: "duplicate", config: `{"urls": ["https://a", "https://b", "https://a"]}`, err: "url https://a is given more than once"},
		{name: "duplicate in other words", config: `{"urls": ["https://a.example", "HTTPS://A.example/#b"]}`, err: "url https://A.example/ is given more than once"},
		{
			name: "duplicate with secrets", config: `{"urls": ["{env.DDNS_TEST_URL}", "{env.DDNS_TEST_URL}"]}`,
			err: "url https://a.example/ is given more than once",
		},
		{name: "short interval", config: `{"interval": "999ms"}`, err: "interval 999ms is less than 1s"},
		{name: "negative timeout", config: `{"timeout": -1}`, err: "timeout -1ns is negative"},
		{name: "unknown accept", config: `{"accept": "last"}`, err: `accept "last" is neither majority nor first`},
		{name: "long prefix", config: `{"prefix_length": 128}`, err: "prefix_length 128 is not within 1 and 127"},
		{name: "negative prefix", config: `{"prefix_length": -1}`, err: "prefix_length -1 is not within 1 and 127"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
			defer cancel()
			loaded, err := ctx.LoadModuleByID("ddns_ipv6.sources.http", json.RawMessage(tc.config))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "hunter") {
					t.Errorf("got the error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := *loaded.(*HTTPSource)
			got.services, got.client = nil, nil
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(HTTPSource{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestHTTPSourceName(t *testing.T) {
	service, err := url.Parse("https://user:hunter2@[2600::1]:8443/a%2Fb?token=hunter3#c")
	if err != nil {
		t.Fatal(err)
	}
	if got := nameOf(service); got != "https://[2600::1]:8443/a/b" {
		t.Errorf("got %s", got)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"2600:1::1", " 2600:1::1\r\n", "192.0.2.1", "::ffff:192.0.2.1", "fe80::1%eth0", "::", "", "<html>",
		"2600:1::1 2600:1::1", "2600:1::1\x00", "1:2:3:4:5:6:7:8:9", strings.Repeat(" ", maxAnswer) + "2600:1::1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ip, err := parseAnswer(body)
		if err != nil {
			if ip.IsValid() {
				t.Errorf("%v with the error %v", ip, err)
			}
			if _, fit := errors.AsType[refusal](err); !fit {
				t.Errorf("the error %v is of another type", err)
			}
			return
		}
		if !ip.Is6() || ip.Is4In6() || ip.Zone() != "" || len(body) > maxAnswer {
			t.Errorf("%q is taken for %v", body, ip)
		}
		if again, err := parseAnswer([]byte(ip.String())); again != ip || err != nil {
			t.Errorf("%v becomes %v, %v", ip, again, err)
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

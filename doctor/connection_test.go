package doctor

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// forward lets one address of this machine lead to another.
func forward(t *testing.T, from, to string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := new(net.Dialer).DialContext(t.Context(), "tcp", to)
			if err != nil {
				near.Close()
				return
			}
			go func() { defer far.Close(); _, _ = io.Copy(far, near) }()
			go func() { defer near.Close(); _, _ = io.Copy(near, far) }()
		}
	}()
}

// registryChallenge is the answer as it should be.
func registryChallenge() http.Header {
	return http.Header{"Www-Authenticate": {`Basic realm="registry"`}, "Docker-Distribution-Api-Version": {"registry/2.0"}}
}

func without(key string) http.Header {
	header := registryChallenge()
	header.Del(key)
	return header
}

func TestLookChallenge(t *testing.T) {
	leaf := issue(t, nil, "", []string{"localhost"}, nil)
	bearer := registryChallenge()
	bearer.Set("WWW-Authenticate", `Bearer realm="https://auth.example"`)
	for _, test := range []struct {
		name         string
		code         int
		header       http.Header
		status       Status
		seen, advice string
	}{
		{"as it should be", 401, registryChallenge(), OK, "asked for a password", ""},
		{"open", 200, registryChallenge(), Wrong, "open to everybody", "htpasswd"},
		{"too busy", 429, nil, Unknown, "too busy", "Wait"},
		{"another site", 404, nil, Wrong, "answered by 404 Not Found", "Caddyfile"},
		{"redirect", 308, http.Header{"Location": {"https://example.com/"}}, Wrong, "answered by 308", "Caddyfile"},
		{"no challenge", 401, without("WWW-Authenticate"), Wrong, "does not ask for a name", "Caddyfile"},
		{"another challenge", 401, bearer, Wrong, "does not ask for a name", "Caddyfile"},
		{"no registry", 401, without("Docker-Distribution-Api-Version"), Wrong, "not that of a registry", "Caddyfile"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := startSite(t, tlsConfig(leaf), func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v2/" || r.Header.Get("Authorization") != "" {
					t.Errorf("%s %v", r.URL, r.Header)
				}
				for key, values := range test.header {
					w.Header()[key] = values
				}
				w.WriteHeader(test.code)
			}, "localhost")
			p.chain = chainOf(leaf)
			says(t, lookChallenge(t.Context(), p), test.status, test.seen, test.advice)
		})
	}
	t.Run("no answer", func(t *testing.T) {
		p := startSite(t, tlsConfig(leaf), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "localhost")
		p.chain = chainOf(leaf)
		says(t, lookChallenge(t.Context(), p), Wrong, "EOF", "logs caddy")
	})
	t.Run("no answer in time", func(t *testing.T) {
		p := startSite(t, tlsConfig(leaf), func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "localhost")
		p.chain = chainOf(leaf)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		says(t, lookChallenge(ctx, p), Unknown, "deadline exceeded", "again")
	})
}

// TestPinned: a login goes to nobody but the server whose certificate was seen.
func TestPinned(t *testing.T) {
	p := startSite(t, tlsConfig(issue(t, nil, "", []string{"localhost"}, nil)), func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the login was sent: %v", r.Header)
	}, "localhost")
	p.chain = chainOf(issue(t, nil, "", []string{"localhost"}, nil))
	p.options.User = "alice"
	p.setup.htpasswd = usersFile(t)
	says(t, lookUser(t.Context(), p), Unknown, errOtherCertificate.Error(), "again")
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		listen   string
		selected string
		want     []string
	}{
		{":5002", "", []string{"[::1]:5002", "127.0.0.1:5002"}},
		{"0.0.0.0:5002", "", []string{"[::1]:5002", "127.0.0.1:5002"}},
		{"[::]:5002", "2001:db8::1", []string{"[::1]:5002", "127.0.0.1:5002", "[2001:db8::1]:5002"}},
		{"tcp4/192.168.1.2:5002", "2001:db8::1", []string{"192.168.1.2:5002"}},
		{"localhost:5002", "", []string{"localhost:5002"}},
	} {
		p := patientAt(t, test.listen, "localhost")
		if test.selected != "" {
			p.selected = netip.MustParseAddr(test.selected)
		}
		if diff := cmp.Diff(test.want, p.addresses()); diff != "" {
			t.Errorf("%s: %s", test.listen, diff)
		}
	}
}

func TestNameUnknown(t *testing.T) {
	says(t, nameUnknown("nas.example.org", nil), Unknown, "no IPv6 address of nas.example.org", "/etc/hosts")
	says(t, nameUnknown("nas.example.org", &net.DNSError{Err: "no such host", IsNotFound: true}), Unknown, "no such host", "/etc/hosts")
	says(t, nameUnknown("nas.example.org", &net.DNSError{Err: "i/o timeout", IsTimeout: true}), Unknown, "i/o timeout", "again")
}

func TestOnlyIPv6(t *testing.T) {
	var list []netip.Addr
	for _, text := range []string{"192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"} {
		list = append(list, netip.MustParseAddr(text))
	}
	if got := onlyIPv6(list); len(got) != 1 || got[0] != list[2] {
		t.Errorf("%v", got)
	}
}

//go:build linux

package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// Where the servers of the internet are. None of these networks is in use.
const (
	resolver4, resolver6 = "198.51.100.53", "2001:db8:0:53::53"
	acme4, acme6         = "198.51.100.14", "2001:db8:0:14::14"
	service4, service6   = "198.51.100.100", "2001:db8:0:100::100"
)

// internet is this process, with real servers and one fake.
type internet struct {
	pebble   *testenv.Pebble
	service  *synologytest.Service
	resolver *resolver
	roots    []byte // in PEM: what the world trusts
	ca       *authority

	// skew is added to the time of day that the ACME server tells.
	skew atomic.Int64 // nanoseconds
	// acmeAway makes the ACME server answer with 503.
	acmeAway atomic.Bool
}

// newInternet starts the servers. Certificates that it issues are valid for a
// number of seconds.
func newInternet(t testing.TB, validity int) *internet {
	t.Helper()
	for _, a := range []string{resolver4, acme4, service4} {
		testenv.IP(t, "address", "add", a+"/32", "dev", "lo")
	}
	for _, a := range []string{resolver6, acme6, service6} {
		testenv.IP(t, "address", "add", a+"/128", "dev", "lo", "nodad")
	}
	n := &internet{ca: newAuthority(t)}
	n.service = synologytest.NewService(t, synologytest.At(n.ca.issue(t, "ddns.synology.com"),
		netip.MustParseAddr(service6), netip.MustParseAddr(service4)))
	n.resolver = startResolver(t)
	n.pebble = testenv.StartPebble(t, net.JoinHostPort(resolver4, "53"), validity)
	for _, a := range []string{acme4, acme6} {
		n.serveACME(t, a)
	}
	n.roots = slices.Concat(n.ca.rootPEM, n.pebble.RootsPEM)
	return n
}

// serveACME puts Pebble where Let's Encrypt is.
func (n *internet) serveACME(t testing.TB, addr string) {
	t.Helper()
	pebble, err := url.Parse(n.pebble.Directory)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = pebble.Scheme, pebble.Host
			if r.In.URL.Path == "/directory" {
				r.Out.URL.Path = pebble.Path
			}
			r.Out.Host = r.In.Host // Pebble makes its URLs of it
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(time.Duration(n.skew.Load())).UTC().Format(http.TimeFormat))
			return withoutARI(r)
		},
		Transport: n.pebble.Transport(),
	}
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", net.JoinHostPort(addr, "443"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.acmeAway.Load() {
			http.Error(w, "maintenance", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	_ = server.Listener.Close()
	server.Listener = listener
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{n.ca.issue(t, "acme-v02.api.letsencrypt.org")},
		MinVersion:   tls.VersionTLS12,
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that trust no one yet
	server.StartTLS()
	t.Cleanup(server.Close)
}

// withoutARI takes renewal information (RFC 9773) off a directory: Pebble suggests
// to renew within days, and the certificates here are valid for minutes.
func withoutARI(r *http.Response) error {
	if r.Request.URL.Path != "/dir" {
		return nil
	}
	var directory map[string]any
	if err := json.NewDecoder(r.Body).Decode(&directory); err != nil {
		return err
	}
	delete(directory, "renewalInfo")
	text, err := json.Marshal(directory)
	if err != nil {
		return err
	}
	_ = r.Body.Close()
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	r.Header.Set("Content-Length", strconv.Itoa(len(text)))
	return nil
}

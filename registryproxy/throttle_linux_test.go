package registryproxy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestThrottle guesses from many addresses of one /64, which is what one client has,
// each time with another name: it is told to wait, whatever address it takes next.
// Neither others nor users that are logged in notice.
func TestThrottle(t *testing.T) {
	if !testenv.Namespace(t) {
		return
	}
	const server, other, far = "2001:db8::1", "2001:db8:2::1", "2001:db8:3::1"
	for _, addr := range []string{server, other, far} {
		testenv.IP(t, "address", "add", addr+"/128", "dev", "lo")
	}
	c := testenv.NewCaddy(t)
	c.Load("registry_proxy {\nembedded " + t.TempDir() + "\nhtpasswd " + testenv.Users(t, "a", "b", "c", "d") + "\n}")

	// from returns a client at an address.
	from := func(addr string) *http.Client {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(address)
				if err != nil {
					return nil, err
				}
				return dialer.DialContext(ctx, network, net.JoinHostPort(server, port))
			},
		}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	login := func(client *http.Client, user, password string, want int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL("/v2/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, password)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Fatalf("%s: status %d, want %d", user, resp.StatusCode, want)
		}
		seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if throttled := want == http.StatusTooManyRequests; throttled != (err == nil && seconds > 0) {
			t.Errorf("%s: Retry-After: %q with status %d", user, resp.Header.Get("Retry-After"), want)
		}
	}

	const block = "2001:db8:1::"
	for n := range 12 {
		testenv.IP(t, "address", "add", fmt.Sprint(block, n+1, "/128"), "dev", "lo")
	}
	known := from(block + "1")
	login(known, "a", "b", http.StatusOK)
	for n := range 10 { // which may be typing errors
		login(from(fmt.Sprint(block, n+1)), fmt.Sprint("guess", n), "x", http.StatusUnauthorized)
	}
	login(from(block+"11"), "another", "x", http.StatusTooManyRequests)
	login(from(block+"12"), "c", "d", http.StatusTooManyRequests)
	login(known, "a", "b", http.StatusOK)
	login(from(other), "elsewhere", "x", http.StatusUnauthorized)
	login(from(other), "c", "d", http.StatusOK)

	// That a user is at work elsewhere is no way past the throttle.
	for n := range 10 {
		login(from(far), "a", fmt.Sprint("guess ", n), http.StatusUnauthorized)
	}
	login(from(far), "a", "b", http.StatusTooManyRequests)
	login(known, "a", "b", http.StatusOK)
}

package testenv

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

// Admin sends a request to Caddy's admin endpoint at a Unix socket, and returns
// the status code and the body of its answer. After a reload the former endpoint
// may take a connection and close it unanswered as it ends: the request is sent
// again then.
func Admin(t testing.TB, socket, method, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	var resp *http.Response
	Eventually(t, "an answer of the admin endpoint", func() (err error) {
		resp, err = client.Do(req) //nolint:bodyclose // closed below
		return err
	})
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

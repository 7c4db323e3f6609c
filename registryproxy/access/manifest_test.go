package access

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// proxyTo returns Caddy's reverse proxy in front of url.
func proxyTo(t testing.TB, url string) caddyhttp.Handler {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	proxy := &reverseproxy.Handler{
		Upstreams: reverseproxy.UpstreamPool{{Dial: strings.TrimPrefix(url, "http://")}},
	}
	if err := proxy.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proxy.Cleanup() })
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return proxy.ServeHTTP(w, r, handlerFunc(http.NotFoundHandler()))
	})
}

func TestManifestLimit(t *testing.T) {
	registry := newRegistry(t, 100)
	upstream := httptest.NewServer(registry)
	defer upstream.Close()
	closed := httptest.NewServer(nil)
	closed.Close()

	nexts := []struct {
		name string
		next caddyhttp.Handler
	}{
		{"in this process", handlerFunc(registry)},
		{"behind a proxy", proxyTo(t, upstream.URL)},
	}
	tests := []struct {
		name    string
		size    int64
		chunked bool
		want    int
	}{
		{"fits", maxManifest, false, http.StatusBadRequest}, // the registry: not a manifest
		{"fits, chunked", maxManifest, true, http.StatusBadRequest},
		{"too large", maxManifest + 1, false, http.StatusRequestEntityTooLarge},
		{"too large, chunked", maxManifest + 1, true, http.StatusRequestEntityTooLarge},
		{"far too large, chunked", 3 * maxManifest, true, http.StatusRequestEntityTooLarge},
	}
	for _, n := range nexts {
		front := serve(newHandler(t, nil), "alice", n.next)
		for _, test := range tests {
			t.Run(n.name+"/"+test.name, func(t *testing.T) {
				r := httptest.NewRequest(http.MethodPut, "/v2/a/manifests/latest", io.LimitReader(zeros{}, test.size))
				r.ContentLength = test.size
				if test.chunked {
					r.ContentLength = -1
				}
				w := httptest.NewRecorder()
				front.ServeHTTP(w, r)
				if w.Code != test.want {
					t.Fatalf("status %d, want %d", w.Code, test.want)
				}
				if test.want == http.StatusRequestEntityTooLarge {
					if code, message := readError(t, w.Body); code != "SIZE_INVALID" || !strings.Contains(message, "4 MiB") {
						t.Errorf("%s: %s", code, message)
					}
				}
			})
		}
	}

	t.Run("registry is down", func(t *testing.T) {
		front := serve(newHandler(t, nil), "alice", proxyTo(t, closed.URL))
		w := httptest.NewRecorder()
		front.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v2/a/manifests/latest", strings.NewReader("{}")))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Fatalf("status %d, Retry-After: %s", w.Code, w.Header().Get("Retry-After"))
		}
		if code, message := readError(t, w.Body); code != "UNAVAILABLE" || !strings.Contains(message, "accepts no connection") {
			t.Errorf("%s: %s", code, message)
		}
	})
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

package access

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

func TestErrorHandler(t *testing.T) {
	plain := errors.New("secret cause")
	throttled := &ocierror.Error{Status: 429, Code: ocierror.TooManyRequests, Message: "wait a little", RetryAfter: 3 * time.Second}
	stopped := &ocierror.Error{Status: 503, Code: ocierror.Unavailable, Message: "container registry is stopped"}
	tests := []struct {
		name    string
		err     error
		reason  *ocierror.Error
		status  int
		code    string
		message string
	}{
		{"no error", nil, nil, 500, "UNKNOWN", "500 Internal Server Error"},
		{"any error", plain, nil, 500, "UNKNOWN", "500 Internal Server Error"},
		{"not logged in", caddyhttp.Error(401, plain), nil, 401, "UNAUTHORIZED", "authentication required"},
		{"throttled", caddyhttp.Error(401, plain), throttled, 429, "TOOMANYREQUESTS", "wait a little"},
		{"blocked", caddyhttp.Error(403, plain), nil, 403, "DENIED", "403 Forbidden"},
		{"not found", caddyhttp.Error(404, plain), nil, 404, "UNKNOWN", "404 Not Found"},
		{"method", caddyhttp.Error(405, plain), nil, 405, "UNSUPPORTED", "405 Method Not Allowed"},
		{"size", caddyhttp.Error(413, plain), nil, 413, "SIZE_INVALID", "413 Request Entity Too Large"},
		{"throttled by another", caddyhttp.Error(429, plain), nil, 429, "TOOMANYREQUESTS", "429 Too Many Requests"},
		{"client went away", caddyhttp.Error(499, plain), nil, 499, "UNKNOWN", "the request failed: 499"},
		{"registry closed", caddyhttp.Error(502, plain), nil, 502, "UNAVAILABLE", "closed the connection"},
		{"no upstream", caddyhttp.Error(503, plain), nil, 503, "UNAVAILABLE", "can't be reached"},
		{"no upstream, known why", caddyhttp.Error(503, plain), stopped, 503, "UNAVAILABLE", "container registry is stopped"},
		{"no upstream, throttled by another provider", caddyhttp.Error(503, plain), throttled, 503, "UNAVAILABLE", "can't be reached"},
		{"no connection", reverseproxy.DialError{}, nil, 503, "UNAVAILABLE", "accepts no connection"},
		{"no connection, known why", reverseproxy.DialError{}, stopped, 503, "UNAVAILABLE", "container registry is stopped"},
		{"no connection, throttled by another provider", reverseproxy.DialError{}, throttled, 503, "UNAVAILABLE", "accepts no connection"},
		{"reason of something else", caddyhttp.Error(502, plain), stopped, 502, "UNAVAILABLE", "closed the connection"},
		{"time-out", caddyhttp.Error(504, plain), nil, 504, "UNAVAILABLE", "in time"},
		{"our own", throttled.Handler(), nil, 429, "TOOMANYREQUESTS", "wait a little"},
		{"our own before a reason", throttled.Handler(), stopped, 429, "TOOMANYREQUESTS", "wait a little"},
		// net/http panics for these.
		{"status 0", caddyhttp.Error(0, plain), nil, 500, "UNKNOWN", "500"},
		{"status 1000", caddyhttp.Error(1000, plain), nil, 500, "UNKNOWN", "500"},
		{"status of success", caddyhttp.Error(200, plain), nil, 500, "UNKNOWN", "500"},
	}
	h := &ErrorHandler{Realm: "home", logger: zap.NewNop()}
	for _, test := range tests {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			t.Run(test.name+"/"+method, func(t *testing.T) {
				w := httptest.NewRecorder()
				r := caddyRequest(w, httptest.NewRequest(method, "/v2/", nil), "")
				if test.reason != nil {
					ocierror.SetReason(r, test.reason)
				}
				r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ErrorCtxKey, test.err))
				if err := h.ServeHTTP(w, r, nil); err != nil {
					t.Fatal(err)
				}
				if w.Code != test.status {
					t.Errorf("status %d, want %d", w.Code, test.status)
				}
				if got := w.Header().Get("Docker-Distribution-Api-Version"); got != "registry/2.0" {
					t.Errorf("API version %q", got)
				}
				if got := w.Header().Get("Www-Authenticate"); (got == `Basic realm="home", charset="UTF-8"`) != (test.status == 401) {
					t.Errorf("challenge %q", got)
				}
				if method == http.MethodHead {
					if w.Body.Len() > 0 {
						t.Errorf("body %s", w.Body)
					}
					return
				}
				if strings.Contains(w.Body.String(), "secret") {
					t.Errorf("the cause is for the log only: %s", w.Body)
				}
				if code, message := readError(t, w.Body); code != test.code || !strings.Contains(message, test.message) {
					t.Errorf("%s: %s, want %s: %s", code, message, test.code, test.message)
				}
			})
		}
	}
}

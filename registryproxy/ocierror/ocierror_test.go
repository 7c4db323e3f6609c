package ocierror

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
)

func TestWrite(t *testing.T) {
	tests := []struct {
		name       string
		err        *Error
		body       string
		retryAfter string
		header     http.Header
	}{
		{"plain", &Error{Status: 403, Code: Denied, Message: "user a may not push to b"},
			`{"errors":[{"code":"DENIED","message":"user a may not push to b","detail":""}]}`, "", nil},
		{"cause stays here", &Error{Status: 502, Code: Unavailable, Message: "down", Err: errors.New("secret")},
			`{"errors":[{"code":"UNAVAILABLE","message":"down","detail":""}]}`, "", nil},
		{"characters of JSON and terminals", &Error{Status: 400, Code: NameInvalid, Message: "a\"}\n\x1b\xff"},
			`{"errors":[{"code":"NAME_INVALID","message":"a\"}\n\u001b` + "\\ufffd" + `","detail":""}]}`, "", nil},
		{"whole seconds", &Error{Status: 503, Code: Unavailable, Message: "m", RetryAfter: 5 * time.Second},
			`{"errors":[{"code":"UNAVAILABLE","message":"m","detail":""}]}`, "5", nil},
		{"rounded up", &Error{Status: 429, Code: TooManyRequests, Message: "m", RetryAfter: 1001 * time.Millisecond},
			`{"errors":[{"code":"TOOMANYREQUESTS","message":"m","detail":""}]}`, "2", nil},
		{"never zero", &Error{Status: 429, Code: TooManyRequests, Message: "m", RetryAfter: time.Nanosecond},
			`{"errors":[{"code":"TOOMANYREQUESTS","message":"m","detail":""}]}`, "1", nil},
		{"negative", &Error{Status: 429, Code: TooManyRequests, Message: "m", RetryAfter: -time.Second},
			`{"errors":[{"code":"TOOMANYREQUESTS","message":"m","detail":""}]}`, "", nil},
		{"challenge", Challenge("home", "log in"),
			`{"errors":[{"code":"UNAUTHORIZED","message":"log in","detail":""}]}`, "",
			http.Header{"Www-Authenticate": {`Basic realm="home", charset="UTF-8"`}}},
	}
	for _, test := range tests {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			t.Run(test.name+"/"+method, func(t *testing.T) {
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "text/html")
					w.Header().Set("Www-Authenticate", "Basic realm=another")
					if err := Write(w, r, test.err); err != nil {
						t.Error(err)
					}
				}))
				defer server.Close()
				r, err := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := server.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}

				want := http.Header{
					"Content-Type":                    {"application/json"},
					"Content-Length":                  {fmt.Sprint(len(test.body))},
					"Docker-Distribution-Api-Version": {"registry/2.0"},
					"X-Content-Type-Options":          {"nosniff"},
					"Www-Authenticate":                {"Basic realm=another"},
				}
				if test.retryAfter != "" {
					want.Set("Retry-After", test.retryAfter)
				}
				for name, values := range test.header {
					want[name] = values
				}
				response.Header.Del("Date")
				if diff := cmp.Diff(want, response.Header); diff != "" {
					t.Errorf("headers (-want +got):\n%s", diff)
				}
				wantBody := test.body
				if method == http.MethodHead {
					wantBody = ""
				}
				if response.StatusCode != test.err.Status || string(body) != wantBody {
					t.Errorf("status %d, body %s, want %d, %s", response.StatusCode, body, test.err.Status, wantBody)
				}
			})
		}
	}
}

func TestChallengeQuotesRealm(t *testing.T) {
	for realm, want := range map[string]string{
		"registry":   `Basic realm="registry", charset="UTF-8"`,
		`a "b" \ c`:  `Basic realm="a \"b\" \\ c", charset="UTF-8"`,
		"a, x=y":     `Basic realm="a, x=y", charset="UTF-8"`,
		"zu Hause ü": `Basic realm="zu Hause ü", charset="UTF-8"`,
	} {
		if got := Challenge(realm, "").Header.Get("Www-Authenticate"); got != want {
			t.Errorf("realm %s: %s, want %s", realm, got, want)
		}
	}
	if got := Challenge("a\r\nb", "").Header.Get("Www-Authenticate"); strings.ContainsAny(got, "\r\n") {
		t.Errorf("the header has two lines: %q", got)
	}
}

func TestErrorIsFoundAndUnwraps(t *testing.T) {
	cause := errors.New("cause")
	e := &Error{Status: 503, Code: Unavailable, Message: "down", Err: cause}
	for name, err := range map[string]error{
		"itself":  e,
		"wrapped": fmt.Errorf("proxying: %w", e),
		"handler": e.Handler(),
	} {
		if got, ok := From(err); !ok || got != e {
			t.Errorf("%s: found %v", name, got)
		}
		if !errors.Is(err, cause) {
			t.Errorf("%s: the cause is lost", name)
		}
	}
	for name, err := range map[string]error{"nil": nil, "another": cause} {
		if got, ok := From(err); ok {
			t.Errorf("%s: found %v", name, got)
		}
	}
	if got := e.Error(); got != "down: cause" {
		t.Errorf("Error() = %q", got)
	}
	if got := (&Error{Message: "down"}).Error(); got != "down" {
		t.Errorf("Error() = %q", got)
	}
	// Caddy's error routes and access log go by this.
	var handlerErr caddyhttp.HandlerError
	if !errors.As(e.Handler(), &handlerErr) || handlerErr.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("Caddy sees %+v", handlerErr)
	}
}

func TestReason(t *testing.T) {
	w := httptest.NewRecorder()
	r := caddyhttp.PrepareRequest(httptest.NewRequest(http.MethodGet, "/v2/", nil), caddy.NewReplacer(), w, new(caddyhttp.Server))
	if got := Reason(r); got != nil {
		t.Errorf("reason %v before there is one", got)
	}
	first, second := &Error{Message: "first"}, &Error{Message: "second"}
	SetReason(r, first)
	SetReason(r, second)
	if got := Reason(r); got != second {
		t.Errorf("reason %v, want the last", got)
	}
	// An error route sees a copy of the request.
	if got := Reason(r.Clone(r.Context())); got != second {
		t.Errorf("reason %v in the error route", got)
	}
	bare := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	SetReason(bare, first) // must not panic
	if got := Reason(bare); got != nil {
		t.Errorf("reason %v without a server", got)
	}
}

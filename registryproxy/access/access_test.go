package access

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestRefusals(t *testing.T) {
	rules := []Rule{allow("alice", "pull", "team/**"), allow("anonymous", "pull", "public/**")}
	tests := []struct {
		name, user, method, uri string
		status                  int // 0: goes on
		code, message           string
	}{
		{"base", "alice", "GET", "/v2/", 0, "", ""},
		{"base without a slash", "alice", "GET", "/v2", 0, "", ""},
		{"base, user without rules", "mallory", "HEAD", "/v2/", 0, "", ""},
		{"pull", "alice", "GET", "/v2/team/app/manifests/latest", 0, "", ""},
		{"anonymous pull", "", "GET", "/v2/public/app/manifests/latest", 0, "", ""},
		{"catalog", "mallory", "GET", "/v2/_catalog", 0, "", ""},
		{"anonymous catalog", "", "GET", "/v2/_catalog", 0, "", ""},
		// Docker never sends a password after a 200 here.
		{"base, anonymous", "", "GET", "/v2/", 401, "UNAUTHORIZED", "authentication required"},
		{"pull, anonymous", "", "GET", "/v2/team/app/manifests/latest", 401, "UNAUTHORIZED", "authentication required to pull from team/app"},
		{"push, anonymous", "", "POST", "/v2/public/app/blobs/uploads/", 401, "UNAUTHORIZED", "authentication required to push to public/app"},
		{"pull", "alice", "GET", "/v2/other/manifests/latest", 403, "DENIED", "user alice may not pull from other"},
		{"tags", "alice", "GET", "/v2/other/tags/list", 403, "DENIED", "user alice may not pull from other"},
		{"referrers", "alice", "GET", "/v2/other/referrers/" + emptyDigest, 403, "DENIED", "user alice may not pull from other"},
		{"push", "alice", "PUT", "/v2/team/app/manifests/latest", 403, "DENIED", "user alice may not push to team/app"},
		{"push with tags", "alice", "PUT", "/v2/team/app/manifests/" + emptyDigest + "?tag=a&tag=b", 403, "DENIED", "user alice may not push to team/app"},
		{"state of an upload", "alice", "GET", "/v2/team/app/blobs/uploads/x", 403, "DENIED", "user alice may not push to team/app"},
		{"cancel an upload", "alice", "DELETE", "/v2/team/app/blobs/uploads/x", 403, "DENIED", "user alice may not push to team/app"},
		{"delete a tag", "alice", "DELETE", "/v2/team/app/manifests/latest", 403, "DENIED", "user alice may not delete from team/app"},
		{"delete a blob", "alice", "DELETE", "/v2/team/app/blobs/" + emptyDigest, 403, "DENIED", "user alice may not delete from team/app"},
		{"HEAD", "alice", "HEAD", "/v2/other/manifests/latest", 403, "", ""},
		{"method", "alice", "POST", "/v2/team/app/manifests/latest", 405, "UNSUPPORTED", "does not know POST for /v2/team/app/manifests/latest"},
		{"method for an upload", "alice", "POST", "/v2/team/app/blobs/uploads/x?mount=a&from=other", 405, "UNSUPPORTED", "does not know POST"},
		{"HEAD of the catalog", "alice", "HEAD", "/v2/_catalog", 405, "", ""},
		{"dots", "alice", "GET", "/v2/team/../other/manifests/latest", 404, "NAME_INVALID", "is not part of the registry API"},
		{"escaped slash", "alice", "GET", "/v2/team%2F..%2Fother/manifests/latest", 400, "NAME_INVALID", "not in its canonical form"},
		// A user's name can't say more than a name, nor reach the terminal's controls.
		{"name like a sentence", `x may push. user y`, "GET", "/v2/other/tags/list", 403, "DENIED", `user "x may push. user y" may not pull from other`},
		{"name with controls", "x\x1b[2J\r\n", "GET", "/v2/other/tags/list", 403, "DENIED", `user "x\x1b[2J\r\n" may not pull from other`},
		{"name with a quote", `a"b`, "GET", "/v2/other/tags/list", 403, "DENIED", `user "a\"b" may not pull from other`},
		{"name not in ASCII", "jörg@heim", "GET", "/v2/other/tags/list", 403, "DENIED", "user jörg@heim may not pull from other"},
		{"path with controls", "alice", "GET", "/v2/%1B2J/tags/list", 404, "NAME_INVALID", `"/v2/\x1b2J/tags/list" is not part`},
		{"long path", "alice", "GET", "/v2/" + strings.Repeat("ä", 2000), 404, "NAME_INVALID", "…"},
	}
	h := newHandler(t, nil, rules...)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			reached := false
			front := serve(h, test.user, handlerFunc(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				reached = true
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, `{"repositories":[]}`)
			})))
			w := httptest.NewRecorder()
			front.ServeHTTP(w, httptest.NewRequest(test.method, test.uri, nil))
			if reached != (test.status == 0) {
				t.Fatalf("reached the registry: %t", reached)
			}
			if test.status == 0 {
				return
			}
			if w.Code != test.status {
				t.Errorf("status %d, want %d", w.Code, test.status)
			}
			if got := w.Header().Get("Www-Authenticate"); (got == `Basic realm="registry", charset="UTF-8"`) != (w.Code == 401) {
				t.Errorf("challenge %q", got)
			}
			if (w.Header().Get("Allow") != "") != (w.Code == 405) {
				t.Errorf("Allow: %s", w.Header().Get("Allow"))
			}
			if test.code == "" {
				if w.Body.Len() > 0 || w.Header().Get("Content-Length") == "" {
					t.Errorf("body %q, Content-Length: %s", w.Body, w.Header().Get("Content-Length"))
				}
				return
			}
			if code, message := readError(t, w.Body); code != test.code || !strings.Contains(message, test.message) {
				t.Errorf("%s: %s, want %s: %s", code, message, test.code, test.message)
			}
		})
	}
}

// TestForwarded looks at what the registry gets of a request in absolute form
// with the headers of a proxy.
func TestForwarded(t *testing.T) {
	h := newHandler(t, nil)
	var got *http.Request
	front := serve(h, "alice", handlerFunc(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r })))
	r := httptest.NewRequest(http.MethodGet, "ftp://a:b@evil.example/v2/a/blobs/sha256%3Aabc?ns=x", nil)
	r.Host = "registry.example"
	r.Header.Set("Forwarded", "host=evil.example")
	r.Header.Set("Authorization", "Basic x")
	r.Header.Set("Range", "bytes=0-1")
	front.ServeHTTP(httptest.NewRecorder(), r)
	if got.URL.String() != "/v2/a/blobs/sha256:abc?ns=x" || got.Host != "registry.example" {
		t.Errorf("%s of %s", got.URL, got.Host)
	}
	if len(got.Header) != 1 || got.Header.Get("Range") != "bytes=0-1" {
		t.Errorf("headers %v", got.Header)
	}
}

// TestWithoutReplacer makes sure that a request which no server of Caddy's has
// prepared is nobody's.
func TestWithoutReplacer(t *testing.T) {
	w := httptest.NewRecorder()
	err := newHandler(t, nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/", nil), nil)
	if err != nil || w.Code != http.StatusUnauthorized {
		t.Errorf("status %d, %v", w.Code, err)
	}
}

func TestProvision(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	for _, test := range []struct {
		name   string
		module caddy.Provisioner
		want   string
	}{
		{"good", &Handler{Allow: []Rule{allow("a", "pull", "**")}}, ""},
		{"rule", &Handler{Allow: []Rule{allow("a", "pull", "A")}}, "allow a: repository pattern"},
		{"realm", &Handler{Realm: "a\nb"}, "realm"},
		{"realm of errors", &ErrorHandler{Realm: "a\nb"}, "realm"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.module.Provision(ctx)
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

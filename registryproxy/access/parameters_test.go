package access

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestMount looks at what is left of a query. A mount goes on only from where
// the user may pull.
func TestMount(t *testing.T) {
	restricted := newHandler(t, nil, allow("alice", "push", "**"), allow("alice", "pull", "shared/*", "a"))
	all := newHandler(t, nil)
	tests := []struct {
		name  string
		h     *Handler
		query string
		want  string
	}{
		{"allowed", restricted, "mount=sha256:1&from=shared/x", "mount=sha256:1&from=shared/x"},
		{"allowed, other order", restricted, "from=shared/x&mount=sha256:1", "from=shared/x&mount=sha256:1"},
		{"denied", restricted, "mount=sha256:1&from=secret", ""},
		{"denied, others stay as written", restricted, "a=%41&mount=sha256:1&b=x%2fy&from=secret&c", "a=%41&b=x%2fy&c"},
		{"denied, keys escaped", restricted, "m%6funt=sha256:1&fr%6Fm=secret&x=1", "x=1"},
		{"denied, value escaped", restricted, "mount=sha256%3A1&from=shared%2Fx%2F..%2F..%2Fsecret", ""},
		{"allowed, value escaped", restricted, "mount=sha256%3A1&from=shared%2Fx", "mount=sha256%3A1&from=shared%2Fx"},
		{"denied, plus is a space", restricted, "mount=sha256:1&from=shared/x+", ""},
		{"from anywhere", restricted, "mount=sha256:1", ""},
		{"from anywhere, empty", restricted, "mount=sha256:1&from=", ""},
		{"from without mount", restricted, "from=secret", ""},
		{"from a registry", restricted, "mount=sha256:1&from=localhost:5002/shared/x", ""},
		{"from a name in upper case", restricted, "mount=sha256:1&from=Shared/x", ""},
		{"other keys in upper case are others", restricted, "Mount=sha256:1&From=secret", "Mount=sha256:1&From=secret"},
		{"digest only", restricted, "digest=sha256:1", "digest=sha256:1"},
		{"all may pull all", all, "mount=sha256:1&from=secret", "mount=sha256:1&from=secret"},
		{"all may pull from anywhere", all, "mount=sha256:1", "mount=sha256:1"},
		{"no repository has this name", all, "mount=sha256:1&from=../x", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/v2/a/blobs/uploads/?"+test.query, nil)
			// A handler before may have parsed the form already.
			if err := r.ParseForm(); err != nil {
				t.Fatal(err)
			}
			if _, _, err := test.h.judge(r, "alice"); err != nil {
				t.Fatal(err)
			}
			if r.URL.RawQuery != test.want {
				t.Errorf("query %q, want %q", r.URL.RawQuery, test.want)
			}
			if strings.Contains(test.want, "from") != (r.FormValue("from") != "") {
				t.Errorf("FormValue(from) = %q", r.FormValue("from"))
			}
		})
	}
}

func TestParameters(t *testing.T) {
	tests := []struct {
		name, method, uri string
		want              int // 0: goes on
	}{
		{"state of an upload", "PATCH", "/v2/a/blobs/uploads/x?_state=a%2Bb%3d%3D", 0},
		{"several tags", "PUT", "/v2/a/manifests/" + emptyDigest + "?tag=a&tag=b", 0},
		{"pages of tags", "GET", "/v2/a/tags/list?n=10&last=v1", 0},
		{"kinds of referrers", "GET", "/v2/a/referrers/" + emptyDigest + "?artifactType=x%2Fy", 0},
		{"unknown parameter", "GET", "/v2/a/tags/list?ns=docker.io", 0},
		{"only separators", "GET", "/v2/a/tags/list?&&", 0},
		{"empty query", "GET", "/v2/a/tags/list?", 0},
		{"mount twice", "POST", "/v2/a/blobs/uploads/?mount=x&mount=y&from=b", 400},
		{"from twice", "POST", "/v2/a/blobs/uploads/?mount=x&from=b&from=c", 400},
		{"from twice, once escaped", "POST", "/v2/a/blobs/uploads/?mount=x&from=b&%66rom=c", 400},
		{"from twice, once empty", "POST", "/v2/a/blobs/uploads/?mount=x&from&from=c", 400},
		{"digest twice", "PUT", "/v2/a/blobs/uploads/x?digest=x&digest=y", 400},
		{"state twice", "PATCH", "/v2/a/blobs/uploads/x?_state=x&_state=y", 400},
		{"n twice", "GET", "/v2/_catalog?n=1&n=2", 400},
		{"tag twice, not for a manifest", "GET", "/v2/a/tags/list?tag=1&tag=2", 400},
		{"empty key twice", "GET", "/v2/a/tags/list?=1&=2", 400},
		{"semicolon", "POST", "/v2/a/blobs/uploads/?mount=x;from=b", 400},
		{"semicolon in a value", "POST", "/v2/a/blobs/uploads/?x=1;2&mount=x&from=b", 400},
		{"half an escape", "GET", "/v2/a/tags/list?n=%", 400},
		{"no escape", "GET", "/v2/a/tags/list?n=%zz", 400},
	}
	h := newHandler(t, nil)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, test.uri, nil)
			query := r.URL.RawQuery
			_, _, err := h.judge(r, "alice")
			if test.want == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if r.URL.RawQuery != query {
					t.Errorf("query %q, want %q", r.URL.RawQuery, query)
				}
				return
			}
			if err == nil || err.Status != test.want {
				t.Errorf("error %v, want status %d", err, test.want)
			}
		})
	}
}

// TestForm guards against parameters of an upload in its body: the registry
// reads them with FormValue.
func TestForm(t *testing.T) {
	tests := []struct {
		name         string
		contentTypes []string
		refused      bool
	}{
		{"none", nil, false},
		{"empty", []string{""}, false},
		{"bytes", []string{"application/octet-stream"}, false},
		{"form", []string{"application/x-www-form-urlencoded"}, true},
		{"form, charset", []string{"application/x-www-form-urlencoded; charset=utf-8"}, true},
		{"form, malformed parameter", []string{"application/x-www-form-urlencoded; ="}, true},
		{"form, case and space", []string{" Application/X-WWW-Form-URLencoded ;"}, true},
		{"form, second header", []string{"text/plain", "application/x-www-form-urlencoded"}, true},
		{"multipart", []string{"multipart/form-data; boundary=x"}, true},
		{"multipart, mixed", []string{"multipart/mixed; boundary=x"}, true},
		{"multipart, case", []string{"MULTIPART/form-data; boundary=x"}, true},
	}
	h := newHandler(t, nil)
	for _, test := range tests {
		for _, target := range []string{"POST /v2/a/blobs/uploads/", "PATCH /v2/a/blobs/uploads/x", "PUT /v2/a/blobs/uploads/x"} {
			method, path, _ := strings.Cut(target, " ")
			t.Run(test.name+"/"+method, func(t *testing.T) {
				const body = "mount=sha256:1&from=secret"
				for _, length := range []int64{int64(len(body)), -1} {
					r := httptest.NewRequest(method, path, strings.NewReader(body))
					r.ContentLength = length
					r.Header["Content-Type"] = test.contentTypes
					_, _, err := h.judge(r, "alice")
					if (err != nil) != test.refused || err != nil && err.Status != http.StatusUnsupportedMediaType {
						t.Errorf("length %d: %v, want refused: %t", length, err, test.refused)
					}
					if err == nil && r.FormValue("from") != "" {
						t.Errorf("the registry reads from=%s", r.FormValue("from"))
					}
				}
				// Without a body there is no form: some clients name one all the same.
				r := httptest.NewRequest(method, path, nil)
				r.Header["Content-Type"] = test.contentTypes
				if _, _, err := h.judge(r, "alice"); err != nil {
					t.Errorf("without a body: %v", err)
				}
			})
		}
	}
}

// FuzzForm holds the look at Content-Type against what net/http reads as a
// form.
func FuzzForm(f *testing.F) {
	f.Add("application/x-www-form-urlencoded", "from=secret", "mount=a")
	f.Add("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=from\r\n\r\nsecret\r\n--b--\r\n", "")
	f.Add("application/octet-stream", "x", "from=secret&mount=x")
	f.Add("", "from=secret", "a;b")
	h := newHandler(f, nil, allow("alice", "pull,push", "a"))
	f.Fuzz(func(t *testing.T, contentType, body, query string) {
		r := httptest.NewRequest(http.MethodPost, "/v2/a/blobs/uploads/", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", contentType)
		if _, _, err := h.judge(r, "alice"); err != nil {
			return
		}
		if from := r.FormValue("from"); from != "" && from != "a" {
			t.Errorf("the registry mounts from %q", from)
		}
		if r.FormValue("mount") != "" && r.FormValue("from") == "" {
			t.Error("the registry may mount from anywhere")
		}
	})
}

func TestDropProxyHeaders(t *testing.T) {
	dropped := []string{
		"Authorization", "Proxy-Authorization", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host",
		"X-Forwarded-Port", "X-Forwarded-Prefix", "X-Real-Ip", "Upgrade", "X-Http-Method-Override", "X-Original-Url",
	}
	kept := []string{
		"Accept", "Range", "If-None-Match", "Content-Type", "Content-Range", "Content-Length", "User-Agent", "Expect",
		"Docker-Content-Digest", "X-Forwarded", "X-Meta-Source-Client",
	}
	h := make(http.Header)
	for _, name := range append(append([]string(nil), dropped...), kept...) {
		h.Set(name, "x")
	}
	h["x-forwarded-HOST"] = []string{"x"} // not in canonical form: set by a handler
	dropProxyHeaders(h)
	if len(h) != len(kept) {
		t.Errorf("%d headers are left, want %d: %v", len(h), len(kept), h)
	}
	for _, name := range kept {
		if h.Get(name) == "" {
			t.Errorf("%s is dropped", name)
		}
	}
}

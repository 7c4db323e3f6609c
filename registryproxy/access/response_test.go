package access

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAnswerHeaders(t *testing.T) {
	h := func(pairs ...string) http.Header {
		header := make(http.Header)
		for i := 0; i < len(pairs); i += 2 {
			header.Add(pairs[i], pairs[i+1])
		}
		return header
	}
	const nt = "no-transform"
	tests := []struct {
		name      string
		status    int
		got, want http.Header
	}{
		{"nothing", 200, h(), h("Cache-Control", nt)},
		{"upload, origin of the registry", 202,
			h("Location", "http://registry:5000/v2/a/blobs/uploads/x?_state=a%2Fb%3D%3d"),
			h("Location", "/v2/a/blobs/uploads/x?_state=a%2Fb%3D%3d", "Cache-Control", nt)},
		{"state of an upload", 204, h("Location", "http://registry:5000/v2/a/blobs/uploads/x"), h("Location", "/v2/a/blobs/uploads/x", "Cache-Control", nt)},
		{"blob, IPv6", 201, h("Location", "https://[::1]:5000/v2/a/blobs/sha256:1"), h("Location", "/v2/a/blobs/sha256:1", "Cache-Control", nt)},
		{"without a scheme", 201, h("Location", "//evil.example/v2/a/blobs/x"), h("Location", "/v2/a/blobs/x", "Cache-Control", nt)},
		{"user in the origin", 201, h("Location", "http://a:b@registry/v2/x"), h("Location", "/v2/x", "Cache-Control", nt)},
		{"path already", 201, h("Location", "/v2/a/blobs/x"), h("Location", "/v2/a/blobs/x", "Cache-Control", nt)},
		{"not of the API", 201, h("Location", "http://registry/other"), h("Location", "http://registry/other", "Cache-Control", nt)},
		{"not a URL", 201, h("Location", "http://%zz/v2/"), h("Location", "http://%zz/v2/", "Cache-Control", nt)},
		{"redirect to a storage", 307, h("Location", "https://s3.example/v2/blob?sig=x"), h("Location", "https://s3.example/v2/blob?sig=x", "Cache-Control", nt)},
		{"redirect to the slash", 301, h("Location", "/v2/a/blobs/uploads/"), h("Location", "/v2/a/blobs/uploads/", "Cache-Control", nt)},
		{"next page", 200, h("Link", `<http://registry/v2/_catalog?last=a%2Fb&n=1>; rel="next"`),
			h("Link", `</v2/_catalog?last=a%2Fb&n=1>; rel="next"`, "Cache-Control", nt)},
		{"two links", 200, h("Link", `</v2/x>; rel="first"`, "Link", `<http://registry/v2/y>; rel="next"`),
			h("Link", `</v2/x>; rel="first"`, "Link", `</v2/y>; rel="next"`, "Cache-Control", nt)},
		{"malformed link", 200, h("Link", `http://registry/v2/y`), h("Link", `http://registry/v2/y`, "Cache-Control", nt)},
		{"part of a blob", 206, h("Content-Range", "bytes 0-1/4", "Etag", `"x"`, "Accept-Ranges", "bytes"),
			h("Content-Range", "bytes 0-1/4", "Etag", `"x"`, "Accept-Ranges", "bytes", "Cache-Control", nt)},
		{"caching", 200, h("Cache-Control", "max-age=31536000"), h("Cache-Control", "max-age=31536000", "Cache-Control", nt)},
		{"caching, two headers", 200, h("Cache-Control", "max-age=1", "Cache-Control", "private"),
			h("Cache-Control", "max-age=1", "Cache-Control", "private", "Cache-Control", nt)},
		{"no transformation already", 200, h("Cache-Control", "max-age=1", "Cache-Control", "No-Transform"),
			h("Cache-Control", "max-age=1", "Cache-Control", "No-Transform")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			recorder := httptest.NewRecorder()
			w := newResponseWriter(recorder, httptest.NewRequest(http.MethodGet, "/v2/", nil))
			for name, values := range test.got {
				w.Header()[name] = values
			}
			w.WriteHeader(test.status)
			if recorder.Code != test.status {
				t.Errorf("status %d, want %d", recorder.Code, test.status)
			}
			if diff := cmp.Diff(test.want, recorder.Result().Header); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

// TestHeadersAreNotShared guards against one header value in all answers: the
// headers handler replaces within values in place.
func TestHeadersAreNotShared(t *testing.T) {
	for range 2 {
		header := make(http.Header)
		forbidTransform(header)
		if got := header["Cache-Control"][0]; got != "no-transform" {
			t.Fatalf("Cache-Control: %s", got)
		}
		header["Cache-Control"][0] = "changed"
	}
}

func TestRegistryErrors(t *testing.T) {
	const jsonBody = `{"errors":[{"code":"UNKNOWN"}]}`
	tests := []struct {
		name        string
		method      string
		status      int
		contentType string
		body        string
		replaced    bool
	}{
		{"page of another proxy", "GET", 502, "text/html", "<h1>Bad Gateway</h1>", true},
		{"empty", "GET", 503, "", "", true},
		{"text", "PUT", 500, "text/plain; charset=utf-8", "panic", true},
		{"text for HEAD", "HEAD", 500, "text/plain", "", true},
		{"malformed type", "GET", 500, "application/", "x", true},
		{"JSON", "GET", 500, "application/json; charset=utf-8", jsonBody, false},
		{"problem", "GET", 503, "application/problem+json", jsonBody, false},
		{"a client's error in text", "GET", 404, "text/plain", "404 page not found", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			recorder := httptest.NewRecorder()
			w := newResponseWriter(recorder, httptest.NewRequest(test.method, "/v2/", nil))
			w.Header().Set("Content-Type", test.contentType)
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(test.status)
			if n, err := io.WriteString(w, test.body); n != len(test.body) || err != nil {
				t.Errorf("wrote %d, %v", n, err)
			}
			if n, err := w.ReadFrom(strings.NewReader(test.body)); n != int64(len(test.body)) || err != nil {
				t.Errorf("read %d, %v", n, err)
			}

			if recorder.Code != test.status {
				t.Errorf("status %d, want %d", recorder.Code, test.status)
			}
			if got := recorder.Header().Get("Retry-After"); got != "7" {
				t.Errorf("Retry-After: %s", got)
			}
			switch {
			case !test.replaced:
				if got := recorder.Body.String(); got != test.body+test.body {
					t.Errorf("body %q", got)
				}
			case test.method == http.MethodHead:
				if recorder.Body.Len() != 0 {
					t.Errorf("body %q", recorder.Body)
				}
			default:
				if code, message := readError(t, recorder.Body); code != "UNAVAILABLE" || !strings.Contains(message, "the registry failed") {
					t.Errorf("%s: %s", code, message)
				}
			}
			if replaced := recorder.Header().Get("Content-Encoding") == ""; replaced != test.replaced {
				t.Errorf("replaced: %t, want %t", replaced, test.replaced)
			}
		})
	}
}

func TestInterimAnswers(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = newResponseWriter(w, r)
		w.Header().Set("Location", "http://registry/v2/a")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusCreated)
	}))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated || response.Header.Get("Location") != "/v2/a" {
		t.Errorf("%s, Location: %s", response.Status, response.Header.Get("Location"))
	}
}

// TestResponseController reaches through to the server's connection: the
// server's time-outs are lifted there, and uploads need full duplex.
func TestResponseController(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = newResponseWriter(w, r)
		c := http.NewResponseController(w)
		for name, err := range map[string]error{
			"SetReadDeadline":  c.SetReadDeadline(time.Now().Add(time.Minute)),
			"SetWriteDeadline": c.SetWriteDeadline(time.Now().Add(time.Minute)),
			"EnableFullDuplex": c.EnableFullDuplex(),
			"Flush":            c.Flush(), // before anything is written
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, _ = io.WriteString(w, "body")
	}))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); string(body) != "body" || err != nil {
		t.Errorf("body %q, %v", body, err)
	}
	// A flush sends the headers: they must have been corrected by then.
	if got := response.Header.Get("Cache-Control"); got != "no-transform" {
		t.Errorf("Cache-Control: %s", got)
	}
}

// FuzzToOwnOrigin makes sure that what leads to our own origin is a path, and
// that a query stays as it was written.
func FuzzToOwnOrigin(f *testing.F) {
	f.Add("http://registry:5000/v2/a?_state=%2F")
	f.Add("//x/v2//y")
	f.Add("http://a/b@c/v2/")
	f.Add("http://x?/v2/")
	f.Add("x:/v2/")
	f.Fuzz(func(t *testing.T, location string) {
		got := toOwnOrigin(location)
		if got == location {
			return
		}
		if !strings.HasPrefix(got, "/") || strings.HasPrefix(got, "//") || !strings.HasSuffix(location, got) {
			t.Errorf("%q becomes %q", location, got)
		}
	})
}

package access

import (
	"bufio"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/gorilla/mux"
)

const emptyDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParseTarget(t *testing.T) {
	tests := []struct {
		path string
		want target
	}{
		{"/v2", target{endpoint: endpointBase}},
		{"/v2/", target{endpoint: endpointBase}},
		{"/v2/_catalog", target{endpoint: endpointCatalog}},
		{"/v2/a/tags/list", target{endpointTags, "a", ""}},
		{"/v2/a/b/manifests/v1.0", target{endpointManifest, "a/b", "v1.0"}},
		{"/v2/a/manifests/" + emptyDigest, target{endpointManifest, "a", emptyDigest}},
		{"/v2/a/referrers/" + emptyDigest, target{endpointReferrers, "a", emptyDigest}},
		{"/v2/a/blobs/" + emptyDigest, target{endpointBlob, "a", emptyDigest}},
		{"/v2/a/blobs/uploads/", target{endpointUploads, "a", ""}},
		{"/v2/a/blobs/uploads", target{endpointUploads, "a", ""}},
		{"/v2/a/blobs/uploads/0-1_2.3=", target{endpointUpload, "a", "0-1_2.3="}},
		// A repository may hold the words of the API.
		{"/v2/manifests/manifests/manifests", target{endpointManifest, "manifests", "manifests"}},
		{"/v2/a/manifests/b/tags/list", target{endpointTags, "a/manifests/b", ""}},
		{"/v2/a/blobs/uploads/manifests/latest", target{endpointManifest, "a/blobs/uploads", "latest"}},
		{"/v2/a/blobs/uploads/blobs/uploads/x", target{endpointUpload, "a/blobs/uploads", "x"}},
		{"/v2/a/blobs/uploads/tags/list", target{endpointTags, "a/blobs/uploads", ""}},
		{"/v2/a/blobs/blobs/uploads", target{endpointUploads, "a/blobs", ""}},
		// All that follows is refused.
		{path: ""},
		{path: "/"},
		{path: "/v1/"},
		{path: "/v2//"},
		{path: "/v22/"},
		{path: "/V2/"},
		{path: "v2/"},
		{path: "*"},
		{path: "/v2/_catalog/"},
		{path: "/v2/a"},
		{path: "/v2/a/"},
		{path: "/v2/a/tags"},
		{path: "/v2/a/tags/list/"},
		{path: "/v2/tags/list"},
		{path: "/v2//tags/list"},
		{path: "/v2/a/manifests/"},
		{path: "/v2/a/manifests/.hidden"},
		{path: "/v2/a/manifests/latest/"},
		{path: "/v2/manifests/latest"},
		{path: "/v2/a/../b/manifests/latest"},
		{path: "/v2/./a/manifests/latest"},
		{path: "/v2/a//b/manifests/latest"},
		{path: "/v2/A/manifests/latest"},
		{path: "/v2/localhost:5002/a/manifests/latest"},
		{path: "/v2/a b/manifests/latest"},
		{path: "/v2/a\x00/manifests/latest"},
		{path: "/v2/ä/manifests/latest"},
		{path: "/v2/a\\b/manifests/latest"},
		{path: "/v2/a;b/manifests/latest"},
		{path: "/v2/a/manifests/latest;x"},
		{path: "/v2/a/referrers/latest"},
		{path: "/v2/a/blobs/latest"},
		{path: "/v2/a/blobs/"},
		{path: "/v2/blobs/uploads/"},
		{path: "/v2/a/blobs/uploads//"},
		{path: "/v2/a/blobs/uploads/."},
		{path: "/v2/a/blobs/uploads/.."},
		{path: "/v2/a/uploads/x"},
		{path: "/v2/" + strings.Repeat("a", 256) + "/tags/list"},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			got, ok := parseTarget(test.path)
			if ok != (test.want.endpoint != 0) {
				t.Fatalf("accepted: %t", ok)
			}
			if ok && got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestCanonicalPath reads request lines as they come over the wire.
func TestCanonicalPath(t *testing.T) {
	tests := []struct{ name, uri, want string }{ // want: empty where it is refused
		{"plain", "/v2/a/tags/list", "/v2/a/tags/list"},
		{"colon", "/v2/a/blobs/sha256%3Aabc", "/v2/a/blobs/sha256:abc"},
		{"colon in lower case", "/v2/a/blobs/sha256%3aabc", "/v2/a/blobs/sha256:abc"},
		{"absolute form", "http://example.org/v2/a/tags/list", "/v2/a/tags/list"},
		{"slash", "/v2/private%2Fsecret/tags/list", ""},
		{"slash in lower case", "/v2/private%2fsecret/tags/list", ""},
		{"dot", "/v2/a/%2e%2e/b/tags/list", ""},
		{"dot in upper case", "/v2/a/%2E%2E/b/tags/list", ""},
		{"letter", "/v2/%61/tags/list", ""},
		{"word", "/v2/a/%6danifests/latest", ""},
		{"colon and slash", "/v2/a%2Fb/blobs/sha256%3Aabc", ""},
		{"percent twice", "/v2/a%252Fb/tags/list", ""},
		{"percent of a colon twice", "/v2/a/blobs/sha256%253Aabc", ""},
		{"NUL", "/v2/a%00/tags/list", ""},
		{"line break", "/v2/a%0d%0aX/tags/list", ""},
		{"not UTF-8", "/v2/%ff%fe/tags/list", ""},
		{"overlong slash", "/v2/a%c0%afb/tags/list", ""},
		{"overlong dot", "/v2/%c0%ae%c0%ae/tags/list", ""},
		{"semicolon", "/v2/a;/tags/list", ""},
		{"escaped semicolon", "/v2/a%3b/tags/list", ""},
		{"question mark", "/v2/a%3Fx/tags/list", ""},
		{"fragment", "/v2/a#/tags/list", ""},
		{"backslash", `/v2/a\..\b/tags/list`, ""},
		{"two dots", "/v2/a/../b/tags/list", ""},
		{"one dot", "/v2/a/./b/tags/list", ""},
		{"two slashes", "/v2//a/tags/list", ""},
		{"two slashes at the start", "//v2/a/tags/list", ""},
		{"opaque", "http:v2/a/tags/list", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			request := "GET " + test.uri + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
			if err != nil {
				if test.want != "" {
					t.Fatal(err)
				}
				return // Go's server answers 400 by itself
			}
			got, ok := canonicalPath(r.URL)
			if ok {
				_, ok = parseTarget(got)
			}
			if ok != (test.want != "") || ok && got != test.want {
				t.Errorf("got %q, accepted: %t, want %q", got, ok, test.want)
			}
		})
	}
}

func TestMethods(t *testing.T) {
	tests := []struct {
		name     string
		endpoint endpoint
		want     map[string]Action
	}{
		{"base", endpointBase, map[string]Action{"GET": ActionNone, "HEAD": ActionNone}},
		{"catalog", endpointCatalog, map[string]Action{"GET": ActionCatalog}},
		{"tags", endpointTags, map[string]Action{"GET": ActionPull, "HEAD": ActionPull}},
		{"referrers", endpointReferrers, map[string]Action{"GET": ActionPull, "HEAD": ActionPull}},
		{"manifest", endpointManifest, map[string]Action{
			"GET": ActionPull, "HEAD": ActionPull, "PUT": ActionPush, "DELETE": ActionDelete}},
		{"blob", endpointBlob, map[string]Action{"GET": ActionPull, "HEAD": ActionPull, "DELETE": ActionDelete}},
		{"uploads", endpointUploads, map[string]Action{"POST": ActionPush}},
		{"upload", endpointUpload, map[string]Action{
			"GET": ActionPush, "HEAD": ActionPush, "PUT": ActionPush, "PATCH": ActionPush, "DELETE": ActionPush}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// The registry starts an upload, a mount included, for a POST to
			// an upload's own address, too: it must not pass.
			for _, method := range []string{
				"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get", "Post", "PRI", "",
			} {
				got, ok := test.endpoint.action(method)
				want, known := test.want[method]
				if ok != known || ok && got != want {
					t.Errorf("%s: %v, %t, want %v, %t", method, got, ok, want, known)
				}
				if known != strings.Contains(" "+test.endpoint.methods()+",", " "+method+",") && method != "" {
					t.Errorf("Allow: %s", test.endpoint.methods())
				}
			}
		})
	}
}

// FuzzParseTarget holds our reading of a path against the route that the
// reference registry takes for it.
func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{
		"/v2", "/v2/", "/v2/_catalog", "/v2/_catalog/", "/v2/a/tags/list", "/v2/a/b/manifests/latest",
		"/v2/a/manifests/" + emptyDigest, "/v2/a/referrers/" + emptyDigest, "/v2/a/blobs/" + emptyDigest,
		"/v2/a/blobs/uploads", "/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/x=", "/v2/a/blobs/uploads/..",
		"/v2/a/manifests/b/tags/list", "/v2/a/tags/list/manifests/x", "/v2/a/blobs/uploads/manifests/x",
		"/v2/A/tags/list", "/v2/h:5/a/tags/list", "/v2/a//tags/list", "/v2/a/../b/tags/list", "/v2/blobs/uploads/tags/list",
	} {
		f.Add(seed)
	}
	routes := map[endpoint]string{
		endpointBase: v2.RouteNameBase, endpointCatalog: v2.RouteNameCatalog, endpointTags: v2.RouteNameTags,
		endpointManifest: v2.RouteNameManifest, endpointBlob: v2.RouteNameBlob,
		endpointUploads: v2.RouteNameBlobUpload, endpointUpload: v2.RouteNameBlobUploadChunk,
	}
	f.Fuzz(func(t *testing.T, p string) {
		got, ok := parseTarget(p)
		if ok {
			// What is forwarded is read again from a request line.
			u, err := url.ParseRequestURI((&url.URL{Path: p}).RequestURI())
			if err != nil || u.Path != p || u.RawPath != "" {
				t.Fatalf("%q changes on its way: %v, %v", p, u, err)
			}
		}
		var match mux.RouteMatch
		found := v2.Router().Match(&http.Request{Method: http.MethodGet, URL: &url.URL{Path: p}}, &match)
		switch {
		case ok && got.endpoint == endpointReferrers:
			if found {
				t.Errorf("%q is route %s", p, match.Route.GetName())
			}
		case ok && !found:
			t.Errorf("%q is %+v, and no route", p, got)
		case ok:
			reference := match.Vars["reference"] + match.Vars["digest"] + match.Vars["uuid"]
			if match.Route.GetName() != routes[got.endpoint] || match.Vars["name"] != got.repository || reference != got.reference {
				t.Errorf("%q is %+v, and route %s with %v", p, got, match.Route.GetName(), match.Vars)
			}
		case found:
			name := match.Vars["name"]
			switch uuid := match.Vars["uuid"]; {
			case path.Clean(p) != strings.TrimSuffix(p, "/"), // redirected, and then judged again
				len(p) > 5 && match.Route.GetName() != v2.RouteNameBlobUpload && strings.HasSuffix(p, "/"),
				strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._-/") != "",
				len(name) > maxNameLength, uuid == ".", uuid == "..":
			default:
				t.Errorf("%q is route %s with %v, and refused", p, match.Route.GetName(), match.Vars)
			}
		}
	})
}

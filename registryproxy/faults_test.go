package registryproxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestRegistryFaults puts registries that fail behind the proxy: the client
// gets an OCI body that says what is wrong.
func TestRegistryFaults(t *testing.T) {
	hijack := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, answer)
			conn.Close()
		}
	}
	closed := httptest.NewServer(nil)
	closed.Close()

	for _, tc := range []struct {
		name    string
		handler http.HandlerFunc // nil: nobody listens
		status  int
		code    string
		message string
	}{
		{"down", nil, 503, "UNAVAILABLE", "accepts no connection"},
		{"closes early", hijack(""), 502, "UNAVAILABLE", "closed the connection"},
		{"half an answer", hijack("HTTP/1.1 200 OK\r\nContent-"), 502, "UNAVAILABLE", "closed the connection"},
		{"500 with a page", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<h1>Oops</h1>", http.StatusInternalServerError)
		}, 500, "UNAVAILABLE", "answered 500"},
		{"500 with an OCI body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"errors":[{"code":"UNKNOWN","message":"its own words"}]}`)
		}, 500, "UNKNOWN", "its own words"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			upstream := closed.Listener.Addr().String()
			if tc.handler != nil {
				server := httptest.NewServer(tc.handler)
				defer server.Close()
				upstream = server.Listener.Addr().String()
			}
			c := testenv.NewCaddy(t)
			c.Load("registry_proxy {\nto " + upstream + "\nhtpasswd " + testenv.Users(t, "a", "b") + "\n}")
			status, body := get(t, c, "a:b", "/v2/app/tags/list")
			e := ociError(t, body)
			if status != tc.status || e.Code != tc.code || !strings.Contains(e.Message, tc.message) {
				t.Errorf("got %d %s, want %d %s %q", status, body, tc.status, tc.code, tc.message)
			}
		})
	}
}

// TestHeaders: what a client says about proxies in front of us neither reaches
// the registry nor shapes the Location that the client gets; the login stays
// here.
func TestHeaders(t *testing.T) {
	registry := realRegistry(t)
	var seen http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		registry.ServeHTTP(w, r)
	}))
	defer server.Close()
	c := testenv.NewCaddy(t)
	c.Load("registry_proxy {\nto " + server.Listener.Addr().String() + "\nhtpasswd " + testenv.Users(t, "a", "b") + "\n}")

	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL("/v2/app/blobs/uploads/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("a", "b")
	for _, h := range []string{"X-Forwarded-Host", "X-Forwarded-For", "X-Real-Ip"} {
		req.Header.Set(h, "evil.example")
	}
	req.Header.Set("Forwarded", "host=evil.example;proto=http")
	req.Header.Set("X-Forwarded-Proto", "http")
	status, header, body := do(t, c, req)
	if status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	location, err := req.URL.Parse(header.Get("Location"))
	if err != nil || location.Scheme != "https" || location.Host != c.Host {
		t.Errorf("Location leads to %v (%v), not back to %s", location, err, c.Host)
	}
	for name, values := range seen {
		if strings.Contains(strings.Join(values, " "), "evil") {
			t.Errorf("the registry got %s: %q", name, values)
		}
	}
	for _, name := range []string{"Authorization", "Forwarded", "X-Real-Ip"} {
		if seen.Get(name) != "" {
			t.Errorf("the registry got %s", name)
		}
	}
	if seen.Get("X-Forwarded-Proto") != "https" || seen.Get("X-Forwarded-Host") != c.Host {
		t.Errorf("the registry got X-Forwarded-Proto %q, X-Forwarded-Host %q", seen.Get("X-Forwarded-Proto"), seen.Get("X-Forwarded-Host"))
	}
}

// TestEmbeddedCannotWrite: a folder that can't be made is no reason to refuse
// the config; a push is told why, and works once the folder can be made.
func TestEmbeddedCannotWrite(t *testing.T) {
	// A file in the place of the folder above stops root, too.
	parent := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(parent, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := testenv.NewCaddy(t)
	c.Load("registry_proxy {\nembedded " + parent + "/registry\nhtpasswd " + testenv.Users(t, "a", "b") + "\n}")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL("/v2/app/blobs/uploads/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("a", "b")
	status, header, answer := do(t, c, req)
	e := ociError(t, answer)
	if status != 503 || e.Code != "UNAVAILABLE" || !strings.Contains(e.Message, "not a directory") || header.Get("Retry-After") == "" {
		t.Errorf("a push to a folder that can't be made: %d %s", status, answer)
	}
	if strings.Contains(answer, parent) {
		t.Errorf("the answer names a path of this machine: %s", answer)
	}
	if err := os.Remove(parent); err != nil {
		t.Fatal(err)
	}
	send(t, c, http.MethodPost, "/v2/app/blobs/uploads/", nil, http.StatusAccepted)
}

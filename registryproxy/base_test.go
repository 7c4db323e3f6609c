package registryproxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestBase: of many clients that ask for GET /v2/ one alone reaches the
// registry, and what the others get is the same; but once the registry is gone
// they hear of it.
func TestBase(t *testing.T) {
	var asked atomic.Int64
	registry := realRegistry(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		registry.ServeHTTP(w, r)
	}))
	c := testenv.NewCaddy(t)
	c.Load("registry_proxy {\nto " + server.Listener.Addr().String() + "\nhtpasswd " + testenv.Users(t, "a", "b") + "\n}")
	base := func(user string) (int, http.Header, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL("/v2/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if user != "" {
			req.SetBasicAuth(user, "b")
		}
		status, header, body := do(t, c, req)
		header.Del("Date")
		return status, header, body
	}

	status, header, body := base("a")
	if status != http.StatusOK || header.Get("Via") == "" || asked.Load() != 1 {
		t.Fatalf("first: %d %v, the registry was asked %d times", status, header, asked.Load())
	}
	// Until one asks the registry: the memory ends after some seconds, however
	// slow this machine is.
	testenv.Eventually(t, "an answer without the registry", func() error {
		before := asked.Load()
		gotStatus, gotHeader, gotBody := base("a")
		if gotStatus != status || gotBody != body || fmt.Sprint(gotHeader) != fmt.Sprint(header) {
			t.Fatalf("then: %d %v %s, want %d %v %s", gotStatus, gotHeader, gotBody, status, header, body)
		}
		if asked.Load() > before {
			return fmt.Errorf("the registry was asked")
		}
		return nil
	})
	if status, _, _ := base(""); status != http.StatusUnauthorized {
		t.Errorf("without a login: %d", status)
	}

	server.Close()
	testenv.Eventually(t, "the end of the registry", func() error {
		status, _, body := base("a")
		if status != http.StatusServiceUnavailable || ociError(t, body).Code != "UNAVAILABLE" {
			return fmt.Errorf("GET /v2/ answers %d %s", status, body)
		}
		return nil
	})
}

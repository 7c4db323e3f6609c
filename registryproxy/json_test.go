package registryproxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestModulesFromJSON uses each module on its own, without the directive: users
// in front of any site, rules with the users of another provider, a registry
// without either.
func TestModulesFromJSON(t *testing.T) {
	port := testenv.FreePort(t)
	users := testenv.Users(t, "alice", "secret")
	config := fmt.Sprintf(`{
	"admin": {"disabled": true, "config": {"persist": false}},
	"storage": {"module": "file_system", "root": %q},
	"apps": {"http": {"servers": {"s": {"listen": ["localhost:%d"], "automatic_https": {"disable": true}, "routes": [
		{"match": [{"path": ["/page"]}], "handle": [
			{"handler": "authentication", "providers": {"htpasswd": {"file": %q, "realm": "the house"}}},
			{"handler": "static_response", "body": "for {http.auth.user.id}"}
		]},
		{"match": [{"host": ["bare.localhost"]}], "handle": [{"handler": "registry", "root": %[4]q}]},
		{"match": [{"host": ["ruled.localhost"]}], "handle": [
			{"handler": "registry_access", "allow": [{"subject": "anonymous", "actions": ["pull"], "repositories": ["public/**"]}]},
			{"handler": "registry", "root": %[4]q}
		]},
		{"match": [{"host": ["container.localhost"]}], "handle": [
			{"handler": "reverse_proxy", "dynamic_upstreams": {"source": "registry_container", "host": "unix://%[4]s/docker.sock"}}
		]}
	]}}}}
}`, t.TempDir(), port, users, t.TempDir())
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	for _, tc := range []struct {
		name, host, path, user string
		status                 int
		says                   string
	}{
		{"users in front of a page", "localhost", "/page", "alice", 200, "for alice"},
		{"nobody", "localhost", "/page", "", 401, ""},
		{"a bare registry", "bare.localhost", "/v2/_catalog", "", 200, `{"repositories":[]}`},
		{"rules without a provider", "ruled.localhost", "/v2/private/tags/list", "", 401, "authentication required to pull from private"},
		{"what they allow", "ruled.localhost", "/v2/public/app/tags/list", "", 404, "NAME_UNKNOWN"},
		{"no Docker", "container.localhost", "/v2/", "", 503, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://localhost:%d%s", port, tc.path), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = tc.host
			if tc.user != "" {
				req.SetBasicAuth(tc.user, "secret")
			}
			c := &testenv.Caddy{Client: http.DefaultClient}
			status, header, body := do(t, c, req)
			if status != tc.status || !strings.Contains(body, tc.says) {
				t.Errorf("got %d %s, want %d %s", status, body, tc.status, tc.says)
			}
			if tc.host == "localhost" && status == http.StatusUnauthorized && header.Get("Www-Authenticate") != `Basic realm="the house", charset="UTF-8"` {
				t.Errorf("WWW-Authenticate: %q", header.Get("Www-Authenticate"))
			}
		})
	}
}

package registryproxy_test

import (
	"bufio"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestRawRequests sends what no tidy client would through all of Caddy, and looks at
// what reaches the registry: what was judged, and nothing that poses as more.
func TestRawRequests(t *testing.T) {
	registry := realRegistry(t)
	var mu sync.Mutex
	var reached []string // guarded by mu
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := r.Method + " " + r.RequestURI
		for _, name := range []string{"Authorization", "Forwarded", "X-Real-Ip", "X-Http-Method-Override", "Upgrade", "Te"} {
			if r.Header.Get(name) != "" {
				seen += " " + name
			}
		}
		mu.Lock()
		reached = append(reached, seen)
		mu.Unlock()
		registry.ServeHTTP(w, r)
	}))
	defer server.Close()
	c := testenv.NewCaddy(t)
	c.Load("registry_proxy {\nto " + server.Listener.Addr().String() + "\nhtpasswd " + testenv.Users(t, "a", "b", "eve", "x") +
		"\nallow a pull,push a/**\nallow eve pull eve/**\n}")

	login := func(user, password string) string {
		return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
	}
	a, eve := login("a", "b"), login("eve", "x")
	host := "Host: " + c.Host + "\r\n"
	const get = "GET /v2/a/x/tags/list HTTP/1.1\r\n"
	const seen = "GET /v2/a/x/tags/list"
	for _, test := range []struct {
		name    string
		request string // without its empty line
		status  int
		reached string
	}{
		{"one's own", get + host + a, 404, seen},
		{"no login", get + host, 401, ""},
		{"another's", get + host + eve, 403, ""},
		{"two logins", get + host + eve + a, 400, ""},
		{"two logins, the same", get + host + a + a, 400, ""},
		{"two logins in one line", get + host + strings.TrimSuffix(eve, "\r\n") + ", " + strings.TrimPrefix(a, "Authorization: "), 401, ""},
		{"a login of another kind", get + host + "Authorization: Bearer eA==\r\n", 401, ""},
		{"a login for a proxy", get + host + "Proxy-" + a, 401, ""},
		{"a login in the target", "GET https://a:b@" + c.Host + "/v2/a/x/tags/list HTTP/1.1\r\n" + host, 401, ""},
		{"a login in lower case", get + host + strings.Replace(a, "Authorization: Basic", "authorization: basic", 1), 404, seen},
		{"a space before the colon", get + host + strings.Replace(a, ":", " :", 1), 400, ""},
		{"a folded login", get + host + strings.Replace(a, "Basic ", "Basic\r\n ", 1), 404, seen},
		// To Caddy this is a site that it doesn't have, for which it has an empty answer.
		{"absolute form", "GET http://evil.example/v2/a/x/tags/list HTTP/1.1\r\n" + host + a, 200, ""},
		{"absolute form of this host", "GET https://" + c.Host + "/v2/a/x/tags/list HTTP/1.1\r\n" + host + a, 404, seen},
		{"method override", "GET /v2/eve/x/tags/list HTTP/1.1\r\n" + host + eve + "X-HTTP-Method-Override: PUT\r\n", 404, "GET /v2/eve/x/tags/list"},
		{"upgrade", get + host + a + "Connection: upgrade\r\nUpgrade: websocket\r\n", 404, seen},
		{"upgrade to HTTP/2", get + host + a + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", 404, seen},
		{"headers of a proxy", get + host + a + "Forwarded: for=1.2.3.4;host=evil\r\nX-Real-IP: 1.2.3.4\r\n", 404, seen},
		{"a login that shall be dropped on the way", get + host + a + "Connection: Authorization\r\n", 404, seen},
		{"length and chunks", "POST /v2/a/x/blobs/uploads/ HTTP/1.1\r\n" + host + a + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", 202, "POST /v2/a/x/blobs/uploads/"},
		{"two lengths", "POST /v2/a/x/blobs/uploads/ HTTP/1.1\r\n" + host + a + "Content-Length: 0\r\nContent-Length: 4\r\n", 400, ""},
		{"chunks by another name", "POST /v2/a/x/blobs/uploads/ HTTP/1.1\r\n" + host + a + "Transfer-Encoding: chunked, identity\r\n", 501, ""},
		{"HTTP/1.0", "GET /v2/a/x/tags/list HTTP/1.0\r\n" + host + a, 404, seen},
		{"a name with dots", "GET /v2/a/../eve/x/tags/list HTTP/1.1\r\n" + host + a, 404, ""},
		{"an escaped slash", "GET /v2/a%2fx/tags/list HTTP/1.1\r\n" + host + a, 400, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := c.Dial(t)
			request := test.request + "\r\n"
			if strings.Contains(request, "chunked\r\n") {
				request += "0\r\n\r\n"
			}
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			status := 0
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				status = resp.StatusCode
				resp.Body.Close()
			}
			mu.Lock()
			got := strings.Join(reached, ", ")
			reached = nil
			mu.Unlock()
			if status != test.status || got != test.reached {
				t.Errorf("status %d, and the registry got %q; want %d and %q", status, got, test.status, test.reached)
			}
		})
	}
}

package registryproxy_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// The logins of the raw requests. Their lengths are such that Base64 has no other
// way to write them.
const (
	loginA   = "YTpi"     // a:b, who may pull from and push to a/**
	loginEve = "ZXZlOnh5" // eve:xy, who may pull from eve/**
)

// rawCaddy is all of Caddy in front of the reference registry, of which it records
// what reaches it.
type rawCaddy struct {
	*testenv.Caddy

	mu      sync.Mutex // guards what follows
	reached []string   // method, target and headers that should have been dropped
	acts    []string   // what the registry does, as its own router reads it
}

func newRawCaddy(t testing.TB) *rawCaddy {
	t.Helper()
	c := &rawCaddy{Caddy: testenv.NewCaddy(t)}
	registry := realRegistry(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := r.Method + " " + r.RequestURI
		for _, name := range []string{"Authorization", "Forwarded", "X-Real-Ip", "X-Http-Method-Override", "Upgrade", "Te"} {
			if r.Header.Get(name) != "" {
				seen += " " + name
			}
		}
		acts := testenv.Acts(r)
		c.mu.Lock()
		c.reached, c.acts = append(c.reached, seen), append(c.acts, acts...)
		c.mu.Unlock()
		registry.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c.Load("registry_proxy {\nto " + server.Listener.Addr().String() + "\nhtpasswd " + testenv.Users(t, "a", "b", "eve", "xy") +
		"\nallow a pull,push a/**\nallow eve pull eve/**\n}")
	return c
}

// exchange sends a request as it is, in which HOST stands for Caddy's own, and
// returns the status of each answer.
func (c *rawCaddy) exchange(t testing.TB, request []byte, patience time.Duration) (statuses []int) {
	t.Helper()
	conn := c.Dial(t)
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(bytes.ReplaceAll(request, []byte("HOST"), []byte(c.Host))); err != nil {
		return nil // it has hung up already
	}
	for reader := bufio.NewReader(conn); ; {
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, resp.Body) // what breaks off is the last
		resp.Body.Close()
		statuses = append(statuses, resp.StatusCode)
	}
}

// take returns what has reached the registry since it was asked last.
func (c *rawCaddy) take() (reached, acts []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	reached, acts = c.reached, c.acts
	c.reached, c.acts = nil, nil
	return reached, acts
}

const (
	asA   = "Authorization: Basic " + loginA + "\r\n"
	asEve = "Authorization: Basic " + loginEve + "\r\n"
	host  = "Host: HOST\r\nConnection: close\r\n"

	getA  = "GET /v2/a/x/tags/list HTTP/1.1\r\n"
	seenA = "GET /v2/a/x/tags/list"
	postA = "POST /v2/a/x/blobs/uploads/ HTTP/1.1\r\n"
)

var rawRequests = []struct {
	name    string
	request string // without its empty line
	status  int
	reached string
}{
	{"one's own", getA + host + asA, 404, seenA},
	{"no login", getA + host, 401, ""},
	{"another's", getA + host + asEve, 403, ""},
	{"two logins", getA + host + asEve + asA, 400, ""},
	{"two logins, the same", getA + host + asA + asA, 400, ""},
	{"two logins in one line", getA + host + "Authorization: Basic " + loginEve + ", Basic " + loginA + "\r\n", 401, ""},
	{"a login of another kind", getA + host + "Authorization: Bearer eA==\r\n", 401, ""},
	{"a login for a proxy", getA + host + "Proxy-" + asA, 401, ""},
	{"a login in the target", "GET https://a:b@HOST/v2/a/x/tags/list HTTP/1.1\r\n" + host, 401, ""},
	{"a login in lower case", getA + host + "authorization: basic " + loginA + "\r\n", 404, seenA},
	{"a space before the colon", getA + host + "Authorization : Basic " + loginA + "\r\n", 400, ""},
	{"a folded login", getA + host + "Authorization: Basic\r\n  " + loginA + "\r\n", 404, seenA},
	// To Caddy this is a site that it doesn't have, for which it has an empty answer.
	{"absolute form", "GET http://evil.example/v2/a/x/tags/list HTTP/1.1\r\n" + host + asA, 200, ""},
	{"absolute form of this host", "GET https://HOST/v2/a/x/tags/list HTTP/1.1\r\n" + host + asA, 404, seenA},
	{"method override", "GET /v2/eve/x/tags/list HTTP/1.1\r\n" + host + asEve + "X-HTTP-Method-Override: PUT\r\n", 404, "GET /v2/eve/x/tags/list"},
	{"upgrade", getA + "Host: HOST\r\n" + asA + "Connection: upgrade, close\r\nUpgrade: websocket\r\n", 404, seenA},
	{"upgrade to HTTP/2", getA + "Host: HOST\r\n" + asA + "Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", 404, seenA},
	{"headers of a proxy", getA + host + asA + "Forwarded: for=1.2.3.4;host=evil\r\nX-Real-IP: 1.2.3.4\r\n", 404, seenA},
	{"a login that shall be dropped on the way", getA + host + asA + "Connection: Authorization\r\n", 404, seenA},
	{"length and chunks", postA + host + asA + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", 202, "POST /v2/a/x/blobs/uploads/"},
	{"two lengths", postA + host + asA + "Content-Length: 0\r\nContent-Length: 4\r\n", 400, ""},
	{"chunks by another name", postA + host + asA + "Transfer-Encoding: chunked, identity\r\n", 501, ""},
	{"HTTP/1.0", "GET /v2/a/x/tags/list HTTP/1.0\r\n" + host + asA, 404, seenA},
	{"a name with dots", "GET /v2/a/../eve/x/tags/list HTTP/1.1\r\n" + host + asA, 404, ""},
	{"an escaped slash", "GET /v2/a%2fx/tags/list HTTP/1.1\r\n" + host + asA, 400, ""},
	{"a mount from another's", "POST /v2/a/x/blobs/uploads/?mount=sha256:" + strings.Repeat("0", 64) + "&from=eve/x HTTP/1.1\r\n" + host + asA, 202, "POST /v2/a/x/blobs/uploads/"},
	{"another's behind one's own", getA + "Host: HOST\r\n" + asA + "\r\nGET /v2/eve/x/tags/list HTTP/1.1\r\n" + host + asA, 404, seenA},
	{"another's with the login of before", getA + "Host: HOST\r\n" + asA + "\r\n" + getA + host, 404, seenA},
}

// TestRawRequests sends what no tidy client would through all of Caddy, and looks at
// what reaches the registry: what was judged, and nothing that poses as more.
func TestRawRequests(t *testing.T) {
	c := newRawCaddy(t)
	for _, test := range rawRequests {
		t.Run(test.name, func(t *testing.T) {
			request := test.request + "\r\n"
			if strings.Contains(request, "chunked\r\n") {
				request += "0\r\n\r\n"
			}
			statuses := c.exchange(t, []byte(request), 30*time.Second)
			reached, _ := c.take()
			if len(statuses) == 0 || statuses[0] != test.status || strings.Join(reached, ", ") != test.reached {
				t.Errorf("statuses %v, and the registry got %q; want %d and %q", statuses, reached, test.status, test.reached)
			}
		})
	}
}

// FuzzCaddy looks for a request with which all of Caddy lets somebody do what that
// one may not: the registry acts only where a login allows it that the request has.
func FuzzCaddy(f *testing.F) {
	c := newRawCaddy(f)
	for _, seed := range rawRequests {
		f.Add([]byte(seed.request + "\r\n"))
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		// The second request ends the connection, if the first one does not.
		wire := slices.Concat(request, []byte(getA+host+"\r\n"))
		for _, patience := range []time.Duration{100 * time.Millisecond, 10 * time.Second} {
			c.exchange(t, wire, patience)
			act := c.forbidden(request)
			if act == "" {
				return
			}
			if patience > time.Second {
				t.Errorf("the registry did: %s", act)
			}
			// Else it may have been what was asked before, and took its time.
		}
	})
}

// forbidden returns what the registry did though no login in the request allows it,
// "" if nothing.
func (c *rawCaddy) forbidden(request []byte) string {
	_, acts := c.take()
	for _, act := range acts {
		verb, repository, _ := strings.Cut(act, " ")
		byA := strings.HasPrefix(repository, "a/") && verb != "delete" && bytes.Contains(request, []byte(loginA))
		byEve := strings.HasPrefix(repository, "eve/") && verb == "pull" && bytes.Contains(request, []byte(loginEve))
		if !byA && !byEve {
			return act
		}
	}
	return ""
}

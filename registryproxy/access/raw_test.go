package access

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// rawFront is the reference registry behind a Handler for the user alice, who
// may pull, push and delete below alice/, and pull from shared/x. It records
// what reaches the registry, as the registry's own router reads it.
type rawFront struct {
	*httptest.Server
	registry http.Handler
	secret   v1.Hash  // of a blob in secret/x
	others   []string // what is in the repositories that alice may not change

	running sync.RWMutex // held for reading by each request
	mu      sync.Mutex   // guards all following fields
	acts    []string     // "pull alice/app"
}

func newRawFront(t testing.TB) *rawFront {
	t.Helper()
	registry := newRegistry(t, 1000)
	f := &rawFront{registry: registry}
	push(t, registry, "alice/app", "shared/x")
	layer := push(t, registry, "secret/x")
	var err error
	if f.secret, err = layer.Digest(); err != nil {
		t.Fatal(err)
	}
	h := newHandler(t, nil, allow("alice", "pull,push,delete", "alice/**"), allow("alice", "pull", "shared/x"))
	f.others = f.look()
	f.Server = httptest.NewUnstartedServer(f.watch(serve(h, "alice", handlerFunc(http.HandlerFunc(f.record)))))
	f.Config.ErrorLog = nil
	f.Start()
	t.Cleanup(f.Close)
	return f
}

// watch notes panics, of which the server would else make the end of a connection.
func (f *rawFront) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.running.RLock()
		defer f.running.RUnlock()
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
					f.note(fmt.Sprint("panic: ", p))
				}
				panic(p)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// look returns what the registry itself has in the repositories of others.
func (f *rawFront) look() (seen []string) {
	for _, path := range []string{
		"secret/x/tags/list", "secret/x/manifests/latest", "secret/x/blobs/" + f.secret.String(), "shared/x/tags/list", "shared/x/manifests/latest",
	} {
		w := f.ask(http.MethodGet, path)
		seen = append(seen, fmt.Sprint(path, " ", w.Code, " ", w.Body))
	}
	return seen
}

// ask asks the registry itself.
func (f *rawFront) ask(method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.registry.ServeHTTP(w, httptest.NewRequest(method, "/v2/"+path, nil))
	return w
}

// record notes what the registry will do with r, and lets it.
func (f *rawFront) record(w http.ResponseWriter, r *http.Request) {
	for _, act := range testenv.Acts(r) {
		f.note(act)
	}
	f.registry.ServeHTTP(w, r)
}

func (f *rawFront) note(act string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acts = append(f.acts, act)
}

// check compares what the registry did since the last check with what alice
// may do, and what is there now with what may be there. It waits for requests that
// are being served.
func (f *rawFront) check(t testing.TB) (acts []string) {
	t.Helper()
	f.running.Lock()
	defer f.running.Unlock()
	f.mu.Lock()
	acts, f.acts = f.acts, nil
	f.mu.Unlock()
	pushed := []string{"alice/app"}
	for _, act := range acts {
		if !mayAlice(act) {
			t.Errorf("the registry did: %s", act)
		}
		if repository, ok := strings.CutPrefix(act, "push "); ok {
			pushed = append(pushed, repository)
		}
	}
	// A mount shows in no path.
	for _, repository := range pushed {
		if w := f.ask(http.MethodHead, repository+"/blobs/"+f.secret.String()); w.Code != http.StatusNotFound {
			t.Errorf("the secret blob is in %s: status %d", repository, w.Code)
		}
	}
	if now := f.look(); !slices.Equal(now, f.others) {
		t.Errorf("repositories of others have changed: %q, and before: %q", now, f.others)
	}
	return acts
}

// exchange sends request as it is and returns the status of each answer. It
// gives up after patience, since a body may be shorter than announced.
func (f *rawFront) exchange(t testing.TB, request []byte, patience time.Duration) (statuses []int) {
	t.Helper()
	conn, err := net.Dial("tcp", f.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(request); err != nil {
		return nil // the server has hung up already
	}
	reader := bufio.NewReader(conn)
	for {
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			return statuses
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if bytes.Contains(body, []byte("secret/")) && response.StatusCode < 400 {
			t.Errorf("an answer names a secret repository: %s", body)
		}
		statuses = append(statuses, response.StatusCode)
	}
}

// rawRequest writes a request as no tidy client would. Close makes the server
// end the connection after it.
func rawRequest(line, body string, headers ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", line)
	for _, header := range headers {
		fmt.Fprintf(&b, "%s\r\n", header)
	}
	if body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	fmt.Fprintf(&b, "\r\n%s", body)
	return b.Bytes()
}

// rawSeeds are ways to talk rules round. SECRET stands for the digest of a blob
// in secret/x.
var rawSeeds = []struct {
	name    string
	request []byte
	status  int
	acts    string // what the registry may be asked to do, separated by commas
}{
	{"own tags", rawRequest("GET /v2/alice/app/tags/list", ""), 200, "pull alice/app"},
	{"shared manifest", rawRequest("HEAD /v2/shared/x/manifests/latest", ""), 200, "pull shared/x"},
	{"upload", rawRequest("POST /v2/alice/app/blobs/uploads/", ""), 202, "push alice/app"},
	{"upload without a slash", rawRequest("POST /v2/alice/app/blobs/uploads", ""), 301, "push alice/app"},
	{"catalog", rawRequest("GET /v2/_catalog", ""), 200, ""},
	{"absolute form", rawRequest("GET http://evil.example/v2/alice/app/tags/list", ""), 200, "pull alice/app"},
	{"escaped colon", rawRequest("GET /v2/alice/app/blobs/sha256%3Aabc", ""), 400, "pull alice/app"},

	{"secret manifest", rawRequest("GET /v2/secret/x/manifests/latest", ""), 403, ""},
	{"secret blob", rawRequest("GET /v2/secret/x/blobs/SECRET", ""), 403, ""},
	{"secret blob in a repository of one's own", rawRequest("GET /v2/alice/app/blobs/SECRET", ""), 404, "pull alice/app"},
	{"push to shared", rawRequest("POST /v2/shared/x/blobs/uploads/", ""), 403, ""},
	{"escaped slash", rawRequest("GET /v2/secret%2Fx/manifests/latest", ""), 400, ""},
	{"escaped letter", rawRequest("GET /v2/%73ecret/x/manifests/latest", ""), 400, ""},
	{"dots", rawRequest("GET /v2/alice/../secret/x/manifests/latest", ""), 404, ""},
	{"escaped dots", rawRequest("GET /v2/alice/%2e%2e/secret/x/manifests/latest", ""), 400, ""},
	{"escaped twice", rawRequest("GET /v2/alice/%252e%252e/secret/x/manifests/latest", ""), 404, ""},
	{"dot", rawRequest("GET /v2/./secret/x/manifests/latest", ""), 404, ""},
	{"two slashes", rawRequest("GET /v2//secret/x/manifests/latest", ""), 404, ""},
	{"two slashes first", rawRequest("GET //v2/secret/x/manifests/latest", ""), 404, ""},
	{"backslash", rawRequest(`GET /v2/alice\..\secret/x/manifests/latest`, ""), 404, ""},
	{"matrix parameter", rawRequest("GET /v2/alice;/../secret/x/manifests/latest", ""), 404, ""},
	{"NUL", rawRequest("GET /v2/secret/x%00/manifests/latest", ""), 404, ""},
	{"upper case", rawRequest("GET /v2/Secret/x/manifests/latest", ""), 404, ""},
	{"domain", rawRequest("GET /v2/localhost:5002/secret/x/manifests/latest", ""), 404, ""},
	{"absolute form of another", rawRequest("GET http://localhost/v2/secret/x/tags/list", ""), 403, ""},
	{"upload in the folder above", rawRequest("GET /v2/alice/app/blobs/uploads/..", ""), 404, ""},
	{"another path in a header", rawRequest("GET /v2/alice/app/tags/list", "", "X-Original-URL: /v2/secret/x/tags/list", "X-Rewrite-URL: /v2/secret/x/tags/list"), 200, "pull alice/app"},
	{"another method in a header", rawRequest("GET /v2/shared/x/manifests/latest", "", "X-HTTP-Method-Override: DELETE"), 200, "pull shared/x"},
	{"method in lower case", rawRequest("delete /v2/shared/x/manifests/latest", ""), 405, ""},

	{"escapes of both cases", rawRequest("GET /v2/alice%2f%2E%2e%2Fsecret%2fx/manifests/latest", ""), 400, ""},
	{"escape that is none", rawRequest("GET /v2/alice/app%2/manifests/latest", ""), 400, ""},
	{"not UTF-8", rawRequest("GET /v2/alice/\xff\xfe/manifests/latest", ""), 404, ""},
	{"overlong UTF-8", rawRequest("GET /v2/alice/..\xc0\xafsecret/x/manifests/latest", ""), 404, ""},
	{"NUL as it is", rawRequest("GET /v2/secret/x\x00/manifests/latest", ""), 400, ""},
	{"name beyond the limit", rawRequest("GET /v2/alice/"+strings.Repeat("a", 300)+"/manifests/latest", ""), 404, ""},
	{"slash at the end", rawRequest("GET /v2/secret/x/tags/list/", ""), 404, ""},
	{"slash at the end of one's own", rawRequest("GET /v2/alice/app/tags/list/", ""), 404, ""},
	{"fragment", rawRequest("GET /v2/alice/app/tags/list#/../../../secret/x/tags/list", ""), 404, ""},
	{"query with a path", rawRequest("GET /v2/alice/app/tags/list?/../../secret/x/tags/list", ""), 200, "pull alice/app"},
	{"authority form", rawRequest("GET secret/x:443", ""), 400, ""},
	{"asterisk form", rawRequest("OPTIONS *", ""), 200, ""},
	{"CONNECT", rawRequest("CONNECT /v2/secret/x/tags/list", ""), 405, ""},
	{"unknown method", rawRequest("FROB /v2/secret/x/tags/list", ""), 405, ""},
	{"method with a space", rawRequest("GET  /v2/secret/x/tags/list", ""), 400, ""},
	{"two hosts", rawRequest("GET /v2/alice/app/tags/list", "", "Host: secret"), 400, ""},
	{"path in the host", []byte("GET /v2/alice/app/tags/list HTTP/1.1\r\nHost: localhost/v2/secret/x\r\nConnection: close\r\n\r\n"), 400, ""},
	{"headers of a proxy", rawRequest("GET /v2/alice/app/tags/list", "", "Forwarded: host=evil.example;proto=http", "X-Forwarded-Prefix: /v2/secret/x", "X-Forwarded-Host: evil.example"), 200, "pull alice/app"},
	{"websocket", rawRequest("GET /v2/alice/app/tags/list", "", "Upgrade: websocket", "Connection: upgrade"), 200, "pull alice/app"},
	{"HTTP/2 without TLS", rawRequest("GET /v2/alice/app/tags/list", "", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"), 200, "pull alice/app"},
	{"two lengths", rawRequest("PATCH /v2/alice/app/blobs/uploads/x", "abc", "Content-Length: 5"), 400, ""},
	{"a length with a sign", rawRequest("PATCH /v2/alice/app/blobs/uploads/x", "", "Content-Length: +3"), 400, ""},
	{"encodings that no one knows", rawRequest("PATCH /v2/alice/app/blobs/uploads/x", "", "Transfer-Encoding: xchunked"), 501, ""},
	{"line feeds alone", []byte("GET /v2/secret/x/tags/list HTTP/1.1\nHost: a\nConnection: close\n\n"), 403, ""},
	{"folded header", rawRequest("GET /v2/alice/app/tags/list", "", "X: a\r\n b"), 200, "pull alice/app"},

	{"mount", rawRequest("POST /v2/alice/app/blobs/uploads/?mount=SECRET&from=secret/x", ""), 202, "push alice/app"},
	{"mount from anywhere", rawRequest("POST /v2/alice/app/blobs/uploads/?mount=SECRET", ""), 202, "push alice/app"},
	{"mount, escaped keys", rawRequest("POST /v2/alice/app/blobs/uploads/?%6dount=SECRET&%66rom=secret/x", ""), 202, "push alice/app"},
	{"mount, escaped name", rawRequest("POST /v2/alice/app/blobs/uploads/?mount=SECRET&from=secret%2Fx", ""), 202, "push alice/app"},
	{"mount from dots", rawRequest("POST /v2/alice/app/blobs/uploads/?mount=SECRET&from=alice/../secret/x", ""), 202, "push alice/app"},
	{"mount twice", rawRequest("POST /v2/alice/app/blobs/uploads/?mount=SECRET&from=shared/x&from=secret/x", ""), 400, ""},
	{"mount with a semicolon", rawRequest("POST /v2/alice/app/blobs/uploads/?mount=SECRET&from=shared/x;from=secret/x", ""), 400, ""},
	{"mount in a form", rawRequest("POST /v2/alice/app/blobs/uploads/", "mount=SECRET&from=secret/x", "Content-Type: application/x-www-form-urlencoded"), 415, ""},
	{"mount in a form beside another", rawRequest("POST /v2/alice/app/blobs/uploads/?mount=SECRET&from=shared/x", "from=secret/x", "Content-Type: Application/X-WWW-form-urlencoded;x"), 415, ""},
	{"mount in a form, second type", rawRequest("POST /v2/alice/app/blobs/uploads/", "mount=SECRET&from=secret/x", "Content-Type: a/b", "Content-Type: application/x-www-form-urlencoded"), 415, ""},
	{"mount in a multipart form", rawRequest("POST /v2/alice/app/blobs/uploads/?mount=SECRET",
		"--b\r\nContent-Disposition: form-data; name=\"from\"\r\n\r\nsecret/x\r\n--b--\r\n", `Content-Type: multipart/form-data; boundary="b"`), 415, ""},
	{"mount in a chunked form", []byte("POST /v2/alice/app/blobs/uploads/?mount=SECRET HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" +
		"Transfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\nd\r\nfrom=secret/x\r\n0\r\n\r\n"), 415, ""},
	{"secret behind one's own in a pipeline", []byte("GET /v2/alice/app/tags/list HTTP/1.1\r\nHost: a\r\n\r\n" +
		"GET /v2/secret/x/tags/list HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), 200, "pull alice/app"},
	{"secret behind a body with two lengths", []byte("PATCH /v2/alice/app/blobs/uploads/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"0\r\n\r\nGET /v2/secret/x/tags/list HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), 404, "push alice/app"},
	{"mount in a form to an upload", rawRequest("POST /v2/alice/app/blobs/uploads/x?mount=SECRET&from=secret/x", ""), 405, ""},
	{"mount in a GET", rawRequest("GET /v2/alice/app/blobs/uploads/?mount=SECRET&from=secret/x", ""), 405, ""},
	{"mount from what one may pull", rawRequest("POST /v2/alice/app/blobs/uploads/?mount=SECRET&from=shared/x", ""), 202, "push alice/app,pull shared/x"},
}

// TestRawRequests guards against every way round the rules that is known: what
// the registry does, alice may do.
func TestRawRequests(t *testing.T) {
	f := newRawFront(t)
	for _, test := range rawSeeds {
		t.Run(test.name, func(t *testing.T) {
			request := bytes.ReplaceAll(test.request, []byte("SECRET"), []byte(f.secret.String()))
			statuses := f.exchange(t, request, 30*time.Second)
			if len(statuses) == 0 || statuses[0] != test.status {
				t.Errorf("statuses %v, want %d", statuses, test.status)
			}
			if acts := strings.Join(f.check(t), ","); acts != test.acts {
				t.Errorf("the registry did %q, want %q", acts, test.acts)
			}
		})
	}
}

// FuzzRawRequests looks for a way round the rules that is not known.
func FuzzRawRequests(f *testing.F) {
	front := newRawFront(f)
	for _, seed := range rawSeeds {
		f.Add(slices.Concat(seed.request))
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		request = bytes.ReplaceAll(request, []byte("SECRET"), []byte(front.secret.String()))
		// A second request ends the connection if the first one did not.
		request = append(request, rawRequest("GET /v2/", "")...)
		front.exchange(t, request, 100*time.Millisecond)
		front.check(t)
	})
}

package registryproxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestRegistryRestarts: while nobody listens a request waits, whatever its
// method; it is answered as soon as the registry is back.
func TestRegistryRestarts(t *testing.T) {
	for _, tc := range []struct {
		name, method, path string // no path: that of an upload that began before
		status             int
	}{
		{"pull", http.MethodGet, "/v2/_catalog", http.StatusOK},
		{"push begins", http.MethodPost, "/v2/app/blobs/uploads/", http.StatusAccepted},
		{"push goes on", http.MethodPatch, "", http.StatusAccepted},
	} {
		t.Run(tc.name, func(t *testing.T) {
			registry := realRegistry(t)
			server := httptest.NewServer(registry)
			// A connection left over would be closed in the middle of a request.
			server.Config.SetKeepAlivesEnabled(false)
			address := server.Listener.Addr().String()
			c := testenv.NewCaddy(t)
			c.Load("registry_proxy {\nto " + address + "\nhtpasswd " + testenv.Users(t, "a", "b") + "\n}")
			location := send(t, c, http.MethodPost, "/v2/app/blobs/uploads/", nil, http.StatusAccepted)
			if tc.path != "" {
				location = tc.path
			}
			server.Close()

			tries := func() int { return strings.Count(c.Log(), "selected upstream") }
			before := tries()
			var content io.Reader
			if tc.method == http.MethodPatch {
				content = strings.NewReader("content")
			}
			req, err := http.NewRequestWithContext(t.Context(), tc.method, c.URL(location), content)
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth("a", "b")
			answers := answersOf(c.Client, req)
			testenv.Eventually(t, "a second try", func() error {
				if n := tries() - before; n < 2 {
					return fmt.Errorf("the log has %d", n)
				}
				return nil
			})
			listener, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			back := &httptest.Server{Listener: listener, Config: &http.Server{Handler: registry}}
			back.Start()
			defer back.Close()
			a := <-answers
			if a.err != nil || a.status != tc.status {
				t.Fatalf("during the restart: %d %s (%v), want %d", a.status, a.body, a.err, tc.status)
			}
			if tc.method == http.MethodPatch && a.header.Get("Range") != "0-6" {
				t.Errorf("the registry got the bytes %q", a.header.Get("Range"))
			}
		})
	}
}

// TestReloadDuringUpload: an upload to the embedded registry goes on after a
// reload. Its state is signed with a secret of the registry.
func TestReloadDuringUpload(t *testing.T) {
	c := testenv.NewCaddy(t)
	site := "registry_proxy {\nembedded " + t.TempDir() + "\nhtpasswd " + testenv.Users(t, "a", "b") + "\n}"
	c.Load(site)
	content := bytes.Repeat([]byte("blob"), 1024)
	half := len(content) / 2
	location := send(t, c, http.MethodPost, "/v2/app/blobs/uploads/", nil, http.StatusAccepted)
	location = send(t, c, http.MethodPatch, location, content[:half], http.StatusAccepted)
	c.Load(site)
	location = send(t, c, http.MethodPatch, location, content[half:], http.StatusAccepted)
	sum := digest.FromBytes(content).String()
	send(t, c, http.MethodPut, location+"&digest="+sum, nil, http.StatusCreated)
	if status, body := get(t, c, "a:b", "/v2/app/blobs/"+sum); status != 200 || body != string(content) {
		t.Errorf("the blob after its upload: %d, %d bytes", status, len(body))
	}
}

// TestStalledUpload: a client that stalls for 75 s in the middle of a PATCH
// goes on afterwards. Caddy's own default would have cut it off after 60 s.
func TestStalledUpload(t *testing.T) {
	testenv.Time(t)
	c := testenv.NewCaddy(t)
	server := httptest.NewServer(realRegistry(t))
	t.Cleanup(server.Close)
	users := testenv.Users(t, "a", "b")
	c.Load("registry_proxy /v2/to/* {\nto " + server.Listener.Addr().String() + "\nhtpasswd " + users + "\n}\n" +
		"registry_proxy /v2/embedded/* {\nembedded " + t.TempDir() + "\nhtpasswd " + users + "\n}")
	// All at once, however few tests may run in parallel.
	uploads := make(map[string]<-chan answer)
	for _, way := range []string{"to", "embedded"} {
		for _, version := range []int{1, 2} {
			uploads[fmt.Sprintf("%s over HTTP %d", way, version)] = stall(t, c, way, version)
		}
	}
	for name, answers := range uploads {
		a := <-answers
		if a.err != nil || !strings.HasSuffix(name, fmt.Sprint(a.version)) || a.status != http.StatusAccepted || a.header.Get("Range") != "0-22" {
			t.Errorf("%s: after the stall, over HTTP %d: %d, Range %q, %s (%v)", name, a.version, a.status, a.header.Get("Range"), a.body, a.err)
		}
	}
}

// stall begins an upload and a PATCH of it that stalls.
func stall(t *testing.T, c *testenv.Caddy, way string, version int) <-chan answer {
	t.Helper()
	location := send(t, c, http.MethodPost, "/v2/"+way+"/app/blobs/uploads/", nil, http.StatusAccepted)
	reader, writer := io.Pipe()
	go func() {
		_, _ = writer.Write([]byte("first half, "))
		time.Sleep(75 * time.Second) // it is the stall that is tested
		_, _ = writer.Write([]byte("second half"))
		writer.Close()
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, c.URL(location), reader)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("a", "b")
	req.ContentLength = int64(len("first half, second half"))
	return answersOf(c.ClientOf(t, version), req)
}

// TestExpectContinue: a client that asks before it sends its body is told to
// send it only if it may push. It guards against an answer that is held back
// until the body comes: the reader that Caddy 2.11.9 puts in the place of the
// body (IdleTimeoutReader) keeps net/http from seeing that the client waits.
func TestExpectContinue(t *testing.T) {
	for way, option := range upstreams(t) {
		t.Run(way, func(t *testing.T) {
			c := testenv.NewCaddy(t)
			c.Load("registry_proxy {\n" + option + "\nhtpasswd " + testenv.Users(t, "a", "b", "bob", "b") +
				"\nallow a pull,push **\nallow bob pull **\n}")
			location := send(t, c, http.MethodPost, "/v2/app/blobs/uploads/", nil, http.StatusAccepted)
			content := bytes.Repeat([]byte("blob"), 256<<10)
			ask := func(t *testing.T, user string) (net.Conn, *bufio.Reader, *http.Response) {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, c.URL(location), nil)
				if err != nil {
					t.Fatal(err)
				}
				if user != "" {
					req.SetBasicAuth(user, "b")
				}
				conn := c.Dial(t)
				fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n", location, c.Host, len(content))
				_ = req.Header.Write(conn)
				_, _ = io.WriteString(conn, "\r\n")
				reader := bufio.NewReader(conn)
				resp, err := http.ReadResponse(reader, req)
				if err != nil {
					t.Fatal(err)
				}
				return conn, reader, resp
			}
			for _, tc := range []struct {
				name, user string
				status     int
				code       string
			}{
				{"nobody", "", http.StatusUnauthorized, "UNAUTHORIZED"},
				{"may not push", "bob", http.StatusForbidden, "DENIED"},
			} {
				t.Run(tc.name, func(t *testing.T) {
					_, reader, resp := ask(t, tc.user)
					body, err := io.ReadAll(resp.Body)
					if err != nil || resp.StatusCode != tc.status || ociError(t, string(body)).Code != tc.code {
						t.Errorf("the first answer: %s %s (%v), want %d %s", resp.Status, body, err, tc.status, tc.code)
					}
					// The body that it doesn't wait for would be the next request.
					if rest, err := io.ReadAll(reader); err != nil || len(rest) > 0 {
						t.Errorf("the connection goes on: %q (%v)", rest, err)
					}
				})
			}
			t.Run("may push", func(t *testing.T) {
				conn, reader, resp := ask(t, "a")
				if resp.StatusCode != http.StatusContinue {
					t.Fatalf("the first answer: %s, want 100", resp.Status)
				}
				if _, err := conn.Write(content); err != nil {
					t.Fatal(err)
				}
				// The registry's own 100 may be passed on, too.
				for resp.StatusCode == http.StatusContinue {
					var err error
					if resp, err = http.ReadResponse(reader, resp.Request); err != nil {
						t.Fatal(err)
					}
				}
				if want := fmt.Sprintf("0-%d", len(content)-1); resp.StatusCode != http.StatusAccepted || resp.Header.Get("Range") != want {
					t.Errorf("after the body: %s, Range %q, want 202 with %s", resp.Status, resp.Header.Get("Range"), want)
				}
			})
		})
	}
}

package registryproxy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestAnswersAreKept: what the registry answers reaches the client as it is,
// in parts and by HEAD too, even in a site that compresses what it serves.
func TestAnswersAreKept(t *testing.T) {
	for way, option := range upstreams(t) {
		t.Run(way, func(t *testing.T) {
			c := testenv.NewCaddy(t)
			c.Load("encode zstd gzip\nrespond /page " + strings.Repeat("page", 1024) +
				"\nregistry_proxy {\n" + option + "\nhtpasswd " + testenv.Users(t, "a", "b") + "\n}")
			content := bytes.Repeat([]byte("0123456789"), 1024)
			blob := pushBlob(t, c, content)
			image, err := random.Image(64, 8)
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(reference(t, c, "app:v1"), image, as(c, "a", "b")...); err != nil {
				t.Fatal(err)
			}
			manifest, err := image.RawManifest()
			if err != nil {
				t.Fatal(err)
			}
			mediaType, err := image.MediaType()
			if err != nil {
				t.Fatal(err)
			}
			request := func(t *testing.T, method, path string) *http.Request {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), method, c.URL(path), nil)
				if err != nil {
					t.Fatal(err)
				}
				req.SetBasicAuth("a", "b")
				req.Header.Set("Accept", string(mediaType))
				return req
			}

			t.Run("range", func(t *testing.T) {
				req := request(t, http.MethodGet, blob)
				req.Header.Set("Range", "bytes=105-109")
				status, header, body := do(t, c, req)
				want := fmt.Sprintf("bytes 105-109/%d", len(content))
				if status != http.StatusPartialContent || body != "56789" || header.Get("Content-Range") != want {
					t.Errorf("got %d %q, Content-Range %q", status, body, header.Get("Content-Range"))
				}
			})
			for _, encoding := range []string{"gzip", "zstd"} {
				t.Run(encoding, func(t *testing.T) {
					for path, want := range map[string][]byte{"/page": nil, blob: content, "/v2/app/manifests/v1": manifest} {
						req := request(t, http.MethodGet, path)
						req.Header.Set("Accept-Encoding", encoding)
						status, header, body := do(t, c, req)
						compressed := header.Get("Content-Encoding") == encoding
						if status != http.StatusOK || compressed != (want == nil) {
							t.Errorf("%s: %d, Content-Encoding %q", path, status, header.Get("Content-Encoding"))
						}
						if want != nil && body != string(bytes.TrimSpace(want)) {
							t.Errorf("%s: %d bytes, want %d", path, len(body), len(want))
						}
					}
				})
			}
			t.Run("head", func(t *testing.T) {
				for path, want := range map[string][]byte{blob: content, "/v2/app/manifests/v1": manifest} {
					req := request(t, http.MethodHead, path)
					req.Close = true
					conn := c.Dial(t)
					if err := req.Write(conn); err != nil {
						t.Fatal(err)
					}
					reader := bufio.NewReader(conn)
					resp, err := http.ReadResponse(reader, req)
					if err != nil {
						t.Fatal(err)
					}
					if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Length") != strconv.Itoa(len(want)) ||
						resp.Header.Get("Docker-Content-Digest") != digest.FromBytes(want).String() {
						t.Errorf("%s: %s %v, want the length %d", path, resp.Status, resp.Header, len(want))
					}
					if rest, err := io.ReadAll(reader); err != nil || len(rest) > 0 {
						t.Errorf("%s: after the headers came %d bytes (%v)", path, len(rest), err)
					}
				}
			})
		})
	}
}

// TestCancel: when a client goes away, so does the request to the registry,
// before its answer and in the middle of it.
func TestCancel(t *testing.T) {
	for _, version := range []int{1, 2} {
		for _, inBody := range []bool{false, true} {
			t.Run(fmt.Sprintf("HTTP %d, in the body %t", version, inBody), func(t *testing.T) {
				started, ended := make(chan struct{}), make(chan error, 1)
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if inBody {
						_, _ = io.WriteString(w, "half")
						_ = http.NewResponseController(w).Flush()
					}
					close(started)
					select {
					case <-r.Context().Done():
						ended <- nil
					case <-time.After(20 * time.Second):
						ended <- errors.New("the request to the registry goes on")
					}
				}))
				defer server.Close()
				c := testenv.NewCaddy(t)
				c.Load("registry_proxy {\nto " + server.Listener.Addr().String() + "\nhtpasswd " + testenv.Users(t, "a", "b") + "\n}")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL("/v2/app/blobs/"+digest.FromString("x").String()), nil)
				if err != nil {
					t.Fatal(err)
				}
				req.SetBasicAuth("a", "b")
				answers := answersOf(c.ClientOf(t, version), req)
				select {
				case <-started:
				case a := <-answers:
					t.Fatalf("answered already: %d %s (%v)", a.status, a.body, a.err)
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if a := <-answers; a.err == nil {
					t.Errorf("the client got %d %s", a.status, a.body)
				}
			})
		}
	}
}

// TestWrongHost: a registry that is configured with another address than ours
// leads its clients back to us all the same.
func TestWrongHost(t *testing.T) {
	server := httptest.NewServer(realRegistry(t, func(config *configuration.Configuration) {
		config.HTTP.Host = "https://wrong.example"
	}))
	defer server.Close()
	c := testenv.NewCaddy(t)
	c.Load("registry_proxy {\nto " + server.Listener.Addr().String() + "\nhtpasswd " + testenv.Users(t, "a", "b") + "\n}")
	checkLocation(t, c)
	pushBlob(t, c, []byte("blob"))
}

// TestHostOverTLS: a registry behind https:// gets the Host that the client
// sent, as every other registry does, not its own.
func TestHostOverTLS(t *testing.T) {
	registry := realRegistry(t)
	hosts := make(chan string, 1)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts <- r.Host
		registry.ServeHTTP(w, r)
	}))
	defer server.Close()
	c := testenv.NewCaddy(t)
	c.LoadEdited("registry_proxy {\nto "+server.URL+"\nhtpasswd "+testenv.Users(t, "a", "b")+"\n}",
		`"tls":{}`, `"tls":{"ca":{"provider":"inline","trusted_ca_certs":["`+
			base64.StdEncoding.EncodeToString(server.Certificate().Raw)+`"]}}`)
	checkLocation(t, c)
	if host := <-hosts; host != c.Host {
		t.Errorf("the registry got the Host %s, want %s", host, c.Host)
	}
}

// checkLocation begins an upload, whose Location must lead back to us.
func checkLocation(t *testing.T, c *testenv.Caddy) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL("/v2/app/blobs/uploads/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("a", "b")
	status, header, body := do(t, c, req)
	if status != http.StatusAccepted {
		t.Fatalf("%d %s", status, body)
	}
	location, err := req.URL.Parse(header.Get("Location"))
	if err != nil || location.Scheme != "https" || location.Host != c.Host {
		t.Errorf("Location leads to %v (%v), not back to %s", location, err, c.Host)
	}
}

// TestRegistryHangs: a registry that takes a request and never answers is
// waited for no longer than the time-out.
func TestRegistryHangs(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}))
	defer server.Close()
	c := testenv.NewCaddy(t)
	c.LoadEdited("registry_proxy {\nto "+server.Listener.Addr().String()+"\nhtpasswd "+testenv.Users(t, "a", "b")+"\n}",
		`"response_header_timeout":900000000000`, `"response_header_timeout":200000000`)
	for method, path := range map[string]string{
		http.MethodPost: "/v2/app/blobs/uploads/",
		http.MethodGet:  "/v2/app/tags/list", // is tried again for a while
	} {
		req, err := http.NewRequestWithContext(t.Context(), method, c.URL(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("a", "b")
		status, header, body := do(t, c, req)
		if e := ociError(t, body); status != http.StatusGatewayTimeout || e.Code != "UNAVAILABLE" || header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", method, status, body)
		}
	}
}

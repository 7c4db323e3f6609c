package registryproxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	specs "github.com/opencontainers/distribution-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// realRegistry returns the reference registry, as its program sets it up; edits
// change its configuration.
func realRegistry(t testing.TB, edits ...func(*configuration.Configuration)) http.Handler {
	t.Helper()
	config := &configuration.Configuration{
		Version: configuration.CurrentVersion,
		Storage: configuration.Storage{
			"filesystem":  {"rootdirectory": t.TempDir()},
			"delete":      {"enabled": true},
			"maintenance": {"uploadpurging": map[any]any{"enabled": false}},
		},
	}
	config.Catalog.MaxEntries = 1000
	for _, edit := range edits {
		edit(config)
	}
	return handlers.NewApp(context.Background(), config)
}

func reference(t testing.TB, c *testenv.Caddy, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(c.Host + "/" + s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// as returns the options of a client that logs in, or not for an empty user.
func as(c *testenv.Caddy, user, password string) []remote.Option {
	options := []remote.Option{remote.WithTransport(c.Client.Transport)}
	if user == "" {
		return options
	}
	return append(options, remote.WithAuth(&authn.Basic{Username: user, Password: password}))
}

func isStatus(err error, status int) bool {
	var e *transport.Error
	return errors.As(err, &e) && e.StatusCode == status
}

// get asks for a path, with the login "user:password" or none, and returns the
// status and the body.
func get(t *testing.T, c *testenv.Caddy, login, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	if user, password, ok := strings.Cut(login, ":"); ok {
		req.SetBasicAuth(user, password)
	}
	status, _, body := do(t, c, req)
	return status, body
}

func do(t testing.TB, c *testenv.Caddy, req *http.Request) (int, http.Header, string) {
	t.Helper()
	resp, err := c.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err))
	}
	return resp.StatusCode, resp.Header, strings.TrimSpace(string(body))
}

// answer is what came of a request.
type answer struct {
	version int // of HTTP
	status  int
	header  http.Header
	body    string
	err     error
}

// answersOf sends a request in the background.
func answersOf(client *http.Client, req *http.Request) <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		resp, err := client.Do(req)
		if err != nil {
			answers <- answer{err: err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		answers <- answer{resp.ProtoMajor, resp.StatusCode, resp.Header, string(body), err}
	}()
	return answers
}

// send makes a request as user a and returns the Location of its answer, as a
// path.
func send(t testing.TB, c *testenv.Caddy, method, path string, content []byte, want int) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, c.URL(path), bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("a", "b")
	status, header, body := do(t, c, req)
	if status != want {
		t.Fatalf("%s %s: %d %s, want %d", method, path, status, body, want)
	}
	location, err := req.URL.Parse(header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	return location.RequestURI()
}

// ociError returns the first error of an OCI error body.
func ociError(t *testing.T, body string) specs.ErrorInfo {
	t.Helper()
	var response specs.ErrorResponse
	if err := json.Unmarshal([]byte(body), &response); err != nil || len(response.Errors) == 0 {
		t.Fatalf("not an OCI error body: %q (%v)", body, err)
	}
	return response.Errors[0]
}

// pushBlob pushes a blob as user a to the repository app and returns its path.
func pushBlob(t *testing.T, c *testenv.Caddy, content []byte) string {
	t.Helper()
	const repository = "app"
	location := send(t, c, http.MethodPost, "/v2/"+repository+"/blobs/uploads/", nil, http.StatusAccepted)
	sum := digest.FromBytes(content).String()
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	send(t, c, http.MethodPut, location+separator+"digest="+sum, content, http.StatusCreated)
	return "/v2/" + repository + "/blobs/" + sum
}

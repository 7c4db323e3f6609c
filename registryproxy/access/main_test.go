package access

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sirupsen/logrus"
	"go.uber.org/zap"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/audit"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard) // the reference registry logs every request
	os.Exit(m.Run())
}

// newHandler returns a handler with these rules.
func newHandler(t testing.TB, groups map[string][]string, allow ...Rule) *Handler {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	h := &Handler{Groups: groups, Allow: allow}
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	given := h.audit
	t.Cleanup(func() {
		h.audit = given
		if err := h.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	h.audit = audit.NewLog(zap.NewNop())
	return h
}

// allow is a rule in the words of a Caddyfile: allow("alice", "pull,push", "team/**").
func allow(subject, actions string, repositories ...string) Rule {
	return Rule{Subject: subject, Actions: strings.Split(actions, ","), Repositories: repositories}
}

// handlerFunc makes a next handler out of a plain one.
func handlerFunc(h http.Handler) caddyhttp.Handler {
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	})
}

// caddyRequest brings r into the state in which Caddy's server hands it to
// handlers, after an authentication handler found it to be from user.
func caddyRequest(w http.ResponseWriter, r *http.Request, user string) *http.Request {
	repl := caddy.NewReplacer()
	r = caddyhttp.PrepareRequest(r, repl, w, new(caddyhttp.Server))
	repl.Set("http.auth.user.id", user)
	return r
}

// serve runs h as a Caddy route with an error route would. A request is from
// the user of its Basic credentials, unless user names another.
func serve(h *Handler, user string, next caddyhttp.Handler) http.Handler {
	failed := &ErrorHandler{Realm: "registry", logger: zap.NewNop()}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from := user
		if from == "" {
			from, _, _ = r.BasicAuth()
		}
		r = caddyRequest(w, r, from)
		if err := h.ServeHTTP(w, r, next); err != nil {
			r = r.WithContext(context.WithValue(r.Context(), caddyhttp.ErrorCtxKey, err))
			_ = failed.ServeHTTP(w, r, nil)
		}
	})
}

// newRegistry returns the reference registry with its content in memory.
func newRegistry(t testing.TB, maxCatalog int) *handlers.App {
	t.Helper()
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"inmemory": {},
			"delete":   {"enabled": true},
			"maintenance": {
				"uploadpurging": map[any]any{"enabled": false},
			},
		},
	}
	config.HTTP.Secret = "test"
	config.Catalog.MaxEntries = maxCatalog
	return handlers.NewApp(t.Context(), config)
}

// push puts a small image into each of the repositories, past any rules, and
// returns one of its layers.
func push(t testing.TB, registry http.Handler, repositories ...string) v1.Layer {
	t.Helper()
	server := httptest.NewServer(registry)
	defer server.Close()
	image, err := random.Image(64, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, repository := range repositories {
		tag, err := name.NewTag(strings.TrimPrefix(server.URL, "http://") + "/" + repository + ":latest")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(tag, image); err != nil {
			t.Fatal(err)
		}
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	return layers[0]
}

// ociError is the body of an error answer.
type ociError struct {
	Errors []struct{ Code, Message string }
}

// readError returns code and message of an error answer.
func readError(t testing.TB, body io.Reader) (code, message string) {
	t.Helper()
	var e ociError
	if err := json.NewDecoder(body).Decode(&e); err != nil {
		t.Fatalf("the error's body is not JSON: %v", err)
	}
	if len(e.Errors) != 1 {
		t.Fatalf("%d errors in the body, want 1", len(e.Errors))
	}
	return e.Errors[0].Code, e.Errors[0].Message
}

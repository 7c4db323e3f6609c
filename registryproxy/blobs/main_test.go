package blobs_test

import (
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
	_ "github.com/caddy-nas/caddy-nas-registry/registryproxy"
)

// house is a registry program, and a Caddy in front of it that has its folder.
type house struct {
	*testenv.Caddy
	dir      string
	registry string       // its address
	asked    atomic.Int64 // requests of Caddy to the registry
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{Caddy: testenv.NewCaddy(t), dir: t.TempDir()}
	h.registry = testenv.StartRegistry(t, h.dir)
	h.load(t, h.dir)
	return h
}

// load makes Caddy serve blobs from a folder.
func (h *house) load(t testing.TB, folder string) {
	t.Helper()
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		h.asked.Add(1)
		r.SetURL(&url.URL{Scheme: "http", Host: h.registry})
		r.Out.Host = r.In.Host
	}}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	h.Load("registry_proxy {\nto " + server.Listener.Addr().String() +
		"\nhtpasswd " + testenv.Users(t, "a", "b") + "\nblobs_from " + folder + "\n}")
}

// request is one of which both answers must be the same.
type request struct {
	method, path string
	header       http.Header
}

// result is what of an answer must be the same.
type result struct {
	Status int
	Header http.Header
	Body   string
}

// check compares our answer with the registry's own, and whether the registry
// was asked for ours.
func (h *house) check(t testing.TB, req request, fromFolder bool) {
	t.Helper()
	want := h.send(t, http.DefaultClient, "http://"+h.registry, req)
	if fromFolder { // as the config in the registry's image has it
		want.Header.Set("X-Content-Type-Options", "nosniff")
	}
	before := h.asked.Load()
	got := h.send(t, h.Client, "https://"+h.Host, req)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s %s (-registry +ours):\n%s", req.method, req.path, diff)
	}
	if asked := h.asked.Load() - before; (asked == 0) != fromFolder {
		t.Errorf("%s %s: answered %d, the registry was asked %d times; from the folder: want %t",
			req.method, req.path, got.Status, asked, fromFolder)
	}
}

func (h *house) send(t testing.TB, client *http.Client, origin string, req request) result {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), req.method, origin+req.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range req.header {
		r.Header[name] = values
	}
	if client == h.Client {
		r.SetBasicAuth("a", "b")
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	// What Caddy adds to every answer of its own or of a proxy.
	for _, name := range []string{"Date", "Via", "Server", "Alt-Svc"} {
		resp.Header.Del(name)
	}
	var control []string
	for _, value := range resp.Header["Cache-Control"] {
		if value != "no-transform" {
			control = append(control, value)
		}
	}
	resp.Header.Del("Cache-Control")
	if control != nil {
		resp.Header["Cache-Control"] = control
	}
	text := string(body)
	if _, parameters, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil && parameters["boundary"] != "" {
		text = strings.ReplaceAll(text, parameters["boundary"], "boundary")
		resp.Header.Set("Content-Type", "multipart/byteranges; boundary=boundary")
	}
	return result{resp.StatusCode, resp.Header, text}
}

// ask sends our half of a request, and returns the status.
func (h *house) ask(t testing.TB, method, path string) int {
	t.Helper()
	return h.send(t, h.Client, "https://"+h.Host, request{method: method, path: path}).Status
}

func (h *house) reference(t testing.TB, s string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(h.Host + "/" + s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (h *house) options() []remote.Option {
	return []remote.Option{
		remote.WithTransport(h.Client.Transport), remote.WithAuth(&authn.Basic{Username: "a", Password: "b"}),
	}
}

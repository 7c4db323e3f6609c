package access

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// routed is a Handler for the user alice, whose rules are those of rawFront, in
// front of the reference registry's router alone: what a request would do, at the
// speed that millions of them need.
type routed struct {
	front http.Handler
	acts  []string
}

func newRouted(t testing.TB) *routed {
	t.Helper()
	r := new(routed)
	h := newHandler(t, nil, allow("alice", "pull,push,delete", "alice/**"), allow("alice", "pull", "shared/x"))
	r.front = serve(h, "alice", handlerFunc(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for name := range req.Header {
			if name == "Authorization" || name == "Forwarded" || strings.HasPrefix(name, "X-Forwarded-") {
				r.acts = append(r.acts, "header "+name)
			}
		}
		r.acts = append(r.acts, testenv.Acts(req)...)
		if req.Body != nil {
			_, _ = io.Copy(io.Discard, req.Body) // as far as the registry would read
		}
		w.WriteHeader(http.StatusOK)
	})))
	return r
}

// mayAlice writes the rules down a second time, on purpose.
func mayAlice(act string) bool {
	verb, repository, _ := strings.Cut(act, " ")
	return strings.HasPrefix(repository, "alice/") || verb == "pull" && repository == "shared/x"
}

// exchange has a request as it came over the wire served, as often as there is
// another behind it.
func (r *routed) exchange(wire []byte) (acts []string, err error) {
	r.acts = nil
	reader := bufio.NewReader(bytes.NewReader(wire))
	for req := next(reader); req != nil; req = next(reader) {
		w := httptest.NewRecorder()
		r.front.ServeHTTP(w, req)
		if w.Code == http.StatusInternalServerError {
			return nil, fmt.Errorf("%s %s failed: %s", req.Method, req.URL, w.Body)
		}
		_, _ = io.Copy(io.Discard, req.Body) // a body that breaks off is the last
	}
	return r.acts, nil
}

// next returns the next request, nil if there is none.
func next(reader *bufio.Reader) *http.Request {
	req, err := http.ReadRequest(reader)
	if err != nil {
		return nil
	}
	return req
}

// FuzzRouter looks for a request that the reference registry reads otherwise than
// the rules do.
func FuzzRouter(f *testing.F) {
	r := newRouted(f)
	for _, seed := range rawSeeds {
		f.Add(slices.Concat(seed.request))
		acts, err := r.exchange(bytes.ReplaceAll(seed.request, []byte("SECRET"), []byte(emptyDigest)))
		// Others never come so far with a server before them.
		if want := seed.acts; want != "" && (err != nil || strings.Join(acts, ",") != want) {
			f.Errorf("%s: the registry would do %q, want %q (%v)", seed.name, acts, want, err)
		}
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		acts, err := r.exchange(bytes.ReplaceAll(request, []byte("SECRET"), []byte(emptyDigest)))
		if err != nil {
			t.Error(err)
		}
		for _, act := range acts {
			if !mayAlice(act) {
				t.Errorf("the registry would %s", act)
			}
		}
	})
}

package access

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/audit"
)

// audited is a Handler in front of a registry, and what its audit has written.
func audited(t *testing.T, next caddyhttp.Handler, rules ...Rule) (front http.Handler, lines func() []map[string]any) {
	t.Helper()
	h := newHandler(t, nil, rules...)
	core, logs := observer.New(zapcore.DebugLevel)
	h.audit = audit.NewLog(zap.New(core))
	return serve(h, "", next), func() []map[string]any {
		var all []map[string]any
		for _, entry := range logs.TakeAll() {
			fields := entry.ContextMap()
			fields["msg"] = entry.Message
			if d, ok := fields["duration"]; ok && d.(time.Duration) <= 0 {
				t.Errorf("%v has no duration", fields)
			}
			delete(fields, "duration")
			all = append(all, fields)
		}
		return all
	}
}

// ask sends a request as alice, and returns the answer.
func ask(t *testing.T, front http.Handler, method, uri, body string, want int, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, uri, strings.NewReader(body))
	r.SetBasicAuth("alice", "x")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	front.ServeHTTP(w, r)
	if w.Code != want {
		t.Fatalf("%s %s: status %d (%s), want %d", method, uri, w.Code, w.Body, want)
	}
	return w.Result()
}

// remembered is how many uploads are, those of other tests among them.
func remembered() (n int) {
	shared.Range(func(_, known any) bool {
		n += known.(*uploads).Len()
		return true
	})
	return n
}

// TestAudit pushes, mounts and deletes with the reference registry: one line for
// each, whatever it was made of, and none for what only reads.
func TestAudit(t *testing.T) {
	registry := newRegistry(t, 100)
	front, lines := audited(t, handlerFunc(registry), allow("alice", "pull,push,delete", "a", "b"))
	same := func(what string, want ...map[string]any) {
		t.Helper()
		for _, line := range want {
			line["addr"], line["user"] = "192.0.2.1", "alice"
		}
		if diff := cmp.Diff(want, lines()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	before := remembered()
	const content = "0123456789"
	sum := digest.FromString(content).String()

	begun := ask(t, front, "POST", "/v2/a/blobs/uploads/", "", 202)
	next := ask(t, front, "PATCH", begun.Header.Get("Location"), content[:4], 202)
	next = ask(t, front, "PATCH", next.Header.Get("Location"), content[4:7], 202, "Content-Range", "4-6")
	ask(t, front, "GET", next.Header.Get("Location"), "", 204)
	same("a push that is under way")
	at := next.Header.Get("Location")
	id := at[strings.LastIndex(at, "/")+1 : strings.Index(at, "?")]
	ask(t, front, "PUT", at+"&digest="+sum, content[7:], 201)
	same("a push", map[string]any{
		"msg": "push done", "action": "push", "result": "done", "status": int64(201),
		"repository": "a", "reference": id, "digest": sum, "bytes": int64(10),
	})
	if n := remembered() - before; n != 0 {
		t.Errorf("%d uploads are remembered, of which none is on its way", n)
	}

	ask(t, front, "POST", "/v2/b/blobs/uploads/?mount="+sum+"&from=a", "", 201)
	same("a mount", map[string]any{
		"msg": "push done", "action": "push", "result": "done", "status": int64(201), "repository": "b", "digest": sum, "from": "a",
	})
	at = ask(t, front, "POST", "/v2/a/blobs/uploads/?digest="+sum, content, 202).Header.Get("Location") // not taken
	id = at[strings.LastIndex(at, "/")+1 : strings.Index(at, "?")]
	ask(t, front, "PUT", at+"&digest="+sum, content, 201)
	same("a push of which the first try was not taken", map[string]any{
		"msg": "push done", "action": "push", "result": "done", "status": int64(201),
		"repository": "a", "reference": id, "digest": sum, "bytes": int64(10),
	})

	begun = ask(t, front, "POST", "/v2/a/blobs/uploads/", "", 202)
	next = ask(t, front, "PATCH", begun.Header.Get("Location"), content[:4], 202)
	at = next.Header.Get("Location")
	id = at[strings.LastIndex(at, "/")+1 : strings.Index(at, "?")]
	ask(t, front, "PATCH", at, content[7:], 416, "Content-Range", "7-9", "Content-Length", "3")
	same("a part in the wrong place", map[string]any{
		"msg": "push rejected", "action": "push", "result": "rejected", "status": int64(416),
		"repository": "a", "reference": id,
	})
	next = ask(t, front, "PATCH", at, content[4:], 202, "Content-Range", "4-9")
	ask(t, front, "PUT", next.Header.Get("Location")+"&digest="+sum, "", 201)
	same("a push that went on", map[string]any{
		"msg": "push done", "action": "push", "result": "done", "status": int64(201),
		"repository": "a", "reference": id, "digest": sum, "bytes": int64(10),
	})

	given := ask(t, front, "POST", "/v2/a/blobs/uploads/", "", 202)
	ask(t, front, "DELETE", given.Header.Get("Location"), "", 204)
	same("an upload that is given up")

	begun = ask(t, front, "POST", "/v2/a/blobs/uploads/", "", 202)
	at = begun.Header.Get("Location")
	id = at[strings.LastIndex(at, "/")+1 : strings.Index(at, "?")]
	ask(t, front, "PUT", at+"&digest="+emptyDigest, content, 400)
	same("a push with a wrong digest", map[string]any{
		"msg": "push rejected", "action": "push", "result": "rejected", "status": int64(400),
		"repository": "a", "reference": id, "bytes": int64(10),
	})

	manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` +
		sum + `","size":10},"layers":[]}`
	ask(t, front, "PUT", "/v2/a/manifests/v1", manifest, 201, "Content-Type", "application/vnd.oci.image.manifest.v1+json")
	named := digest.FromString(manifest).String()
	same("a manifest", map[string]any{
		"msg": "push done", "action": "push", "result": "done", "status": int64(201),
		"repository": "a", "reference": "v1", "digest": named, "bytes": int64(len(manifest)),
	})
	ask(t, front, "GET", "/v2/a/manifests/v1", "", 200, "Accept", "application/vnd.oci.image.manifest.v1+json")
	ask(t, front, "GET", "/v2/", "", 200)
	ask(t, front, "GET", "/v2/a/manifests/v2", "", 404)
	same("pulls")
	ask(t, front, "DELETE", "/v2/a/manifests/"+named, "", 202)
	same("a delete", map[string]any{
		"msg": "delete done", "action": "delete", "result": "done", "status": int64(202), "repository": "a", "reference": named,
	})
	ask(t, front, "PUT", "/v2/a/manifests/v2", strings.Repeat(" ", maxManifest+1), 413)
	same("a manifest that is too large", map[string]any{
		"msg": "push refused", "action": "push", "result": "refused", "status": int64(413),
		"repository": "a", "reference": "v2", "reason": "the manifest is larger than 4 MiB",
	})
	ask(t, front, "POST", "/v2/a/blobs/uploads/?mount="+sum+"&from=c", "", 202)
	same("a mount that is not allowed", map[string]any{
		"msg": "mount refused", "action": "mount", "result": "refused", "status": int64(0),
		"repository": "c", "reference": sum, "reason": "the user may not pull the blob from there",
	})
	// What a client only says is no fact.
	ask(t, front, "PUT", "/v2/a/manifests/v3?from=c&tag=v4", manifest, 201, "Content-Type", "application/vnd.oci.image.manifest.v1+json")
	same("parameters that the registry does not read", map[string]any{
		"msg": "push done", "action": "push", "result": "done", "status": int64(201),
		"repository": "a", "reference": "v3", "digest": named, "bytes": int64(len(manifest)),
	})
	ask(t, front, "GET", "/v2/c/tags/list", "", 403)
	same("what is not allowed", map[string]any{
		"msg": "pull refused", "action": "pull", "result": "refused", "status": int64(403),
		"repository": "c", "reason": "user alice may not pull from c",
	})
	ask(t, front, "DELETE", "/v2/a%2Fb/blobs/"+sum, "", 400)
	same("a path that is not canonical", map[string]any{
		"msg": "none refused", "action": "none", "result": "refused", "status": int64(400),
		"reason": "the path is not in its canonical form: nothing in it may be percent-encoded",
	})
	// How clients begin.
	w := httptest.NewRecorder()
	front.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/", nil))
	same("a request without a login")
}

// TestAuditOfFailures has pushes that the registry did not end.
func TestAuditOfFailures(t *testing.T) {
	for name, test := range map[string]struct {
		next   caddyhttp.HandlerFunc
		status int64
	}{
		"broken off": {func(_ http.ResponseWriter, r *http.Request) error {
			_, _ = io.CopyN(io.Discard, r.Body, 3)
			panic(http.ErrAbortHandler)
		}, 0},
		"no registry": {func(http.ResponseWriter, *http.Request) error {
			return caddyhttp.Error(http.StatusBadGateway, errors.New("closed"))
		}, 502},
		"an error of the registry": {func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(http.StatusInternalServerError)
			return nil
		}, 500},
	} {
		t.Run(name, func(t *testing.T) {
			front, lines := audited(t, test.next, allow("alice", "push", "a"))
			func() {
				defer func() { _ = recover() }()
				r := httptest.NewRequest(http.MethodPatch, "/v2/a/blobs/uploads/x", bytes.NewReader(make([]byte, 10)))
				r.SetBasicAuth("alice", "x")
				front.ServeHTTP(httptest.NewRecorder(), r)
			}()
			got := lines()
			if len(got) != 1 || got[0]["msg"] != "push failed" || got[0]["status"] != test.status {
				t.Fatalf("%v", got)
			}
			if name == "broken off" && got[0]["bytes"] != int64(3) {
				t.Errorf("bytes: %v", got[0]["bytes"])
			}
		})
	}
}

// TestShared: what configs share goes with the last of them, whether it was loaded
// or failed.
func TestShared(t *testing.T) {
	provision := func(h *Handler) error {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		t.Cleanup(cancel)
		return h.Provision(ctx)
	}
	before, _ := shared.References(uploadsKey) // of other tests
	first, next, bad := new(Handler), new(Handler), &Handler{Realm: "a\nb"}
	if err := errors.Join(provision(first), provision(next)); err != nil {
		t.Fatal(err)
	}
	if provision(bad) == nil {
		t.Fatal("the bad one is good")
	}
	if first.uploads != next.uploads {
		t.Error("a reload forgets uploads")
	}
	for _, h := range []*Handler{first, bad, next} {
		if err := h.Cleanup(); err != nil {
			t.Error(err)
		}
	}
	if after, _ := shared.References(uploadsKey); after != before {
		t.Errorf("%d references, and %d before", after, before)
	}
}

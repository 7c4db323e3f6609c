package access

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/audit"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

// maxUploads bounds how many uploads are remembered. Of one that is forgotten the
// audit does not know when it began.
const maxUploads = 4096

// uploads is what is known of blobs on their way: a push is many requests and one
// line.
type uploads struct{ *lru.Cache[string, upload] }

// Destruct makes uploads a value of a [caddy.UsagePool].
func (*uploads) Destruct() error { return nil }

// shared has the uploads, one for all configs, so that a push goes on after a reload.
var shared = caddy.NewUsagePool()

const uploadsKey = "uploads"

// loadUploads returns the uploads that a config shares with those before and after
// it, to be deleted from shared after it.
func loadUploads() (*uploads, error) {
	value, _, err := shared.LoadOrNew(uploadsKey, func() (caddy.Destructor, error) {
		cache, err := lru.New[string, upload](maxUploads)
		return &uploads{cache}, err
	})
	if err != nil {
		return nil, err
	}
	return value.(*uploads), nil
}

// upload is a blob on its way.
type upload struct {
	begin time.Time
	bytes int64 // that the registry has
}

// countedBody counts what is read of a body. The proxy's transport reads it in a
// goroutine of its own.
type countedBody struct {
	io.ReadCloser
	read atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	return n, err
}

// size is how much was read. Nil is a request without a body.
func (b *countedBody) size() int64 {
	if b == nil {
		return 0
	}
	return b.read.Load()
}

// auditRefusal writes down what a user may not do. A request without a login is
// how every client begins.
func (h *Handler) auditRefusal(r *http.Request, user string, t target, action Action, e *ocierror.Error) {
	if e.Status == http.StatusUnauthorized {
		h.audit.Count(action.String(), audit.Challenged)
		return
	}
	h.audit.Write(audit.Event{
		Action: action.String(), Result: audit.Refused, Addr: audit.Address(r), User: user,
		Repository: t.repository, Reference: t.reference, Status: e.Status, Reason: e.Message,
	})
}

// auditMount writes down that a user may not pull a blob from where it should be
// mounted. The push goes on without it.
func (h *Handler) auditMount(r *http.Request, user string, mount mountRequest) {
	h.audit.Write(audit.Event{
		Action: audit.ActionMount, Result: audit.Refused, Addr: audit.Address(r), User: user,
		Repository: mount.from, Reference: mount.digest, Reason: "the user may not pull the blob from there",
	})
}

// auditAnswer writes down what the registry did.
func (h *Handler) auditAnswer(w *responseWriter, r *http.Request, user string, t target, action Action,
	body *countedBody, begin time.Time, failed error,
) {
	e := audit.Event{
		Action: action.String(), Result: audit.ResultOf(w.status, failed != nil), User: user,
		Repository: t.repository, Reference: t.reference, Status: w.status,
	}
	switch {
	case w.refusal != nil:
		e.Result, e.Reason = audit.Refused, w.refusal.Message
	case failed != nil && w.status == 0 && !errors.Is(failed, errBrokeOff):
		e.Status = new(ErrorHandler).answer(r, failed).Status // which is going to be given
	}
	so := upload{begin: begin, bytes: body.size()}
	over := action == ActionDelete || action == ActionPush && h.uploads.follow(t, user, r.Method, w, &so, e.Result)
	if !over && e.Result != audit.Refused {
		h.audit.Count(e.Action, e.Result)
		return
	}
	e.Addr = audit.Address(r) // not for each request: it costs one allocation
	if t.endpoint == endpointUploads && w.status == http.StatusCreated {
		e.From = r.URL.Query().Get("from") // it was mounted, if it is there
	}
	e.Tags = w.Header().Values("Oci-Tag") // that the registry has taken
	e.Digest = w.Header().Get("Docker-Content-Digest")
	e.Bytes, e.Duration = so.bytes, time.Since(so.begin)
	h.audit.Write(e)
}

// follow adds to so, which is of one request of a push, what is known of the upload
// that the request belongs to. It tells whether there is something to write down:
// a push is done, or has failed.
func (us *uploads) follow(t target, user, method string, w *responseWriter, so *upload, result audit.Result) (over bool) {
	key := func(id string) string { return user + "\n" + t.repository + "\n" + id }
	switch {
	case t.endpoint == endpointUploads:
		if w.status == http.StatusCreated || result != audit.Done {
			return true // mounted, or brought at once
		}
		if u, err := url.Parse(w.Header().Get("Location")); err == nil {
			if begun, ok := parseTarget(u.Path); ok && begun.endpoint == endpointUpload {
				// What came with a request that only began an upload was not taken.
				us.Add(key(begun.reference), upload{begin: so.begin})
			}
		}
		return false
	case t.endpoint != endpointUpload:
		return method == http.MethodPut
	case method == http.MethodGet || method == http.MethodHead:
		return false
	}
	id := key(t.reference)
	before, known := us.Get(id)
	if known {
		so.begin = before.begin
	}
	switch {
	case method == http.MethodPatch && result == audit.Done:
		so.bytes = received(w.Header(), before.bytes+so.bytes)
		us.Add(id, *so)
		return false
	case method == http.MethodPut:
		so.bytes += before.bytes
		us.Remove(id)
		return true
	case method == http.MethodDelete: // given up
		us.Remove(id)
		return false
	default: // broken off; the client may go on later
		return true
	}
}

// received returns how many bytes of an upload a registry says that it has, or else
// what was counted.
//
// Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-a-blob-in-chunks
func received(h http.Header, counted int64) int64 {
	_, last, ok := strings.Cut(h.Get("Range"), "-")
	if n, err := strconv.ParseInt(last, 10, 64); ok && err == nil && n > 0 {
		return n + 1
	}
	return counted // "0-0" is one byte, or none
}

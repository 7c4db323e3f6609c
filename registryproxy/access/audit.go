package access

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/audit"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

// maxUploads bounds how many uploads are remembered.
const maxUploads = 4096

// uploads is what is known of blobs on their way, by the ID that the registry
// gave them: a push is many requests and one line. It is one for the process, so
// that it goes on after a reload.
var uploads, _ = lru.New[string, upload](maxUploads) // fails without room only

// upload is a blob on its way.
type upload struct {
	begin time.Time
	bytes int64 // that came in requests which are over
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

// auditRefusal writes down what a user may not do. A request without a login is
// how every client begins.
func (h *Handler) auditRefusal(r *http.Request, user string, t target, action Action, e *ocierror.Error) {
	if e.Status == http.StatusUnauthorized {
		h.audit.Count(action.String(), audit.Challenged)
		return
	}
	h.audit.Write(r, audit.Event{
		Action: action.String(), Result: audit.Refused, User: user,
		Repository: t.repository, Reference: t.reference, Status: e.Status, Reason: e.Message,
	})
}

// auditAnswer writes down what the registry did. body is nil for a request that
// brought none.
func (h *Handler) auditAnswer(w *responseWriter, r *http.Request, user string, t target, action Action,
	body *countedBody, begin time.Time, failed error,
) {
	e := audit.Event{
		Action: action.String(), Result: audit.ResultOf(w.status, failed != nil), User: user,
		Repository: t.repository, Reference: t.reference, Status: w.status,
	}
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](failed); ok {
		e.Status = handlerErr.StatusCode // that an error route is going to answer
	}
	if action == ActionPush || action == ActionDelete {
		e.Digest = w.Header().Get("Docker-Content-Digest")
	}
	var so upload
	so.begin = begin
	if body != nil {
		so.bytes = body.read.Load()
	}
	over := t.follow(r.Method, w, &so, e.Result)
	if action != ActionDelete && (action != ActionPush || !over) {
		h.audit.Count(e.Action, e.Result)
		return
	}
	e.Bytes, e.Duration = so.bytes, time.Since(so.begin)
	h.audit.Write(r, e)
}

// follow adds to so, which is of one request, what is known of the upload that the
// request belongs to. It tells whether a push is over with that: it is done, or
// has failed.
func (t target) follow(method string, w *responseWriter, so *upload, result audit.Result) (over bool) {
	switch t.endpoint {
	case endpointUploads:
		if w.status == http.StatusCreated || result != audit.Done {
			return true // mounted, or brought at once
		}
		if u, err := url.Parse(w.Header().Get("Location")); err == nil {
			if begun, ok := parseTarget(u.Path); ok && begun.endpoint == endpointUpload {
				uploads.Add(begun.reference, *so)
			}
		}
		return false
	case endpointUpload:
		if method == http.MethodGet || method == http.MethodHead {
			return false
		}
		if before, ok := uploads.Get(t.reference); ok {
			so.begin, so.bytes = before.begin, so.bytes+before.bytes
		}
		if method == http.MethodPatch && result == audit.Done {
			uploads.Add(t.reference, *so)
			return false
		}
		uploads.Remove(t.reference)
		return method != http.MethodDelete // which gives up
	default:
		return method == http.MethodPut
	}
}

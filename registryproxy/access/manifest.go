package access

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

// maxManifest is how large a manifest may be, in bytes.
//
// Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests
const maxManifest = 4 << 20

// serveLimited passes on a request that puts a manifest, and answers 413 if
// it is too large.
func serveLimited(w *responseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.ContentLength > maxManifest {
		return w.refuse(manifestTooLarge())
	}
	w.body = &limitedBody{ReadCloser: http.MaxBytesReader(w, r.Body, maxManifest)}
	r.Body = w.body
	err := next.ServeHTTP(w, r)
	// The proxy's transport may hide the cause of its error.
	if err != nil && !w.wroteHeader && w.body.tooLarge() {
		return w.refuse(manifestTooLarge())
	}
	return err
}

func manifestTooLarge() *ocierror.Error {
	return &ocierror.Error{
		Status:  http.StatusRequestEntityTooLarge,
		Code:    ocierror.SizeInvalid,
		Message: "the manifest is larger than 4 MiB",
	}
}

// limitedBody remembers that a body was cut off. The proxy's transport reads it
// in a goroutine of its own.
type limitedBody struct {
	io.ReadCloser
	exceeded atomic.Bool
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		b.exceeded.Store(true)
	}
	return n, err
}

// tooLarge reports whether the body went beyond its limit. Nil has none.
func (b *limitedBody) tooLarge() bool { return b != nil && b.exceeded.Load() }

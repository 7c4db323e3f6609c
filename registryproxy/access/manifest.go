package access

import (
	"errors"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

// maxManifest is how large a manifest may be, in bytes.
//
// Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests
const maxManifest = 4 << 20

// serveLimited passes on a request that puts a manifest, and answers 413 if
// it is too large.
func serveLimited(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	tooLarge := &ocierror.Error{
		Status:  http.StatusRequestEntityTooLarge,
		Code:    ocierror.SizeInvalid,
		Message: "the manifest is larger than 4 MiB",
	}
	if r.ContentLength > maxManifest {
		return ocierror.Write(w, r, tooLarge)
	}
	body := &limitedBody{ReadCloser: http.MaxBytesReader(w, r.Body, maxManifest)}
	r.Body = body
	err := next.ServeHTTP(w, r)
	// The proxy's transport may hide the cause of its error.
	if err != nil && body.exceeded {
		return ocierror.Write(w, r, tooLarge)
	}
	return err
}

// limitedBody remembers that a body was cut off.
type limitedBody struct {
	io.ReadCloser
	exceeded bool
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		b.exceeded = true
	}
	return n, err
}

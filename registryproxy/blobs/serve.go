package blobs

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// cacheControl is what the registry sends with a blob: a year, in seconds.
const cacheControl = "max-age=31536000"

// serveBlob answers r with the blob in file.
//
// Source: registry/storage/blobserver.go of github.com/distribution/distribution
func (h *Handler) serveBlob(w http.ResponseWriter, r *http.Request, digest string, file *os.File) {
	header := w.Header()
	setContentHeaders(header, digest, "application/octet-stream")
	header.Set("Cache-Control", cacheControl)
	if r.TLS == nil && r.ProtoMajor == 1 {
		// The kernel takes the file to the socket. Where it can't read on,
		// net/http closes the connection.
		http.ServeContent(w, r, "", time.Time{}, file)
		return
	}
	source := &source{File: file}
	http.ServeContent(largeWrites{w}, r, "", time.Time{}, source)
	if err := source.err.Load(); err != nil {
		h.folder.logger.Error("reading a blob failed; its answer is cut off",
			zap.String("file", file.Name()), zap.Error(*err))
		// What the client has got must not look like the whole.
		panic(http.ErrAbortHandler)
	}
}

// setContentHeaders sets what the registry's answers with content have in
// common. The last is from the config in the registry's image: what was pushed
// is not for browsers to guess at.
func setContentHeaders(h http.Header, digest, mediaType string) {
	h.Set("Content-Type", mediaType)
	h.Set("Docker-Content-Digest", digest)
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("Etag", `"`+digest+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
}

// source remembers an error in reading, which [http.ServeContent] does not
// return. For several ranges that reads in a goroutine, for which it does not
// wait if the client went away.
type source struct {
	*os.File
	err atomic.Pointer[error]
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.File.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err.Store(&err)
	}
	return n, err
}

// writeSize is how much is read and written at once, in bytes: four TLS
// records, and what Caddy's idle time-out lets through in one piece. More is no
// faster (BenchmarkPull).
const writeSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([writeSize]byte) }}

// largeWrites copies what it reads from a file in larger pieces than net/http,
// which takes 32 KiB at a time over TLS, and over HTTP/2 hands each piece from
// one goroutine to another.
type largeWrites struct{ http.ResponseWriter }

func (w largeWrites) ReadFrom(r io.Reader) (int64, error) {
	buffer := buffers.Get().(*[writeSize]byte)
	// Only Write is left to the copy.
	n, err := io.CopyBuffer(struct{ io.Writer }{w.ResponseWriter}, struct{ io.Reader }{r}, buffer[:])
	// HTTP/2 may still send from what it was given when it says that the stream
	// is closed: with another answer in the buffer, this client would get that.
	if err == nil {
		buffers.Put(buffer)
	}
	return n, err
}

// Unwrap leads [http.ResponseController] on.
func (w largeWrites) Unwrap() http.ResponseWriter { return w.ResponseWriter }

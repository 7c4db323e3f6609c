package embedded

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

// storageErrors replaces the registry's 5xx answers, whose details name paths
// of this machine, with a 503 that says what is wrong with its storage as far
// as that can be found. The registry logs the details itself.
type storageErrors struct {
	*caddyhttp.ResponseWriterWrapper
	handler *Handler
	request *http.Request
	began   bool // an answer is on its way
	discard bool // what the registry still writes is not for the client
}

func (w *storageErrors) WriteHeader(status int) {
	failed := status >= http.StatusInternalServerError
	switch {
	case w.began:
		// An error in the middle of an answer: the client sees that the answer
		// ends early, and must not take the error for a part of it.
		w.discard = w.discard || failed
	case failed:
		w.began, w.discard = true, true
		// An error in writing shows in the registry's own writes, too.
		_ = ocierror.Write(w.ResponseWriterWrapper, w.request, &ocierror.Error{
			Status:     http.StatusServiceUnavailable,
			Code:       ocierror.Unavailable,
			Message:    w.message(),
			RetryAfter: 30 * time.Second,
		})
	default:
		w.began = true
		w.ResponseWriterWrapper.WriteHeader(status)
	}
}

func (w *storageErrors) Write(p []byte) (int, error) {
	w.began = true
	if w.discard {
		return len(p), nil
	}
	return w.ResponseWriterWrapper.Write(p)
}

// message says what the client's user may know.
func (w *storageErrors) message() string {
	const unexplained = "the registry failed; its operator's log says why"
	switch w.request.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return unexplained
	}
	reason := unwritable(w.handler.Root)
	if reason == nil {
		return unexplained
	}
	w.handler.logger.Error("registry can't write to its folder",
		zap.String("folder", w.handler.Root), zap.Error(reason))
	return "the registry can't write to its storage: " + rootCause(reason).Error()
}

// unwritable tries to write to root and to the folders of the registry's
// layout that exist below it, and returns the first failure.
func unwritable(root string) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	if err := probe(root); err != nil {
		return err
	}
	for _, name := range []string{"blobs", "repositories"} {
		err := probe(filepath.Join(root, "docker", "registry", "v2", name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// probe tries to write a small file to the folder dir. The registry's walks
// pass over it: no repository's name begins with a dot, and of the files below
// blobs only those named data count.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return err
	}
	// It goes before it is written, so that not even a crash leaves it behind.
	// Systems that can't remove an open file get a second try.
	early := os.Remove(f.Name())
	_, err = f.Write(make([]byte, 4096))
	err = errors.Join(err, f.Close())
	if early != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// rootCause returns the innermost error: for one of the file system, the part
// without a path, which is not for clients.
func rootCause(err error) error {
	for {
		switch e := err.(type) { //nolint:errorlint // it is taken apart here
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			err = e.Unwrap()[0]
		default:
			return err
		}
	}
}

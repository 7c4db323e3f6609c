package blobs

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// failing is the writer of a client that went away. It keeps what it was given,
// as HTTP/2 does until the frame is on its way.
type failing struct {
	http.ResponseWriter
	given []byte
}

func (w *failing) Write(p []byte) (int, error) {
	w.given = p
	return 0, errors.New("stream closed")
}

// TestBufferOfFailedWrite guards that no answer is written over one that may
// still be sent to another client.
func TestBufferOfFailedWrite(t *testing.T) {
	// The race detector has a pool forget now and then.
	for range 20 {
		w := &failing{}
		if _, err := (largeWrites{w}).ReadFrom(strings.NewReader("first")); err == nil {
			t.Fatal("no error")
		}
		other := httptest.NewRecorder()
		if _, err := (largeWrites{other}).ReadFrom(strings.NewReader("other")); err != nil || other.Body.String() != "other" {
			t.Fatalf("%q %v", other.Body, err)
		}
		if !bytes.Equal(w.given, []byte("first")) {
			t.Fatalf("what may still be sent became %q", w.given)
		}
	}
}

// unreadable returns an open file with a size, of which no byte can be read.
func unreadable(t *testing.T) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// TestReadError: an answer whose file can't be read on is aborted, wherever
// net/http would not do it by itself.
func TestReadError(t *testing.T) {
	for _, tc := range []struct {
		name   string
		tls    *tls.ConnectionState
		major  int
		ranges string
	}{
		{"TLS, HTTP/1", &tls.ConnectionState{}, 1, ""},
		{"TLS, HTTP/2", &tls.ConnectionState{}, 2, ""},
		{"TLS, several ranges", &tls.ConnectionState{}, 2, "bytes=0-9,100-109"},
		{"no TLS, HTTP/2", nil, 2, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, logs := newTestHandler("")
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.TLS, r.ProtoMajor = tc.tls, tc.major
			if tc.ranges != "" {
				r.Header.Set("Range", tc.ranges)
			}
			defer func() {
				if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
					t.Errorf("recovered %v", err)
				}
				if n := logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 1 {
					t.Errorf("%d errors are told, want 1", n)
				}
			}()
			h.serveBlob(httptest.NewRecorder(), r, "sha256:", unreadable(t))
		})
	}
}

// TestRangesOfClientGone is for the race detector: net/http may still read for
// several ranges when the answer is given up.
func TestRangesOfClientGone(t *testing.T) {
	for range 20 {
		h, _ := newTestHandler("")
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.TLS = &tls.ConnectionState{}
		r.Header.Set("Range", "bytes=0-9,100-109")
		func() {
			defer func() {
				got := recover()
				if err, _ := got.(error); got != nil && !errors.Is(err, http.ErrAbortHandler) {
					panic(got)
				}
			}()
			h.serveBlob(&failing{ResponseWriter: httptest.NewRecorder()}, r, "sha256:", unreadable(t))
		}()
	}
}

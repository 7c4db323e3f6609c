package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

func TestContents(t *testing.T) {
	c := newContents()
	digests := make(map[string]bool)
	for _, size := range []int64{tailSize, 512, 1 << 20, 3<<20 + 5, 512} {
		blob := c.make(size)
		var all bytes.Buffer
		if _, err := io.Copy(&all, blob.reader(0, size)); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(all.Bytes())
		if int64(all.Len()) != size || blob.digest != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Errorf("%d bytes: %d were read, and the digest is another: %s", size, all.Len(), blob.digest)
		}
		if digests[blob.digest] {
			t.Errorf("%d bytes: not new", size)
		}
		digests[blob.digest] = true
		half := size / 2
		if err := iotest.TestReader(blob.reader(half, size-half), all.Bytes()[half:]); err != nil && size < 1<<20 {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestParseAnswer(t *testing.T) {
	tests := []struct {
		name, header string
		want         answer
		fails        bool
	}{
		{name: "a length", header: "HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length:  12 \r\n", want: answer{status: 200, length: 12}},
		{name: "no length", header: "HTTP/1.1 204 No Content\r\n", want: answer{status: 204, length: -1}},
		{name: "the last", header: "HTTP/1.1 401 Unauthorized\r\nConnection: Close\r\nContent-Length: 0\r\n", want: answer{status: 401, close: true}},
		{name: "no reason", header: "HTTP/1.1 200\r\n", want: answer{status: 200, length: -1}},
		{name: "another protocol", header: "HTTP/1.0 200 OK\r\n", fails: true},
		{name: "no status", header: "HTTP/1.1 abc OK\r\n", fails: true},
		{name: "cut off", header: "HTTP/1.1", fails: true},
		{name: "a bad length", header: "HTTP/1.1 200 OK\r\nContent-Length: x\r\n", fails: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseAnswer([]byte(tt.header))
			if (err != nil) != tt.fails || got != tt.want {
				t.Errorf("%+v, %v instead of %+v", got, err, tt.want)
			}
		})
	}
}

// TestClient sends requests to Go's server: large and small answers, on one
// connection, until the server ends it.
func TestClient(t *testing.T) {
	large := strings.Repeat("0123456789", 50_000)
	var connections atomic.Int64
	peer := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, secret, _ := r.BasicAuth(); user != userName || secret != password {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/large":
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(large))
		case "/last":
			w.Header().Set("Connection", "close")
			_, _ = io.WriteString(w, "bye")
		case "/chunked":
			_, _ = io.WriteString(w, "a")
			w.(http.Flusher).Flush()
		default:
			_, _ = io.WriteString(w, "{}")
		}
	}))
	peer.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	peer.Start()
	defer peer.Close()
	s := &server{scheme: "http", address: peer.Listener.Addr().String(), lab: new(lab)}
	c := newClient(s)
	defer c.close()
	for _, step := range []struct {
		name, method, path, header string
		status                     int
		body                       string
		connections                int64
	}{
		{"small", "GET", "/", "", 200, "{}", 1},
		{"large", "GET", "/large", "", 200, large, 1},
		{"a part", "GET", "/large", "Range: bytes=499990-\r\n", 206, "0123456789", 1},
		{"the header only", "HEAD", "/large", "", 200, "", 1},
		{"the last", "GET", "/last", "", 200, "bye", 1},
		{"after the last", "GET", "/", "", 200, "{}", 2},
	} {
		var body bytes.Buffer
		status, size, err := c.do(c.request(step.method, step.path, step.header), step.method == "HEAD", &body)
		if err != nil || status != step.status || body.String() != step.body {
			t.Fatalf("%s: status %d, %d bytes, %v", step.name, status, body.Len(), err)
		}
		if step.method != "HEAD" && size != int64(len(step.body)) {
			t.Errorf("%s: size %d", step.name, size)
		}
		if got := connections.Load(); got != step.connections {
			t.Errorf("%s: connection %d instead of %d", step.name, got, step.connections)
		}
	}
	if _, _, err := c.do(c.request("GET", "/chunked", ""), false, nil); err == nil {
		t.Error("an answer without a length was read")
	}
	if status, _, err := c.do(c.requestAs("bob", "x", "GET", "/", ""), false, nil); err != nil || status != 401 {
		t.Errorf("another user: %d, %v", status, err)
	}
}

// TestWorksWithRegistry does works with a real registry: they give numbers, a
// push leaves nothing, and nothing runs on.
func TestWorksWithRegistry(t *testing.T) {
	program := testenv.Program(t, "registry")
	dir := t.TempDir()
	l := &lab{scale: quickScale, dir: dir, contents: newContents(), programs: programs{registry: program}}
	l.period = 20 * time.Millisecond
	l.large = 2 << 20
	if err := l.makeSeed(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := startServer(t.Context(), l, allContestants[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
		if _, err := usedCPU(s.front.pid); err == nil {
			t.Error("the registry runs on")
		}
	}()
	if _, err := s.verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, w := range []work{
		startWork(), requestWork(ping, keepAlive, l.scale), requestWork(manifestGet, newConnection, l.scale),
		requestWork(manifestHead, keepAlive, l.scale), pullWork(small, keepAlive, 2, l.scale),
		pullWork(l.large, keepAlive, 1, l.scale), rangeWork(2, l.scale), pushWork(l.scale, 0), pushWork(l.scale, 1<<20),
	} {
		values, err := w.run(t.Context(), s)
		if err != nil || len(values) != len(w.metrics) || values[0] <= 0 {
			t.Errorf("%s: %v, %v", w.name, values, err)
		}
	}
	if _, err := requestWork(ping, multiplexed, l.scale).run(t.Context(), s); !errors.Is(err, errNotDone) {
		t.Errorf("HTTP/2 without TLS: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(s.data, "docker/registry/v2/repositories/bench/*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "data" {
		t.Errorf("repositories: %v, %v", left, err)
	}
	// Right in size only.
	blob := l.blobs[small].digest[len("sha256:"):]
	if err := os.WriteFile(filepath.Join(s.data, "docker/registry/v2/blobs/sha256", blob[:2], blob, "data"), make([]byte, small), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.verify(t.Context()); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Errorf("a blob of another digest: %v", err)
	}
}

// TestLoadEndsWithError ends all workers with the first error.
func TestLoadEndsWithError(t *testing.T) {
	broken := errors.New("broken")
	s := &server{front: &process{pid: os.Getpid()}}
	_, err := s.load(t.Context(), 4, time.Hour, func(worker int) error {
		if worker == 2 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) {
		t.Errorf("error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.load(ctx, 1, time.Hour, func(int) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

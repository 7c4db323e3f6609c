//go:build linux

package e2e

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// relay stands between Caddy and the engine's socket, so that what they say to one
// another can be cut off.
type relay struct {
	socket string // of the engine, as seen from here

	mu   sync.Mutex            // guards open
	open map[net.Conn]struct{} // nil while nothing passes
}

// newRelay starts a relay, and makes it the socket that Caddy's container has.
func (h *house) newRelay(t testing.TB) *relay {
	t.Helper()
	file := filepath.Join(h.checkout, "docker.sock")
	listener, err := net.Listen("unix", file)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{socket: filepath.Join("/proc", h.nas.pid, "root/run/docker.sock"), open: make(map[net.Conn]struct{})}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // it was closed
			}
			group.Go(func() { r.pass(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		r.cut()
		group.Wait()
	})
	override := "services:\n  caddy:\n    volumes:\n      - ./docker.sock:/var/run/docker.sock\n"
	if err := os.WriteFile(filepath.Join(h.checkout, "compose.relay.yaml"), []byte(override), 0o644); err != nil {
		t.Fatal(err)
	}
	return r
}

// pass connects conn with the engine until one of them ends.
func (r *relay) pass(conn net.Conn) {
	defer conn.Close()
	engine, err := net.Dial("unix", r.socket)
	if err != nil {
		return // it restarts
	}
	defer engine.Close()
	if !r.register(conn) {
		return
	}
	defer r.forget(conn)
	go func() {
		_, _ = io.Copy(engine, conn) // until the one below ends
		_ = engine.(*net.UnixConn).CloseWrite()
	}()
	_, _ = io.Copy(conn, engine) // it ends when either is closed
}

// register tells whether conn may pass.
func (r *relay) register(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		return false
	}
	r.open[conn] = struct{}{}
	return true
}

func (r *relay) forget(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, conn)
}

// cut closes all connections, and lets none pass from now on. It returns how many
// there were.
func (r *relay) cut() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.open)
	for conn := range r.open {
		conn.Close()
	}
	r.open = nil
	return n
}

// mend lets connections pass again.
func (r *relay) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = make(map[net.Conn]struct{})
}

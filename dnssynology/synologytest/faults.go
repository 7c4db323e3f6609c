package synologytest

import (
	"io"
	"net/http"
	"sync"
)

// faults are what both HTTP servers can be made to suffer from, before they look
// at what a request wants.
type faults struct {
	mu     sync.Mutex
	hang   chan struct{} // closed to let the waiting requests go on; nil when they need not wait
	broken []broken
}

// broken is a reply that no healthy server would give.
type broken struct {
	call   string // empty: any
	body   string
	status int
	times  int
}

func (f *faults) setHang(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case on && f.hang == nil:
		f.hang = make(chan struct{})
	case !on && f.hang != nil:
		close(f.hang)
		f.hang = nil
	}
}

// setBroken replaces what was broken about call before.
func (f *faults) setBroken(b broken) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, old := range f.broken {
		if old.call == b.call {
			f.broken[i] = b
			return
		}
	}
	f.broken = append(f.broken, b)
}

// strike reports whether the request has been dealt with. The request's body
// must have been read, because only then is it noticed that the client has gone.
func (f *faults) strike(w http.ResponseWriter, r *http.Request, call string) bool {
	f.mu.Lock()
	hang := f.hang
	f.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			// Over TLS a client that is going away could still hear an answer.
			panic(http.ErrAbortHandler)
		}
	}
	b, ok := f.next(call)
	if !ok {
		return false
	}
	// Whatever it is, the type tells nothing: proxies and captive portals say so, too.
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(b.status)
	// A client may well hang up in the middle of a huge reply.
	_, _ = io.WriteString(w, b.body)
	return true
}

func (f *faults) next(call string) (broken, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.broken {
		b := &f.broken[i]
		if (b.call == "" || b.call == call) && b.times > 0 {
			b.times--
			return *b, true
		}
	}
	return broken{}, false
}

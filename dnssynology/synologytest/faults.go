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
	status int // 0: the connection is cut instead
	times  int
	late   bool // what the request wants is done first
}

// answer writes the reply.
func (b *broken) answer(w http.ResponseWriter) {
	if b.status == 0 {
		panic(http.ErrAbortHandler)
	}
	// Whatever it is, the type tells nothing: proxies and captive portals say so, too.
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(b.status)
	// A client may well hang up in the middle of a huge reply.
	_, _ = io.WriteString(w, b.body)
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
		if old.call == b.call && old.late == b.late {
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
	b, ok := f.next(call, false)
	if ok {
		b.answer(w)
	}
	return ok
}

// next returns the reply to a call that is due, before or after it is carried out.
func (f *faults) next(call string, late bool) (broken, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.broken {
		b := &f.broken[i]
		if b.late == late && (b.call == "" || b.call == call) && b.times > 0 {
			b.times--
			return *b, true
		}
	}
	return broken{}, false
}

package access

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

const (
	// baseTime is for how long an answer of the registry to GET /v2/ serves
	// further requests. So much later, at the latest, clients hear that a
	// registry went away.
	baseTime = 3 * time.Second

	// maxBase is how large such an answer may be, in bytes. That of the
	// reference registry has two.
	maxBase = 4 << 10
)

// baseMemory remembers the registry's answer to GET /v2/, which is how every
// client begins and which never says anything but that the registry is there.
type baseMemory struct {
	answer atomic.Pointer[baseAnswer]
	// failures counts those that were seen: an answer that was asked for before
	// the last one is worth nothing.
	failures atomic.Uint64
}

// baseAnswer is what the next handler did to an answer.
type baseAnswer struct {
	host    string // that was asked for
	set     http.Header
	values  int      // how many set has
	removed []string // headers that were there before
	body    []byte

	failures uint64
	until    time.Time
}

// forget makes the next request ask the registry.
func (m *baseMemory) forget() { m.failures.Add(1) }

// serve answers r, which asks for the base, from memory or else by next.
func (m *baseMemory) serve(w *responseWriter, r *http.Request, next caddyhttp.Handler) error {
	// An answer to a browser may be for the page or the session that it names,
	// whether it says so (Vary) or not.
	plain := r.URL.Path == "/v2/" && r.URL.RawQuery == "" && r.ContentLength == 0 &&
		len(r.Header["Origin"]) == 0 && len(r.Header["Cookie"]) == 0
	if a := m.answer.Load(); plain && a != nil && a.host == r.Host &&
		a.failures == m.failures.Load() && time.Now().Before(a.until) {
		return a.copyTo(w, r)
	}
	if !plain || r.Method != http.MethodGet {
		return next.ServeHTTP(w, r)
	}
	failures := m.failures.Load()
	recorder := &baseRecorder{responseWriter: w, before: w.Header().Clone()}
	if err := next.ServeHTTP(recorder, r); err != nil {
		return err
	}
	if a, ok := recorder.result(); ok {
		a.host, a.failures, a.until = r.Host, failures, time.Now().Add(baseTime)
		for _, values := range a.set {
			a.values += len(values)
		}
		m.answer.Store(a)
	}
	return nil
}

func (a *baseAnswer) copyTo(w *responseWriter, r *http.Request) error {
	h := w.Header()
	for _, name := range a.removed {
		delete(h, name)
	}
	// Other handlers may write into the values: each answer has its own, in one
	// piece.
	room := make([]string, 0, a.values)
	for name, values := range a.set {
		from := len(room)
		room = append(room, values...)
		h[name] = room[from:len(room):len(room)]
	}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := w.Write(a.body)
	return err
}

// baseRecorder passes an answer on, and keeps it.
type baseRecorder struct {
	*responseWriter
	before http.Header // as it was before the next handler
	status int
	answer baseAnswer
	large  bool
}

func (w *baseRecorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
		w.answer.set, w.answer.removed = changes(w.before, w.Header())
	}
	w.responseWriter.WriteHeader(status)
}

func (w *baseRecorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if len(w.answer.body)+len(p) > maxBase {
		w.large = true
	} else {
		w.answer.body = append(w.answer.body, p...)
	}
	return w.responseWriter.Write(p)
}

// ReadFrom hides that of the embedded writer, which would go past Write.
func (w *baseRecorder) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, r)
}

// result returns the answer if it may be given to others.
func (w *baseRecorder) result() (*baseAnswer, bool) {
	return &w.answer, w.status == http.StatusOK && !w.large && mayShare(w.answer.set, len(w.answer.body))
}

// mayShare reports whether an answer with these headers and a body of so many
// bytes is whole, and is the same for every client.
func mayShare(h http.Header, length int) bool {
	for _, name := range []string{"Vary", "Set-Cookie", "Content-Encoding", "Cache-Control", "Trailer"} {
		if len(h[name]) > 0 {
			return false
		}
	}
	announced := h["Content-Length"]
	return len(announced) == 1 && announced[0] == strconv.Itoa(length)
}

// changes returns the headers that are new or other than before, and the names
// of those that are gone. The date is that of each answer.
func changes(before, after http.Header) (set http.Header, removed []string) {
	set = make(http.Header)
	for name, values := range after {
		if name != "Date" && !slices.Equal(before[name], values) {
			set[name] = slices.Clone(values)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			removed = append(removed, name)
		}
	}
	return set, removed
}

package dnssynology

import (
	"context"
	"time"
)

// flight is work that many wait for. It goes on when one of them goes away: the
// answer to a login must be heard, since a refused one must be remembered, and a
// code of the second factor serves once.
type flight struct {
	done chan struct{}
	err  error // once done is closed
}

// start begins a flight, which close ends. The caller holds w.mu, which f may lock.
func (w *webAPI) start(timeout time.Duration, f func(context.Context) error) *flight {
	work := &flight{done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(w.ctx, timeout)
	w.wg.Go(func() {
		defer cancel()
		defer close(work.done)
		work.err = f(ctx)
	})
	return work
}

// wait waits for the flight's end.
func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// sessionAfter returns a session other than the stale one, which has ended. There
// is one for all callers; those who come while it is being opened wait for it.
func (w *webAPI) sessionAfter(ctx context.Context, stale *session) (*session, error) {
	for {
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return nil, errClosed
		}
		if w.session == stale {
			w.session = nil
		}
		if s := w.session; s != nil {
			w.mu.Unlock()
			return s, nil
		}
		f := w.loggingIn
		if f == nil {
			f = w.start(loginTimeout, func(ctx context.Context) error { //nolint:contextcheck // a refusal must be heard
				s, err := w.login(ctx)
				w.mu.Lock()
				defer w.mu.Unlock()
				w.session, w.loggingIn = s, nil
				return err
			})
			w.loggingIn = f
		}
		w.mu.Unlock()
		if err := f.wait(ctx); err != nil {
			return nil, err
		}
	}
}

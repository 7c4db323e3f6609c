package docker

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
)

// watch asks Docker for its containers, over and over: after every
// connect, after every event, on request and every now and then.
func (w *watcher) watch(ctx context.Context) {
	var failures int
	warned := false
	for {
		began := time.Now()
		err := w.session(ctx)
		if ctx.Err() != nil {
			return
		}

		gap := w.timing.gap
		switch log := w.loggers.current().With(zap.Stringer("host", w.settings.host), zap.Error(err)); {
		case errors.As(err, new(listError)):
			gap = w.timing.gapDown
			log.Debug("no list of containers")
		case errors.As(err, new(refusal)) && !warned:
			warned = true // every reconnect would say the same
			log.Warn("no events from docker; its containers are polled instead")
		default:
			log.Debug("connection to docker ended")
		}

		// A connection that lasted was a good one: proxies before Docker's
		// socket end streams after some minutes.
		if time.Since(began) > w.timing.reconnectMax {
			failures = 0
		}
		wait := backoff(failures, w.timing.reconnectMin, w.timing.reconnectMax)
		failures++
		if !w.pause(ctx, wait, gap) {
			return
		}
	}
}

// listError says that Docker could not be asked, or did not answer.
type listError struct{ error }

func (e listError) Unwrap() error { return e.error }

// session lists and follows the events over one connection, as long as that
// goes well.
func (w *watcher) session(ctx context.Context) error {
	e, err := w.connect(w.settings.host)
	if err != nil {
		w.report(ctx, listing{err: err})
		return listError{err}
	}
	defer e.close()

	// What happens during the first list is in the events after it. Docker
	// keeps events for a while, and reads the time by its own clock; should
	// the two differ, the next poll makes up for it.
	since := time.Now()
	if err := w.list(ctx, e); err != nil {
		return err
	}
	listed := time.Now()

	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	wg.Go(func() { ended <- e.events(ctx, since, w.hint) })

	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return err
		case <-w.poke:
		case <-time.After(backoff(0, w.timing.poll, w.timing.poll)):
		}
		// Events come in bursts: the first is answered at once, all that
		// follow it within the gap by one more list.
		if !sleep(ctx, w.timing.gap-time.Since(listed)) {
			return ctx.Err()
		}
		if err := w.list(ctx, e); err != nil {
			return err
		}
		listed = time.Now()
	}
}

// list asks Docker and reports what came of it.
func (w *watcher) list(ctx context.Context, e engine) error {
	// Whoever asked until now is served by this list, and who asks from now
	// on gets another one.
	select {
	case <-w.poke:
	default:
	}

	l := w.ask(ctx, e)
	if ctx.Err() != nil {
		return ctx.Err() // the end of the watcher says nothing about Docker
	}
	w.report(ctx, l)
	if l.err != nil {
		return listError{l.err}
	}
	return nil
}

func (w *watcher) ask(ctx context.Context, e engine) (l listing) {
	ctx, cancel := context.WithTimeout(ctx, w.timing.call)
	defer cancel()
	l.containers, l.err = e.containers(ctx, w.settings)
	if l.err == nil && w.self != "" {
		// Not knowing this is not knowing which address to choose.
		l.own, l.err = e.networks(ctx, w.self)
	}
	return l
}

func (w *watcher) report(ctx context.Context, l listing) {
	select {
	case w.listings <- l:
	case <-ctx.Done():
	}
}

// pause waits until it is time to reconnect, or somebody asks for it. It
// reports whether to go on.
func (w *watcher) pause(ctx context.Context, wait, gap time.Duration) bool {
	if !sleep(ctx, min(wait, gap)) {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-w.poke:
	case <-time.After(wait - min(wait, gap)):
	}
	return true
}

// sleep reports whether it slept to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

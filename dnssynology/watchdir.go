package dnssynology

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

const (
	quiet      = 200 * time.Millisecond // without an event before it is looked at
	loudAtMost = time.Second            // events that do not end are looked at as well
)

// follow looks again after each sign of a change, after each interval, and soon
// after a problem; and chooses anew when a certificate becomes valid or ends.
func (c *Certificates) follow(ctx context.Context, ok bool) {
	defer close(c.done)
	first, most, patience := c.source.pace()
	retry, last := first, time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := last.Add(c.PollInterval)
		if !ok {
			next = last.Add(min(retry, c.PollInterval))
		}
		timer.Reset(max(0, min(time.Until(next), time.Until(c.boundary(time.Now())), longestWait)))
		changed := false
		select {
		case <-ctx.Done():
			return
		case <-c.source.changes():
			changed = true
		case <-timer.C:
		}
		if !changed && time.Now().Before(next) {
			c.choose(time.Now())
			continue
		}
		was := ok
		ok = c.look(ctx, lookTimeout, patience)
		last = time.Now()
		switch {
		case ok || was || changed:
			retry = first
		default:
			retry = min(2*retry, most)
		}
	}
}

// boundary is when the next certificate becomes valid or ends, or an end is told.
func (c *Certificates) boundary(now time.Time) time.Time {
	next := now.Add(longestWait)
	for _, p := range slices.Concat(c.found, c.kept) {
		end := p.cert.Leaf.NotAfter
		for _, at := range []time.Time{p.cert.Leaf.NotBefore, end.Add(-expiryWarning), end.Add(time.Nanosecond), c.expiring[p].Add(24 * time.Hour)} {
			if at.After(now) && at.Before(next) {
				next = at
			}
		}
	}
	return next
}

// settle leaves out what has a shorter chain than the pair that it would replace,
// until a later look finds the same: a file that was cut between two certificates
// looks whole, and is not for long.
func (c *Certificates) settle(r reading, now time.Time) reading {
	short := map[[sha256.Size]byte]time.Time{}
	var served, pairs []*pair
	if t := c.table.Load(); t != nil {
		served = t.pairs
	}
	for _, p := range r.pairs {
		suspect := !slices.ContainsFunc(c.found, p.same) && !slices.ContainsFunc(c.kept, p.same) &&
			slices.ContainsFunc(served, func(q *pair) bool { return p.shortens(q, now) })
		since, again := c.short[p.sum]
		if !suspect || again && now.Sub(since) >= quiet {
			pairs = append(pairs, p)
			continue
		}
		if !again {
			since = now
		}
		short[p.sum] = since
		r.problems = append(slices.Clip(r.problems), problem{where: p.from, names: p.names, err: errors.New("its chain is shorter than before: it is looked at once more")})
	}
	r.pairs, c.short = pairs, short
	return r
}

// dirWatcher tells that something may have changed in the archive. It is a hint:
// what has changed is not told, and a change may be missed.
type dirWatcher struct {
	archive string
	changed chan struct{} // holds one
	logger  *zap.Logger

	fs      *fsnotify.Watcher      // nil if the system has none to give
	watched map[string]fs.FileInfo // by path; used by one goroutine
	failed  bool                   // told that something can't be watched
	running sync.WaitGroup
}

// newDirWatcher watches nothing yet, but the folder that has the archive in it:
// there an archive appears that was not there, or is exchanged as a whole.
func newDirWatcher(archive string, logger *zap.Logger) *dirWatcher {
	w := &dirWatcher{archive: archive, changed: make(chan struct{}, 1), logger: logger, watched: map[string]fs.FileInfo{}}
	var err error
	if w.fs, err = fsnotify.NewWatcher(); err != nil {
		w.fs = nil
		w.fail(archive, err)
		return w
	}
	w.running.Go(func() { w.run(w.fs.Events, w.fs.Errors) })
	return w
}

// run turns events into hints, until the channels are closed.
func (w *dirWatcher) run(events <-chan fsnotify.Event, errs <-chan error) {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	var latest time.Time // zero if nothing has happened
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			if filepath.Dir(e.Name) == filepath.Dir(w.archive) && e.Name != w.archive {
				continue // beside the archive
			}
		case _, ok := <-errs:
			if !ok {
				return
			}
			// Events were lost, as a rule: look.
		case <-timer.C:
			latest = time.Time{}
			select {
			case w.changed <- struct{}{}:
			default: // there is a hint already
			}
			continue
		}
		if latest.IsZero() {
			latest = time.Now().Add(loudAtMost)
		}
		timer.Reset(min(quiet, time.Until(latest)))
	}
}

// watch makes the paths what is watched, and the folder around the archive.
func (w *dirWatcher) watch(paths []string) {
	for path := range w.watched {
		if path != filepath.Dir(w.archive) && !slices.Contains(paths, path) {
			w.drop(path)
		}
	}
	w.add(paths)
}

func (w *dirWatcher) drop(path string) {
	_ = w.fs.Remove(path) // it may be gone by itself
	delete(w.watched, path)
}

// add watches the paths as well, and the folder around the archive. A path that is
// another folder than before is watched anew.
func (w *dirWatcher) add(paths []string) {
	if w.fs == nil {
		return
	}
	active := w.fs.WatchList()
	for _, path := range append([]string{filepath.Dir(w.archive)}, paths...) {
		info, err := os.Stat(path)
		if before, ok := w.watched[path]; ok {
			if err == nil && os.SameFile(before, info) && slices.Contains(active, path) {
				continue
			}
			w.drop(path)
		}
		if err == nil {
			err = w.fs.Add(path)
		}
		switch {
		case err == nil:
			w.watched[path] = info
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission): // those are told by who reads
			w.fail(path, err)
		}
	}
}

// fail tells, once, that there is only the interval.
func (w *dirWatcher) fail(path string, err error) {
	if !w.failed {
		w.failed = true
		w.logger.Warn("cannot watch a folder for changes: it is read at each interval only", zap.String("path", path), zap.Error(err))
	}
}

// close ends the watch, and waits for it.
func (w *dirWatcher) close() error {
	if w.fs == nil {
		return nil
	}
	err := w.fs.Close()
	w.running.Wait()
	return err
}

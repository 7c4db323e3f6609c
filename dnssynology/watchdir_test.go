package dnssynology

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// A hint comes after 200 ms without an event, and in the midst of endless ones.
func TestHints(t *testing.T) {
	tests := []struct {
		name   string
		events int
		every  time.Duration
		event  string
		err    error
		want   []time.Duration // milliseconds after the first one
	}{
		{name: "one", events: 1, event: "/x/_archive", want: []time.Duration{200}},
		{name: "a renewal", events: 5, every: 100 * time.Millisecond, event: "/x/_archive/AbC123/cert.pem", want: []time.Duration{600}},
		{name: "two", events: 2, every: time.Second, event: "/x/_archive/AbC123", want: []time.Duration{200, 1200}},
		{name: "endless", events: 25, every: 90 * time.Millisecond, event: "/x/_archive/a", want: []time.Duration{1000, 2080, 2360}},
		{name: "beside the archive", events: 9, every: time.Second, event: "/x/other"},
		{name: "lost events", events: 1, err: fsnotify.ErrEventOverflow, want: []time.Duration{200}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &dirWatcher{archive: "/x/_archive", changed: make(chan struct{}, 1)}
				events, errs := make(chan fsnotify.Event), make(chan error)
				w.running.Go(func() { w.run(events, errs) })
				begin := time.Now()
				go func() {
					for range test.events {
						if test.err != nil {
							errs <- test.err
						} else {
							events <- fsnotify.Event{Name: test.event, Op: fsnotify.Write}
						}
						time.Sleep(test.every)
					}
					time.Sleep(time.Minute)
					close(events)
				}()
				for _, want := range test.want {
					<-w.changed
					if at := time.Since(begin); at != want*time.Millisecond {
						t.Errorf("a hint after %v, want %dms", at, want)
					}
				}
				w.running.Wait()
				if len(w.changed) > 0 {
					t.Error("one hint too many")
				}
			})
		})
	}
}

// Without a watch there is the interval, which is told once. Guards against a
// warning a look, or a folder: each of them tries to watch, and can't.
func TestNoWatch(t *testing.T) {
	a := newPairAuthority(t)
	p, renewed := a.issue(t, newECDSAKey(t), 9*day, 80*day, "example.synology.me"), a.issue(t, newECDSAKey(t), day, 90*day, "example.synology.me")
	dir := t.TempDir()
	writeFolder(t, filepath.Join(dir, "AbC123"), p.files(""))
	core, logs := observer.New(zapcore.InfoLevel)
	c := &Certificates{Domains: []string{"example.synology.me"}, PollInterval: 20 * time.Millisecond, Logger: zap.New(core)}
	src := newArchive(dir, c.Logger)
	if err := src.watcher.fs.Close(); err != nil { // every Add fails from now on
		t.Fatal(err)
	}
	c.start(t.Context(), src)
	serves(t, c, "example.synology.me", p.one(t))
	writeFolder(t, filepath.Join(dir, "XyZ789"), renewed.files(""))
	awaits(t, c, renewed)
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if n := logs.FilterMessageSnippet("cannot watch a folder").Len(); n != 1 || !src.watcher.failed {
		t.Errorf("told %d times", n)
	}
}

// Guards against a look that gives up its watches and takes them anew: what changes
// in between is missed, and each costs the system something.
func TestWatchesStay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "_archive")
	for _, folder := range []string{"AbC123", "XyZ789"} {
		writeFolder(t, filepath.Join(dir, folder), nil)
	}
	a := newArchive(dir, zap.NewNop())
	defer a.close(t.Context())
	a.look(t.Context(), nil)
	before := maps.Clone(a.watcher.watched)
	if len(before) != 4 { // with the archive, and what is around it
		t.Fatalf("%d folders are watched", len(before))
	}
	if err := os.Remove(filepath.Join(dir, "XyZ789")); err != nil {
		t.Fatal(err)
	}
	a.look(t.Context(), nil)
	delete(before, filepath.Join(dir, "XyZ789"))
	if !maps.Equal(before, a.watcher.watched) { // each has the same FileInfo, which a new watch has not
		t.Errorf("%d folders are watched, some of them anew", len(a.watcher.watched))
	}
}

// The folder that is watched is the one that is at the path now.
func TestWatchesAnew(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "_archive")
	w := newDirWatcher(dir, zap.NewNop())
	defer w.close()
	hint := func(what string) {
		t.Helper()
		select {
		case <-w.changed:
		case <-time.After(10 * time.Second):
			t.Fatal("no hint of ", what)
		}
	}
	mkdir := func(path string) {
		t.Helper()
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w.watch([]string{dir})
	mkdir(dir)
	hint("the archive")
	w.watch([]string{dir})
	mkdir(filepath.Join(dir, "AbC123"))
	hint("a folder")
	w.watch([]string{dir, filepath.Join(dir, "AbC123")})
	if err := os.WriteFile(filepath.Join(dir, "AbC123", "cert.pem"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	hint("a file")
	mkdir(filepath.Join(parent, "new", "AbC123"))
	if err := errors.Join(os.Rename(dir, dir+".old"), os.Rename(filepath.Join(parent, "new"), dir)); err != nil {
		t.Fatal(err)
	}
	hint("the exchange")
	w.watch([]string{dir, filepath.Join(dir, "AbC123")})
	if err := os.WriteFile(filepath.Join(dir, "AbC123", "cert.pem"), []byte("y"), 0o600); err != nil {
		t.Fatal(err)
	}
	hint("a file in the new one")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	hint("the end")
	w.watch([]string{dir})
	if len(w.watched) != 1 {
		t.Errorf("%d folders are watched", len(w.watched))
	}
}

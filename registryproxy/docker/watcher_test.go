package docker

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// quick are times for tests: what is not due within hours must come from an
// event, a reconnect or a request.
var quick = timing{
	poll:           time.Hour,
	gap:            5 * time.Millisecond,
	gapDown:        5 * time.Millisecond,
	call:           5 * time.Second,
	reconnectMin:   5 * time.Millisecond,
	reconnectMax:   50 * time.Millisecond,
	probe:          5 * time.Second,
	probeHealthy:   20 * time.Millisecond,
	probeUnhealthy: 5 * time.Millisecond,
}

// watchedFake is a watcher of a fake, and its log.
type watchedFake struct {
	*watcher
	t   *testing.T
	log *observer.ObservedLogs
}

// watchFake starts a watcher. That it ends, and all of its goroutines with it,
// is part of each test.
func watchFake(t *testing.T, f *fakeDocker) watchedFake {
	t.Helper()
	core, log := observer.New(zapcore.InfoLevel)
	w := newWatcher(f.settings(), quick, connect)
	w.self = "" // a test may run in a container
	w.loggers.add(zap.New(core))
	w.start()
	t.Cleanup(func() {
		if err := w.Destruct(); err != nil {
			t.Error(err)
		}
		if left := goroutines("docker.(*watcher)", "docker.(*api)", "docker.round", "docker.probe"); left != "" {
			t.Errorf("goroutines were not waited for:\n%s", left)
		}
		eventually(t, "the client's goroutines end", func() bool {
			return goroutines("docker/client.(*Client)") == ""
		})
	})
	return watchedFake{w, t, log}
}

// goroutines returns the stacks that hold one of the names.
func goroutines(names ...string) string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var found []string
	for stack := range bytes.SplitSeq(buf, []byte("\n\n")) {
		for _, name := range names {
			if bytes.Contains(stack, []byte(name)) {
				found = append(found, string(stack))
				break
			}
		}
	}
	return strings.Join(found, "\n\n")
}

// becomes waits until the upstreams are those of the registries, in order, and
// the reason holds a text; "" is no reason.
func (w watchedFake) becomes(reason string, registries ...*fakeRegistry) {
	w.t.Helper()
	var dials []string
	for _, r := range registries {
		dials = append(dials, r.addr.String())
	}
	eventually(w.t, "the upstreams are ["+strings.Join(dials, " ")+"] and the reason is "+reason, func() bool {
		s := w.snapshot.Load()
		if !slices.Equal(s.dials, dials) || (s.reason == nil) != (reason == "") {
			return false
		}
		return s.reason == nil || strings.Contains(s.reason.Message, reason)
	})
}

// logged returns how often a message was logged at a level.
func (w watchedFake) logged(level zapcore.Level, part string) int {
	return w.log.Filter(func(e observer.LoggedEntry) bool {
		return e.Level == level && strings.Contains(e.Message, part)
	}).Len()
}

func TestDockerAppears(t *testing.T) {
	f, a := newFakeDocker(t), newFakeRegistry(t, "a")
	f.set(fakeContainer{name: "a", addr: a.addr})
	w := watchFake(t, f)
	w.becomes("there is no such socket")
	<-w.ready // a config that loads does not wait for Docker to come

	f.start()
	w.becomes("", a)
	if n := w.logged(zapcore.WarnLevel, "can't be asked"); n != 1 {
		t.Errorf("%d warnings, want one for all attempts", n)
	}
	if n := w.logged(zapcore.InfoLevel, "docker answers again"); n != 1 {
		t.Errorf("%d times back", n)
	}
}

func TestContainerAppears(t *testing.T) {
	f, a := newFakeDocker(t), newFakeRegistry(t, "a")
	f.start()
	w := watchFake(t, f)
	w.becomes("there is no container with the label registry=yes")

	eventually(t, "it follows the events", func() bool { return f.following() == 1 })
	f.set(fakeContainer{name: "a", addr: a.addr})
	f.tell("container", "start")
	w.becomes("", a)
}

func TestContainerRestartsElsewhere(t *testing.T) {
	f, a, b := newFakeDocker(t), newFakeRegistry(t, "a"), newFakeRegistry(t, "b")
	f.start()
	f.set(fakeContainer{name: "hub", addr: a.addr})
	w := watchFake(t, f)
	w.becomes("", a)
	eventually(t, "it follows the events", func() bool { return f.following() == 1 })

	f.set(fakeContainer{name: "hub", state: "exited"})
	f.tell("container", "die")
	w.becomes("container hub is stopped (exit 137, 2 min ago)")

	f.set(fakeContainer{name: "hub", addr: b.addr})
	f.tell("network", "connect")
	f.tell("container", "start")
	w.becomes("", b)

	want := []string{"→" + a.addr.String(), a.addr.String() + "→", "→" + b.addr.String()}
	eventually(t, fmt.Sprintf("each change is logged, and nothing else: %q", want), func() bool {
		var changes []string
		for _, entry := range w.log.FilterMessage("upstreams of the registry").All() {
			fields := entry.ContextMap()
			changes = append(changes, joined(fields["previous"])+"→"+joined(fields["upstream"]))
		}
		return slices.Equal(changes, want)
	})
}

// joined returns the strings of a log entry's field.
func joined(field any) string {
	var items []string
	for _, item := range field.([]any) {
		items = append(items, item.(string))
	}
	return strings.Join(items, " ")
}

func TestContainerGoesAway(t *testing.T) {
	f, a := newFakeDocker(t), newFakeRegistry(t, "a")
	f.start()
	f.set(fakeContainer{name: "a", addr: a.addr})
	w := watchFake(t, f)
	w.becomes("", a)
	eventually(t, "it follows the events", func() bool { return f.following() == 1 })

	f.set()
	f.tell("container", "destroy")
	w.becomes("there is no container with the label registry=yes")
}

// Proxies before Docker's socket end streams after some minutes; what happened
// meanwhile is in the next list.
func TestEventStreamEnds(t *testing.T) {
	f, a, b := newFakeDocker(t), newFakeRegistry(t, "a"), newFakeRegistry(t, "b")
	f.start()
	f.set(fakeContainer{name: "hub", addr: a.addr})
	w := watchFake(t, f)
	w.becomes("", a)
	eventually(t, "it follows the events", func() bool { return f.following() == 1 })

	f.set(fakeContainer{name: "hub", addr: b.addr})
	f.cut()
	w.becomes("", b)
	eventually(t, "it follows the events again", func() bool { return f.following() == 1 })
	if n := w.log.FilterLevelExact(zapcore.WarnLevel).Len(); n != 0 {
		t.Errorf("%d warnings about what is normal: %v", n, w.log.All())
	}
}

func TestDockerGoesAway(t *testing.T) {
	f, a, b := newFakeDocker(t), newFakeRegistry(t, "a"), newFakeRegistry(t, "b")
	f.start()
	f.set(fakeContainer{name: "hub", addr: a.addr})
	w := watchFake(t, f)
	w.becomes("", a)

	f.die()
	w.becomes("nobody listens; Docker is down, or, if the file is bind-mounted, it went stale when Docker restarted: "+
		"recreate this container; the addresses from before may be out of date", a)

	// Another Docker at the same path: its file is a new one.
	f.set(fakeContainer{name: "hub", addr: b.addr})
	f.start()
	w.becomes("", b)
	if n := w.logged(zapcore.WarnLevel, "can't be asked"); n != 1 {
		t.Errorf("%d warnings, want one for all attempts", n)
	}
}

func TestDockerGoesAwayAfterContainerStopped(t *testing.T) {
	f := newFakeDocker(t)
	f.start()
	f.set(fakeContainer{name: "hub", state: "exited"})
	w := watchFake(t, f)
	w.becomes("container hub is stopped")
	f.stop()
	w.becomes("mounted here?); its last word: container hub is stopped (exit 137, 2 min ago)")
}

// A list that is refused is not an empty one.
func TestListIsRefused(t *testing.T) {
	f, a := newFakeDocker(t), newFakeRegistry(t, "a")
	f.start()
	f.set(fakeContainer{name: "hub", addr: a.addr})
	w := watchFake(t, f)
	w.becomes("", a)

	f.refuseWith("/containers/json", http.StatusForbidden)
	w.hint()
	w.becomes("refuses to list containers: Error response from daemon: the proxy forbids it; the addresses from before may be", a)
	f.refuseWith("/containers/json", 0)
	w.becomes("", a)
}

// Without events every reconnect brings a list, and the operator is told once.
func TestEventsAreRefused(t *testing.T) {
	f, a, b := newFakeDocker(t), newFakeRegistry(t, "a"), newFakeRegistry(t, "b")
	f.refuseWith("/events", http.StatusForbidden)
	f.start()
	f.set(fakeContainer{name: "hub", addr: a.addr})
	w := watchFake(t, f)
	w.becomes("", a)
	f.set(fakeContainer{name: "hub", addr: b.addr})
	w.becomes("", b)
	eventually(t, "it tried again", func() bool { return f.streams.Load() > 3 })
	if n := w.logged(zapcore.WarnLevel, "no events from docker"); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
}

func TestHint(t *testing.T) {
	f, a, b := newFakeDocker(t), newFakeRegistry(t, "a"), newFakeRegistry(t, "b")
	f.start()
	f.set(fakeContainer{name: "hub", addr: a.addr})
	w := watchFake(t, f)
	w.becomes("", a)
	eventually(t, "it follows the events", func() bool { return f.following() == 1 })

	f.set(fakeContainer{name: "hub", addr: b.addr})
	u := &Upstreams{watcher: w.watcher}
	if err := u.ResetCache(nil); err != nil {
		t.Fatal(err)
	}
	w.becomes("", b)
}

func TestTwoContainers(t *testing.T) {
	f, a, b := newFakeDocker(t), newFakeRegistry(t, "a"), newFakeRegistry(t, "b")
	b.status.Store(http.StatusUnauthorized) // wants a login, as healthy as can be
	f.start()
	f.set(fakeContainer{name: "b", addr: b.addr, health: "starting"}, fakeContainer{name: "a", addr: a.addr, health: "healthy"})
	w := watchFake(t, f)
	w.becomes("", a, b)

	a.status.Store(http.StatusServiceUnavailable)
	w.becomes("", b)
	b.status.Store(http.StatusInternalServerError)
	w.becomes("container a runs, but answers GET /v2/ on port", a, b)
	if got := w.snapshot.Load().reason.Message; !strings.Contains(got, "with 503; container b runs") || !strings.HasSuffix(got, "with 500") {
		t.Errorf("the reason is %q", got)
	}
	a.status.Store(http.StatusOK)
	w.becomes("", a)
	if w.logged(zapcore.WarnLevel, "container is not healthy") == 0 || w.logged(zapcore.InfoLevel, "container is healthy") == 0 {
		t.Errorf("the log lacks what happened: %v", w.log.All())
	}
}

func TestOneUnhealthyContainer(t *testing.T) {
	f, a := newFakeDocker(t), newFakeRegistry(t, "a")
	f.start()
	f.set(fakeContainer{name: "a", addr: a.addr, health: "unhealthy"})
	w := watchFake(t, f)
	// It is offered all the same: there is nothing better.
	w.becomes("container a runs, but Docker's health check calls it unhealthy", a)

	f.set(fakeContainer{name: "a", addr: a.addr, health: "healthy"})
	eventually(t, "it follows the events", func() bool { return f.following() == 1 })
	f.tell("container", "health_status: healthy")
	w.becomes("", a)

	a.Close()
	w.becomes("container a runs, but accepts no connection on port", a)
}

func TestPausedContainer(t *testing.T) {
	f, a := newFakeDocker(t), newFakeRegistry(t, "a")
	f.start()
	f.set(fakeContainer{name: "a", addr: a.addr, state: "paused"})
	w := watchFake(t, f)
	w.becomes("container a is paused")
}

func TestRedirectIsNotHealthy(t *testing.T) {
	f, a := newFakeDocker(t), newFakeRegistry(t, "a")
	a.status.Store(http.StatusFound)
	f.start()
	f.set(fakeContainer{name: "a", addr: a.addr})
	w := watchFake(t, f)
	w.becomes("with 302", a)
}

func TestLoggers(t *testing.T) {
	var l loggers
	l.current().Info("nobody listens") // and nothing breaks
	a, b := zap.NewExample(), zap.NewExample()
	l.add(a)
	l.add(b)
	if l.current() != b {
		t.Error("the last one does not speak")
	}
	l.remove(b) // its config did not load
	if l.current() != a {
		t.Error("the one before does not speak")
	}
	l.remove(b)
	l.remove(a)
	l.current().Info("nobody listens")
}

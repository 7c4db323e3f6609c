package docker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// memoryEngine is an engine without a Docker, for tests about time.
type memoryEngine struct {
	mu    sync.Mutex
	lists []time.Time
	list  func(ctx context.Context, n int) error // n: how many came before

	streams []time.Duration // how long each stream lasts; after those: for ever
	own     []string
}

func (m *memoryEngine) containers(ctx context.Context, _ settings) ([]container, error) {
	m.mu.Lock()
	n := len(m.lists)
	m.lists = append(m.lists, time.Now())
	m.mu.Unlock()
	if m.list != nil {
		if err := m.list(ctx, n); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (m *memoryEngine) version(context.Context) (Version, error) { return Version{}, nil }

func (m *memoryEngine) networks(context.Context, string) ([]string, error) { return m.own, nil }

func (m *memoryEngine) events(ctx context.Context, _ time.Time, _ func()) error {
	m.mu.Lock()
	var ends <-chan time.Time
	if len(m.streams) > 0 {
		ends = time.After(m.streams[0])
		m.streams = m.streams[1:]
	}
	m.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-ends:
		return nil
	}
}

func (m *memoryEngine) close() {}

// waits returns the times between two lists.
func (m *memoryEngine) waits() []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	var waits []time.Duration
	for i := 1; i < len(m.lists); i++ {
		waits = append(waits, m.lists[i].Sub(m.lists[i-1]))
	}
	return waits
}

// run watches with the times of production, for a while of the bubble's time.
func (m *memoryEngine) run(t *testing.T, span time.Duration, during func(w *watcher)) *watcher {
	t.Helper()
	w := newWatcher(settings{host: host{"tcp", "proxy:1"}}, defaultTiming, func(host) (engine, error) { return m, nil })
	w.start()
	defer w.Destruct()
	if during != nil {
		during(w)
	}
	<-time.After(span)
	synctest.Wait()
	return w
}

func between(t *testing.T, what string, got, low, high time.Duration) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %s, want %s to %s", what, got, low, high)
	}
}

func TestReconnectBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memoryEngine{list: func(context.Context, int) error { return syscall.ECONNREFUSED }}
		m.run(t, 10*time.Minute, nil)
		waits := m.waits()
		if len(waits) < 15 || len(waits) > 40 {
			t.Fatalf("%d attempts in 10 minutes: %v", len(waits), waits)
		}
		want := 250 * time.Millisecond
		for i, wait := range waits {
			between(t, fmt.Sprint("wait ", i), wait, want*3/4, want*5/4)
			want = min(2*want, 30*time.Second)
		}
	})
}

// A request that fails cuts the wait for Docker short, but many don't make it
// shorter.
func TestHintsCutReconnectShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memoryEngine{list: func(context.Context, int) error { return syscall.ECONNREFUSED }}
		m.run(t, 0, func(w *watcher) {
			<-time.After(5 * time.Minute)
			before := len(m.waits())
			for range 1000 {
				w.hint()
				<-time.After(10 * time.Millisecond)
			}
			if n := len(m.waits()) - before; n < 8 || n > 12 {
				t.Errorf("%d attempts in 10 s of hints, want about 10", n)
			}
		})
	})
}

func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memoryEngine)
		m.run(t, time.Hour, nil)
		waits := m.waits()
		if len(waits) < 60 {
			t.Errorf("%d polls in an hour", len(waits))
		}
		for _, wait := range waits {
			between(t, "poll", wait, 30*time.Second, time.Minute)
		}
	})
}

func TestBurstOfEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(memoryEngine)
		m.run(t, time.Second, func(w *watcher) {
			<-time.After(10 * time.Second)
			w.hint()
			synctest.Wait()
			if n := len(m.waits()); n != 1 {
				t.Errorf("%d lists at once after the first event, want 1", n)
			}
			for range 1000 {
				w.hint()
				<-time.After(time.Millisecond)
			}
			if n := len(m.waits()); n > 7 {
				t.Errorf("%d lists for a second of events, want about 6", n)
			}
		})
	})
}

// A proxy that ends each stream after 10 minutes costs one quick reconnect
// each time, not more and more.
func TestLongStreamsReconnectAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memoryEngine{}
		for range 20 {
			m.streams = append(m.streams, 10*time.Minute)
		}
		m.run(t, 2*time.Hour, nil)
		short := 0
		for _, wait := range m.waits() {
			if wait < 30*time.Second {
				short++ // a reconnect, soon after the last poll
			}
			between(t, "wait", wait, 200*time.Millisecond, time.Minute)
		}
		if short < 3 {
			t.Errorf("%d reconnects after a short wait", short)
		}
	})
}

// And one that ends each at once does not make a loop without a pause.
func TestShortStreamsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memoryEngine{}
		for range 1000 {
			m.streams = append(m.streams, 0)
		}
		m.run(t, 10*time.Minute, nil)
		if n := len(m.waits()); n > 40 {
			t.Errorf("%d lists in 10 minutes", n)
		}
	})
}

func TestDockerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memoryEngine{list: func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		w := m.run(t, 11*time.Second, nil)
		if s := w.snapshot.Load(); s.reason == nil || !strings.HasSuffix(s.reason.Message, "no answer in time") {
			t.Errorf("the reason is %v", s.reason)
		}
	})
}

// The end of a watcher in the middle of a list says nothing about Docker.
func TestEndDuringList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memoryEngine{list: func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		w := m.run(t, time.Second, nil)
		if s := w.snapshot.Load(); !strings.Contains(s.reason.Message, "has not been asked") {
			t.Errorf("the reason is %v", s.reason)
		}
	})
}

func TestBackoff(t *testing.T) {
	for n, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		for range 100 {
			between(t, "backoff", backoff(n, time.Second, 10*time.Second), want*time.Second*3/4, want*time.Second*5/4)
		}
	}
	between(t, "backoff after many", backoff(1<<40, time.Second, time.Minute), 45*time.Second, 75*time.Second)
}

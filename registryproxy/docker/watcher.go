package docker

import (
	"context"
	"math/rand/v2"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// timing are the watcher's times.
type timing struct {
	poll           time.Duration // from one list to the next if nothing happens, a quarter more or less
	gap            time.Duration // at least between two lists
	gapDown        time.Duration // likewise, while Docker does not answer
	call           time.Duration // at most for one list
	reconnectMin   time.Duration // before the second attempt to reconnect
	reconnectMax   time.Duration
	probe          time.Duration // at most for one health check
	probeHealthy   time.Duration // from one health check to the next, while all are healthy
	probeUnhealthy time.Duration // likewise, after the first that was not
}

var defaultTiming = timing{
	poll:           45 * time.Second,
	gap:            200 * time.Millisecond,
	gapDown:        time.Second,
	call:           10 * time.Second,
	reconnectMin:   250 * time.Millisecond,
	reconnectMax:   30 * time.Second,
	probe:          3 * time.Second,
	probeHealthy:   20 * time.Second,
	probeUnhealthy: 500 * time.Millisecond,
}

// watcher knows which containers match its settings. Two goroutines run for
// it: [watcher.watch] asks Docker, [watcher.keep] owns the state and publishes
// the snapshot.
type watcher struct {
	settings settings
	timing   timing
	connect  func(host) (engine, error)
	self     string // the ID of the container that this process runs in, if it looks like one

	snapshot atomic.Pointer[snapshot]
	ready    chan struct{} // closed after Docker's first answer, or failure
	poke     chan struct{} // capacity 1: somebody wants a new list
	listings chan listing
	loggers  loggers

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// listing is what came of asking Docker for its containers.
type listing struct {
	containers []container
	own        []string // the networks that the container of this process is on
	err        error
}

func newWatcher(s settings, t timing, connect func(host) (engine, error)) *watcher {
	w := &watcher{
		settings: s,
		timing:   t,
		connect:  connect,
		self:     ownContainer(),
		ready:    make(chan struct{}),
		poke:     make(chan struct{}, 1),
		listings: make(chan listing),
	}
	w.snapshot.Store((&state{settings: s}).compose(time.Now()))
	return w
}

func (w *watcher) start() {
	// Not the context of a config: the watcher may outlive the one that it
	// came with.
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.wg.Go(func() { w.watch(ctx) })
	w.wg.Go(func() { w.keep(ctx) })
}

// Destruct ends both goroutines and waits for them.
func (w *watcher) Destruct() error {
	w.cancel()
	w.wg.Wait()
	return nil
}

// hint asks for a new list of containers. It never blocks.
func (w *watcher) hint() {
	select {
	case w.poke <- struct{}{}:
	default: // one is due already
	}
}

// hostnameFromID is the host name that Docker gives to a container unless it
// is told another one.
var hostnameFromID = regexp.MustCompile(`^[0-9a-f]{12}$`)

// ownContainer returns the ID of the container that this process runs in, as
// far as its host name tells. In the host's network, and where the host name
// was set, it does not; then no network is known to be shared.
func ownContainer() string {
	name, err := os.Hostname()
	if err != nil || !hostnameFromID.MatchString(name) {
		return ""
	}
	return name
}

// backoff returns the wait after n failures in a row: from low, doubled each
// time, up to high, and a quarter more or less by chance.
func backoff(n int, low, high time.Duration) time.Duration {
	d := low
	for ; n > 0 && d < high; n-- {
		d *= 2
	}
	d = min(d, high)
	return d - d/4 + rand.N(d/2+1) //nolint:gosec // it spreads load, nothing depends on it
}

// loggers are those of the configs that share a watcher. The last one speaks;
// once its config is gone, the one before: a config that turned out not to
// load must not take the logger with it.
type loggers struct {
	mu  sync.Mutex
	all []*zap.Logger
}

func (l *loggers) add(logger *zap.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, logger)
}

func (l *loggers) remove(logger *zap.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, other := range l.all {
		if other == logger {
			l.all = append(l.all[:i], l.all[i+1:]...)
			return
		}
	}
}

func (l *loggers) current() *zap.Logger {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return zap.NewNop()
	}
	return l.all[len(l.all)-1]
}

// Interface guards
var (
	_ caddy.Destructor = (*watcher)(nil)
)

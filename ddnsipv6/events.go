package ddnsipv6

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"
)

// Events that the app emits, for handlers of Caddy's events app. Their data:
// name (without a dot at the end), old and new, each an address or empty, and
// error for eventFailed.
const (
	// eventUpdated: a record was changed, and that is confirmed.
	eventUpdated = "ddns_updated"
	// eventFailed: a record could not be changed. It comes once, until an
	// update succeeds or the address changes.
	eventFailed = "ddns_failed"
)

// eventQueue is how many events wait for slow handlers.
const eventQueue = 64

// events hands events to Caddy's events app, one after the other: handlers may
// take long, and must not keep a record from being updated.
type events struct {
	ctx    caddy.Context
	app    *caddyevents.App
	logger *zap.Logger
	queue  chan event

	// started is closed when all apps have started. Before, the events app
	// takes subscriptions, for which it has no lock.
	started chan struct{}
	once    sync.Once
}

type event struct {
	name string
	data map[string]any
}

func newEvents(ctx caddy.Context) (*events, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, fmt.Errorf("loading the events app: %w", err)
	}
	e := &events{
		ctx: ctx, app: app.(*caddyevents.App), logger: ctx.Logger(),
		queue: make(chan event, eventQueue), started: make(chan struct{}),
	}
	if err := e.app.On("started", e); err != nil {
		return nil, fmt.Errorf("subscribing to the start: %w", err)
	}
	return e, nil
}

// Handle notes that all apps have started: Caddy's event for that came.
func (e *events) Handle(context.Context, caddy.Event) error {
	e.once.Do(func() { close(e.started) })
	return nil
}

// emit hands over an event. It does not block.
func (e *events) emit(name string, data map[string]any) {
	select {
	case e.queue <- event{name, data}:
	default:
		e.logger.Warn("event dropped; its handlers are too slow", zap.String("event", name), zap.Any("data", data))
	}
}

// run emits events until quiet is closed, and then those that are left.
func (e *events) run(quiet <-chan struct{}) {
	select {
	case <-e.started:
	case <-quiet:
		select {
		case <-e.started:
		default:
			return // the config never ran
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case ev := <-e.queue:
			e.handle(ctx, ev)
		case <-quiet:
			// Handlers that are slow now end with the config.
			defer time.AfterFunc(stopWithin/2, cancel).Stop()
			for len(e.queue) > 0 && ctx.Err() == nil {
				e.handle(ctx, <-e.queue)
			}
			return
		}
	}
}

func (e *events) handle(ctx context.Context, ev event) {
	emitting := e.ctx
	emitting.Context = ctx
	e.app.Emit(emitting, ev.name, ev.data)
}

// Interface guard
var _ caddyevents.Handler = (*events)(nil)

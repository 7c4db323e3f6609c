package dnssynology

import (
	"context"
	"maps"
	"slices"

	"go.uber.org/zap"
)

// use notes that a hostname is in use, and begins the heartbeat, if there is to
// be one.
func (b *serviceBackend) use(hostname string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used[hostname] = true
	if b.beat <= 0 || b.closed || b.stopped != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.stop, b.stopped = cancel, make(chan struct{})
	go func() {
		defer close(b.stopped)
		b.keepAlive(ctx)
	}()
}

// keepAlive tells the service at once, and at each interval, that the hostnames
// are in use. A failure is logged when it is another one than before.
func (b *serviceBackend) keepAlive(ctx context.Context) {
	failures := map[string]string{}
	for {
		b.mu.Lock()
		hostnames := slices.Sorted(maps.Keys(b.used))
		b.mu.Unlock()
		for _, hostname := range hostnames {
			err := b.service.pulse(ctx, hostname)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				delete(failures, hostname)
			case failures[hostname] != err.Error():
				failures[hostname] = err.Error()
				b.logger.Warn("heartbeat failed; will retry", zap.String("name", hostname), zap.Error(err), zap.Duration("retry_in", b.beat))
			}
		}
		if b.pause(ctx, b.beat) != nil {
			return
		}
	}
}

// close ends the heartbeat and waits for it. Challenges that are under way must
// still be deleted, so that calls go on to work; but they don't keep others
// waiting any more.
func (b *serviceBackend) close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	stop, stopped := b.stop, b.stopped
	b.mu.Unlock()
	b.holds.abandon(b)
	b.service.http.CloseIdleConnections()
	if stopped == nil {
		return nil
	}
	stop()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

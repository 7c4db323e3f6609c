package docker

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// keep owns the state: it takes in what Docker and the health checks say, and
// publishes what follows from it.
func (w *watcher) keep(ctx context.Context) {
	st := &state{settings: w.settings}
	p := newProber(w.timing)
	defer p.stop()
	ready := sync.OnceFunc(func() { close(w.ready) })

	for {
		select {
		case <-ctx.Done():
			return

		case l := <-w.listings:
			w.logListing(st, l)
			first := !st.known
			st.apply(l)
			if l.err == nil {
				p.begin(ctx, st.candidates(time.Now()))
			}
			w.publish(st, first && st.known)
			ready()

		case health := <-p.done:
			w.logHealth(st, health)
			st.health = health
			p.finish(health)
			w.publish(st, false)

		case <-p.again.C:
			p.begin(ctx, st.candidates(time.Now()))
		}
	}
}

// publish shows requests the present state. It logs if there are other
// upstreams than before, and what Docker's first answer came to.
func (w *watcher) publish(st *state, first bool) {
	next := st.compose(time.Now())
	previous := w.snapshot.Swap(next)

	level := zapcore.DebugLevel
	if first || !slices.Equal(previous.dials, next.dials) {
		level = zapcore.InfoLevel
	}
	if c := w.loggers.current().Check(level, "upstreams of the registry"); c != nil {
		fields := []zapcore.Field{
			zap.Strings("previous", previous.dials),
			zap.Strings("upstream", next.dials),
			zap.Strings("container", next.containers),
			zap.Stringer("host", w.settings.host),
		}
		if next.reason != nil {
			fields = append(fields, zap.String("reason", next.reason.Message))
		}
		c.Write(fields...)
	}
}

// logListing tells when Docker stops answering and when it is back, not each
// try in between.
func (w *watcher) logListing(before *state, l listing) {
	switch {
	case l.err != nil && before.silence == "":
		w.loggers.current().Warn("docker can't be asked; what it said last stays in use, and it will be asked again",
			zap.Stringer("host", w.settings.host), zap.String("reason", explain(w.settings.host, l.err)))
	case l.err == nil && before.silence != "":
		w.loggers.current().Info("docker answers again", zap.Stringer("host", w.settings.host))
	}
}

// logHealth tells when the health of a container changed. What it turned out
// to be at first is no change: a registry that starts accepts no connection
// for a moment.
func (w *watcher) logHealth(before *state, now map[target]verdict) {
	for _, c := range before.candidates(time.Now()) {
		previous, known := before.health[targetOf(c)]
		v, probed := now[targetOf(c)]
		if !known || !probed || (previous == fine) == (v == fine) {
			continue
		}
		log := w.loggers.current().With(zap.String("container", c.name), zap.Stringer("upstream", c.addr))
		if v == fine {
			log.Info("container is healthy")
		} else {
			log.Warn("container is not healthy", zap.String("reason", "it "+string(v)))
		}
	}
}

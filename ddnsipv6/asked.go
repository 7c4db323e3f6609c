package ddnsipv6

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// lookTimeout bounds a look at a source; a slow one asks a service.
	lookTimeout = 30 * time.Second

	// maxInterruptions is how often a slow source is left alone for news of one
	// before it, until it is heard.
	maxInterruptions = 3
)

// asked is a source and what it returned last. It is asked again only after it
// has said that something may have changed, so that the events of one source
// don't become requests of another to a service on the internet.
type asked struct {
	Source
	stale     atomic.Bool
	turn      chan struct{} // held by a call, which may hang
	sightings Sightings
	addresses []Address
	err       error
}

func newAsked(s Source) *asked {
	a := &asked{Source: s, turn: make(chan struct{}, 1)}
	a.stale.Store(true)
	return a
}

// look asks the source, if it is stale.
func (a *asked) look(ctx context.Context) {
	if !a.stale.Swap(false) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if a.addresses, a.err = alone(ctx, a.turn, "source", a.Addresses); a.err == nil {
		a.sightings.Observe(a.addresses)
	}
}

// asking is the source that is being asked, for hints of those before it.
type asking struct {
	index  int
	cancel context.CancelFunc
}

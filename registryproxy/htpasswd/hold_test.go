package htpasswd

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestHold: a refusal takes its time, but for clients that have gone and for more
// than there is room for.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHold()
		took := func(ctx context.Context) time.Duration {
			begin := time.Now()
			h.wait(ctx)
			return time.Since(begin)
		}
		if got := took(t.Context()); got != holdTime {
			t.Errorf("held for %v", got)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if got := took(gone); got != 0 {
			t.Errorf("held for %v, though the client has gone", got)
		}

		var group sync.WaitGroup
		for range maxHeld {
			group.Go(func() { h.wait(t.Context()) })
		}
		synctest.Wait()
		if got := took(t.Context()); got != 0 {
			t.Errorf("held for %v beside %d others", got, maxHeld)
		}
		group.Wait()
		if got := took(t.Context()); got != holdTime {
			t.Errorf("held for %v when the others are gone", got)
		}
	})
}

package htpasswd

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// holdTime is how long a refusal is kept back that cost no run of bcrypt.
	holdTime = time.Second
	// maxHeld bounds how many are at once: some kilobytes of memory each.
	maxHeld = 1024
)

// hold keeps refusals back. Who guesses on as soon as there is an answer would
// else keep the processors busy that others push and pull with, and take every
// place in the queue of logins before anybody else can.
type hold struct{ room *semaphore.Weighted }

func newHold() hold { return hold{room: semaphore.NewWeighted(maxHeld)} }

// wait returns after holdTime, or when ctx ends. Where too many wait already it
// returns at once.
func (h hold) wait(ctx context.Context) {
	if !h.room.TryAcquire(1) {
		return
	}
	defer h.room.Release(1)
	timer := time.NewTimer(holdTime)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

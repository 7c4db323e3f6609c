package dnssynology

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// holdLimit is how long a challenge may keep its hostname from the others. An
// order takes a few minutes at most; who has not deleted its value by then is
// taken for dead.
const holdLimit = 10 * time.Minute

// challenges are the holds of this process. Caddy makes a provider for each
// place in its config, and two configs overlap during a reload, so that holds
// can't belong to one of them.
var challenges holds

// holds give a challenge name to one TXT value at a time, from the moment that
// it is to be written until it is deleted. An order for example.synology.me and
// one for its wildcard run at the same time and write to the same name, and it is
// not known whether the service keeps two values. The zero value is ready.
type holds struct {
	mu     sync.Mutex // guards all following fields, and the holds in them
	byName map[holdName]*hold
}

// holdName is a hostname at one of the services: tests have their own.
type holdName struct{ endpoint, hostname string }

// hold is what one value has. Several owners may share it: ACME servers give the
// same challenge to two orders of one account, such as of the old and the new
// config. The value is to be deleted when the last owner lets go.
type hold struct {
	value  string
	owners []any
	gone   []any // owners that were closed, and left the value to the others
	since  time.Time
	until  time.Time
	ttl    time.Duration

	confirmed bool
	ending    bool          // its value is being deleted
	change    chan struct{} // closed when a field changes that somebody may wait for
}

// take waits until the value may be written, and returns true; or until somebody
// else has written the same one, and returns false: then it shares the hold. If
// ctx is done first, the error says what it waited for.
func (h *holds) take(ctx context.Context, name holdName, value string, owner any) (first bool, err error) {
	for {
		h.mu.Lock()
		now := time.Now()
		current := h.byName[name]
		if current != nil && !now.Before(current.until) {
			h.end(name)
			current = nil
		}
		if current == nil {
			if h.byName == nil {
				h.byName = map[holdName]*hold{}
			}
			h.byName[name] = &hold{value: value, owners: []any{owner}, since: now, until: now.Add(holdLimit), change: make(chan struct{})}
			h.mu.Unlock()
			return true, nil
		}
		if current.value == value && current.confirmed && !current.ending {
			current.until = now.Add(holdLimit)
			if !slices.Contains(current.owners, owner) {
				current.owners = append(current.owners, owner)
			}
			h.mu.Unlock()
			return false, nil
		}
		seen := *current
		h.mu.Unlock()

		timer := time.NewTimer(seen.until.Sub(now))
		select {
		case <-seen.change:
		case <-timer.C:
		case <-ctx.Done():
			err = fmt.Errorf("waiting for the end of another challenge of %s, which has held its TXT record since %s (value %q) and loses it at %s: %w",
				name.hostname, seen.since.Format(time.TimeOnly), seen.value, seen.until.Format(time.TimeOnly), ctx.Err())
		}
		timer.Stop()
		if err != nil {
			return false, err
		}
	}
}

// confirm notes that the value can be seen, from when on others may share it.
func (h *holds) confirm(name holdName, value string, ttl time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if current := h.byName[name]; current != nil && current.value == value {
		current.confirmed, current.ttl, current.until = true, ttl, time.Now().Add(holdLimit)
		current.wake()
	}
}

// held returns the value that holds the name, if any.
func (h *holds) held(name holdName) (value string, ttl time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	current := h.byName[name]
	if current == nil || !time.Now().Before(current.until) {
		return "", 0, false
	}
	return current.value, current.ttl, true
}

// owns tells whether an owner has part in a value's hold.
func (h *holds) owns(name holdName, value string, owner any) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	current := h.byName[name]
	return current != nil && current.value == value && slices.Contains(current.owners, owner)
}

// leave ends an owner's part in a hold. It returns false if others go on to need
// the value; otherwise the caller deletes it and calls release, whatever comes of
// that: what is left behind is deleted before the next one is written. Who is no
// owner deletes what others have, since that is what it was asked for.
func (h *holds) leave(name holdName, value string, owner any) (last bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	current := h.byName[name]
	if current == nil || current.value != value {
		return true
	}
	if i := slices.Index(current.owners, owner); i >= 0 && len(current.owners) > 1 {
		current.owners = slices.Delete(current.owners, i, i+1)
		return false
	}
	// One that is closed may still clean up, after it left the value to others.
	if i := slices.Index(current.gone, owner); i >= 0 {
		current.gone = slices.Delete(current.gone, i, i+1)
		return false
	}
	current.ending = true
	return true
}

// release gives the name to the next one, if the value holds it.
func (h *holds) release(name holdName, value string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if current := h.byName[name]; current != nil && current.value == value {
		h.end(name)
	}
}

// abandon ends an owner's part in every hold.
func (h *holds) abandon(owner any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, current := range h.byName {
		i := slices.Index(current.owners, owner)
		switch {
		case i < 0:
		case len(current.owners) == 1:
			h.end(name)
		default:
			current.owners = slices.Delete(current.owners, i, i+1)
			current.gone = append(current.gone, owner)
		}
	}
}

// end removes a hold and wakes who waits for it. The lock is held.
func (h *holds) end(name holdName) {
	current := h.byName[name]
	delete(h.byName, name)
	current.wake()
}

func (c *hold) wake() {
	close(c.change)
	c.change = make(chan struct{})
}

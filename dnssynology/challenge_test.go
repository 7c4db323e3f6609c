package dnssynology

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var testHold = holdName{"https://a/", "example.synology.me"}

func TestHoldsOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h holds
		var inside, most atomic.Int32
		var group sync.WaitGroup
		for i := range 20 {
			group.Go(func() {
				value := fmt.Sprint("value", i)
				if first, err := h.take(t.Context(), testHold, value, i); !first || err != nil {
					t.Errorf("%v, %v", first, err)
				}
				most.Store(max(most.Load(), inside.Add(1)))
				time.Sleep(5 * time.Second)
				h.confirm(testHold, value, time.Minute)
				time.Sleep(5 * time.Second)
				if !h.leave(testHold, value, i) {
					t.Error("somebody else has it")
				}
				inside.Add(-1)
				h.release(testHold, value)
			})
		}
		start := time.Now()
		group.Wait()
		if most.Load() != 1 || time.Since(start) != 200*time.Second {
			t.Errorf("%d at a time, %s", most.Load(), time.Since(start))
		}
		if len(h.byName) != 0 {
			t.Errorf("left: %v", h.byName)
		}
	})
}

func TestHoldsDontMixNames(t *testing.T) {
	var h holds
	for _, name := range []holdName{testHold, {testHold.endpoint, "other.synology.me"}, {"https://b/", testHold.hostname}} {
		if first, err := h.take(t.Context(), name, "v", t); !first || err != nil {
			t.Errorf("%v: %v, %v", name, first, err)
		}
	}
}

// TestHoldsLost guards against an order that dies and keeps all others out.
func TestHoldsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h holds
		if _, err := h.take(t.Context(), testHold, "dead", "a"); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if first, err := h.take(t.Context(), testHold, "next", "b"); !first || err != nil || time.Since(start) != holdLimit {
			t.Errorf("%v, %v after %s", first, err, time.Since(start))
		}
		// The dead one rises: it is not to end the other's hold.
		h.confirm(testHold, "dead", 0)
		if !h.leave(testHold, "dead", "a") {
			t.Error("the value is nobody else's")
		}
		h.release(testHold, "dead")
		if value, _, ok := h.held(testHold); !ok || value != "next" {
			t.Errorf("%q holds it", value)
		}
	})
}

func TestHoldsTellWhoHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h holds
		if _, err := h.take(t.Context(), testHold, "theirs", "a"); err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{"mine", "theirs"} { // not confirmed: the same value waits too
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			_, err := h.take(ctx, testHold, value, "b")
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), `"theirs"`) || !strings.Contains(err.Error(), "00:10:00") {
				t.Errorf("%v", err)
			}
		}
	})
}

// TestHoldsShared: the old and the new config are given the same challenge.
func TestHoldsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h holds
		if _, err := h.take(t.Context(), testHold, "v", "old"); err != nil {
			t.Fatal(err)
		}
		joined := make(chan bool)
		go func() {
			first, err := h.take(t.Context(), testHold, "v", "new")
			joined <- !first && err == nil
		}()
		synctest.Wait()
		select {
		case <-joined:
			t.Error("it was not there yet")
		default:
		}
		h.confirm(testHold, "v", time.Minute)
		if !<-joined {
			t.Error("not shared")
		}
		if first, err := h.take(t.Context(), testHold, "v", "new"); first || err != nil {
			t.Errorf("once more: %v, %v", first, err)
		}
		if h.leave(testHold, "v", "old") {
			t.Error("the new one needs the value")
		}
		h.abandon("nobody")
		if !h.leave(testHold, "v", "new") {
			t.Error("nobody else needs the value")
		}
		// It is being deleted: who wants it now has to write it again.
		go func() {
			first, err := h.take(t.Context(), testHold, "v", "late")
			joined <- first && err == nil
		}()
		synctest.Wait()
		h.release(testHold, "v")
		if !<-joined {
			t.Error("shared a value that was deleted")
		}
		h.abandon("late")
		if _, _, ok := h.held(testHold); ok {
			t.Error("abandoned, and held")
		}
	})
}

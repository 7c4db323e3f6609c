package dnssynology

import (
	"context"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
)

func TestServiceHeartbeat(t *testing.T) {
	fake := synologytest.NewService(t)
	b := newTestBackend(t, fake)
	b.beat = time.Hour
	// The interval is over when next says so, so that no pulse is under way at the end.
	beats, next := make(chan struct{}), make(chan struct{})
	b.pause = func(ctx context.Context, d time.Duration) error {
		if d != time.Hour {
			t.Errorf("interval %s", d)
		}
		beats <- struct{}{}
		select {
		case <-next:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fake.Heartbeats() != 0 {
		t.Error("no name is in use yet")
	}
	for range 2 {
		if _, err := b.get(t.Context(), "example.synology.me."); err != nil {
			t.Fatal(err)
		}
	}
	<-beats
	fake.Fail("badsys", 1) // does not end it
	for range 3 {
		next <- struct{}{}
		<-beats
	}
	if err := b.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.get(t.Context(), "example.synology.me."); err != nil || fake.Heartbeats() != 3 {
		t.Errorf("%d heartbeats: %v", fake.Heartbeats(), err)
	}
}

// TestServiceCloseGivesUpHolds: the next config does not wait for a dead order,
// and the old one may still clean up.
func TestServiceCloseGivesUpHolds(t *testing.T) {
	fake := synologytest.NewService(t)
	old, next := newTestBackend(t, fake), newTestBackend(t, fake)
	if _, err := old.add(t.Context(), testZone, txt("old")); err != nil {
		t.Fatal(err)
	}
	if err := old.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := next.add(t.Context(), testZone, txt("next")); err != nil {
		t.Fatal(err)
	}
	if done, err := old.remove(t.Context(), testZone, txt("old")); err != nil || len(done) != 0 {
		t.Errorf("%v, %v", done, err)
	}
	if got := fake.TXT("_acme-challenge.example.synology.me"); len(got) != 1 || got[0] != "next" {
		t.Errorf("%q", got)
	}
}

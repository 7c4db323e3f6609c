package ddnsipv6

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/redact"
)

// TestReload: while nothing changes, a config that takes over reads and writes
// nothing; the two that overlap don't fight.
func TestReload(t *testing.T) {
	inHouse(t, func(_ *testing.T, h *house) {
		h.source.set(nil, stable(first))
		app := h.start()
		h.expectCalls("the start", 2, 1)
		for range 20 {
			pass(time.Minute)
			next := h.start()
			h.stop(app)
			app = next
		}
		h.expectCalls("20 reloads", 0, 0)
		h.source.set(nil, stable(second))
		pass(0)
		h.expect("after them", second)
		h.expectCalls("a change after them", 2, 1)
	})
}

// TestOverlap: as long as both run, only the new config acts; where it is taken
// back, as after a failed load, the old one goes on.
func TestOverlap(t *testing.T) {
	inHouse(t, func(_ *testing.T, h *house) {
		h.source.set(nil, stable(first))
		h.start()
		h.options = `, "verify_interval": "2h"`
		next := h.start()
		h.expectCalls("two of them", 2, 1)
		h.source.set(nil, stable(second))
		pass(0)
		h.expect("with both", second)
		h.expectCalls("a change for both", 2, 1)
		h.stop(next)
		h.source.set(nil, stable(third))
		pass(2 * time.Second)
		h.expect("with the old one", third)
		h.expectCalls("a change for the old one", 2, 1)
	})
}

// TestOverlapHanging: a config that hangs in its provider does not keep the one
// after it from publishing.
func TestOverlapHanging(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.source.set(nil, stable(first))
		app := h.start()
		hang := make(chan struct{})
		h.change(func(f *fakeDNS) { f.hang = hang })
		h.source.set(nil, stable(second))
		pass(time.Second)
		h.change(func(f *fakeDNS) { f.hang = nil }) // for later calls
		h.start()
		h.stop(app)
		pass(time.Second)
		h.expect("with the new one", second)
		if n := h.logs.FilterLevelExact(1).Len(); n > 0 {
			t.Errorf("warnings: %v", h.logs.All())
		}
		close(hang)
	})
}

// TestStop returns within a second while everything hangs.
func TestStop(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.source.set(nil, stable(first))
		app := h.start()
		hang := make(chan struct{})
		h.change(func(f *fakeDNS) { f.hang = hang })
		h.source.set(nil, stable(second))
		pass(time.Second)
		begin := time.Now()
		h.stop(app)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("with a provider that hangs: %s", took)
		}
		app = h.start()
		h.source.mu.Lock()
		h.source.hang = hang
		h.source.mu.Unlock()
		h.source.set(nil, stable(third))
		pass(time.Second)
		begin = time.Now()
		h.stop(app)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("with a source that hangs: %s", took)
		}
		close(hang)
	})
}

// TestRestart: what was confirmed is known after a restart, so that nothing is
// written; it is read once, since much may have happened.
func TestRestart(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.source.set(nil, stable(first))
		app := h.start()
		pass(30 * time.Minute)
		h.expectCalls("before", 2, 1)
		h.stop(app)
		if _, kept := ledgers.References(ID); kept {
			t.Error("the ledger outlives the last config")
		}
		pass(10 * time.Minute)
		app = h.start()
		pass(10 * time.Minute)
		h.expectCalls("after", 1, 0)
		if s := nas(app); s.Confirmed != first || s.LastConfirmed == nil {
			t.Errorf("status: %+v", s)
		}
		h.stop(app)
		h.source.set(nil, stable(second))
		h.start()
		h.expect("with another address", second)
	})
}

// TestOtherProvider: what one provider confirmed says nothing about another,
// and its failures neither.
func TestOtherProvider(t *testing.T) {
	inHouse(t, func(_ *testing.T, h *house) {
		h.source.set(nil, stable(first))
		app := h.start()
		h.change(func(f *fakeDNS) { f.records = nil })
		h.provider = "fake_no_deleter"
		next := h.start()
		h.stop(app)
		pass(time.Minute)
		h.expect("after a change of providers", first)

		h.change(func(f *fakeDNS) { f.failSets = 1 })
		h.source.set(nil, stable(second))
		pass(0)
		h.expectCalls("with a failure", 5, 3)
		h.options = `, "verify_interval": "2h"`
		same := h.start()
		h.stop(next)
		pass(time.Second)
		h.expectCalls("a reload does not make it try earlier", 0, 0)
		h.provider = "fake"
		h.start()
		h.stop(same)
		pass(time.Second)
		h.expect("other settings are tried at once", second)
	})
}

// TestSecrets: neither logs nor the status show what a provider puts into its
// errors.
func TestSecrets(t *testing.T) {
	p := &provider{name: "fake", secrets: redact.SecretsOf(&fakeFull{setOnly{fakeModule{ID: "nas-zone", APIToken: "s3cr3t-t0ken"}}})}
	for _, text := range []string{
		`Get "https://dns.example.com/update?name=nas&password=hunter2": dial tcp: timeout`,
		`POST https://user:hunter2@dns.example.com/: 401`,
		`invalid token s3cr3t-t0ken in nas-zone`,
	} {
		err := p.redacted(errors.New(text))
		if s := err.Error(); strings.Contains(s, "hunter2") || strings.Contains(s, "s3cr3t") {
			t.Errorf("%s", s)
		}
		if !strings.Contains(err.Error(), "dns.example.com") && !strings.Contains(err.Error(), "nas-zone") {
			t.Errorf("what helps was removed: %s", err)
		}
	}
}

package startup

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
)

// events is what hooks did, in order.
type events []string

// hook is a Hook that writes down its calls.
type hook struct {
	name              string
	failStart, failed error
	events            *events
}

func (h *hook) Start() error {
	*h.events = append(*h.events, "start "+h.name)
	return h.failStart
}

func (h *hook) Stop() error {
	*h.events = append(*h.events, "stop "+h.name)
	return h.failed
}

func TestHooks(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name  string
		hooks []*hook
		want  events // of Start, and of two calls of Stop after it
		start string // error of Start
		stop  string // error of the first Stop
	}{
		{name: "none"},
		{name: "in order, and back",
			hooks: []*hook{{name: "a"}, {name: "b"}, {name: "c"}},
			want:  events{"start a", "start b", "start c", "stop c", "stop b", "stop a"}},
		{name: "the first fails",
			hooks: []*hook{{name: "a", failStart: broken}, {name: "b"}},
			want:  events{"start a"}, start: "broken"},
		{name: "the last fails",
			hooks: []*hook{{name: "a"}, {name: "b"}, {name: "c", failStart: broken}},
			want:  events{"start a", "start b", "start c", "stop b", "stop a"}, start: "broken"},
		{name: "stopping fails after starting did",
			hooks: []*hook{{name: "a", failed: errors.New("stuck")}, {name: "b", failStart: broken}},
			want:  events{"start a", "start b", "stop a"}, start: "broken\nstuck"},
		{name: "stopping fails, and goes on",
			hooks: []*hook{{name: "a", failed: errors.New("stuck a")}, {name: "b", failed: errors.New("stuck b")}},
			want:  events{"start a", "start b", "stop b", "stop a"}, stop: "stuck b\nstuck a"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var app App
			var got events
			for _, h := range test.hooks {
				h.events = &got
				app.Register(h)
			}
			if err := app.Start(); message(err) != test.start {
				t.Errorf("Start: %q, want %q", message(err), test.start)
			}
			if err := app.Stop(); message(err) != test.stop {
				t.Errorf("Stop: %q, want %q", message(err), test.stop)
			}
			if err := app.Stop(); err != nil {
				t.Errorf("second Stop: %v", err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// user is an app with modules that need a start, as the HTTP app has handlers.
type user struct {
	Hooks []string `json:"hooks"` // "!a" is a hook that fails
}

// happened is what the hooks of all configs did. Caddy makes modules by itself,
// so there is no other way to hand it to them.
var happened events

func init() { caddy.RegisterModule(new(user)) }

func (*user) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "registry_startup_test", New: func() caddy.Module { return new(user) }}
}

func (u *user) Provision(ctx caddy.Context) error {
	for _, name := range u.Hooks {
		app, err := Load(ctx)
		if err != nil {
			return err
		}
		h := &hook{name: name, events: &happened}
		if strings.HasPrefix(name, "!") {
			h.failStart = fmt.Errorf("%s does not start", name)
		}
		app.Register(h)
	}
	return nil
}

func (*user) Start() error { return nil }
func (*user) Stop() error  { return nil }

func config(t *testing.T, hooks ...string) []byte {
	t.Helper()
	c, err := json.Marshal(map[string]any{
		"admin": map[string]any{"disabled": true, "config": map[string]any{"persist": false}},
		"apps":  map[string]any{"registry_startup_test": user{Hooks: hooks}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestInCaddy loads, validates, reloads and stops real configs.
func TestInCaddy(t *testing.T) {
	expect := func(step string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(events(want), happened); diff != "" {
			t.Errorf("%s: events (-want +got):\n%s", step, diff)
		}
		happened = nil
	}
	t.Cleanup(func() { _ = caddy.Stop() })

	var validated caddy.Config
	if err := json.Unmarshal(config(t, "a"), &validated); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&validated); err != nil {
		t.Fatal(err)
	}
	// Validate must leave no trace outside the process.
	expect("validate")

	if err := caddy.Load(config(t, "a", "b"), true); err != nil {
		t.Fatal(err)
	}
	expect("load", "start a", "start b")

	if err := caddy.Load(config(t, "c"), true); err != nil {
		t.Fatal(err)
	}
	expect("reload: the new one runs before the old one stops", "start c", "stop b", "stop a")

	if err := caddy.Load(config(t, "d", "!e", "f"), true); err == nil || !strings.Contains(err.Error(), "!e does not start") {
		t.Errorf("a config that fails to start is loaded: %v", err)
	}
	expect("failed reload: the old one stays", "start d", "start !e", "stop d")

	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	expect("stop", "stop c")
}

// Package startup gives HTTP handlers what only Caddy's apps have: a Start.
//
// `caddy validate` provisions a config without starting it, so Provision must
// not change anything outside of the process. A handler that has to (make a
// file, open a storage for writing) registers a [Hook] instead:
//
//	app, err := startup.Load(ctx)
//	…
//	app.Register(h)
//
// The app needs no configuration; loading it is enough for it to run.
package startup

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
)

// ID is the name of the app.
const ID = "registry_startup"

func init() {
	caddy.RegisterModule(new(App))
}

// Hook is something that begins when a config starts and ends when it stops.
// On a reload the new config's Start runs before the old one's Stop, so that
// two hooks for the same thing overlap.
type Hook interface {
	// Start begins. It is called at most once, may be called while requests
	// are served already, and must return soon. An error refuses the config.
	Start() error

	// Stop ends what Start began and waits for it. It is called only after a
	// Start without an error.
	Stop() error
}

// App runs the hooks that the modules of its config registered.
type App struct {
	hooks   []Hook
	started int
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  ID,
		New: func() caddy.Module { return new(App) },
	}
}

// Load returns the app of the config that ctx belongs to.
func Load(ctx caddy.Context) (*App, error) {
	app, err := ctx.App(ID)
	if err != nil {
		return nil, fmt.Errorf("loading app %s: %w", ID, err)
	}
	return app.(*App), nil
}

// Register adds a hook. It may be called only while the config is provisioned.
func (a *App) Register(h Hook) {
	a.hooks = append(a.hooks, h)
}

// Start runs the hooks in the order in which they were registered. Where one
// fails, those before it are stopped again.
func (a *App) Start() error {
	for _, h := range a.hooks {
		if err := h.Start(); err != nil {
			// Caddy does not stop an app that did not start.
			return errors.Join(err, a.Stop())
		}
		a.started++
	}
	return nil
}

// Stop stops what was started, the last first.
func (a *App) Stop() error {
	var errs []error
	for ; a.started > 0; a.started-- {
		errs = append(errs, a.hooks[a.started-1].Stop())
	}
	return errors.Join(errs...)
}

// Interface guards
var (
	_ caddy.Module = (*App)(nil)
	_ caddy.App    = (*App)(nil)
)

package ddnsipv6

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// house is a config with fakes around it, in the time of a synctest bubble.
type house struct {
	*fakeDNS
	source *fakeSource
	logs   *observer.ObservedLogs

	t        *testing.T
	id, dir  string
	provider string
	token    string
	options  string // more of the policy, as JSON members
	core     zapcore.Core
}

// inHouse runs a test in a bubble. The policy manages nas.example.com.
func inHouse(t *testing.T, test func(*testing.T, *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, dir: t.TempDir(), provider: "fake", token: "s3cr3t-t0ken"}
		h.id, h.fakeDNS, h.source = newFakes(t)
		h.core, h.logs = observer.New(zap.DebugLevel)
		test(t, h)
	})
}

// make provisions the config, as a load does before it starts anything.
func (h *house) make() *App {
	h.t.Helper()
	app, err := h.tryMake(`{"domains": [{"name": "nas.example.com", "zone": "example.com"}],
		"provider": {"name": "` + h.provider + `", "id": "` + h.id + `", "api_token": "` + h.token + `"},
		"sources": [{"source": "fake", "id": "` + h.id + `"}]` + h.options + `}`)
	if err != nil {
		h.t.Fatal(err)
	}
	return app
}

func (h *house) tryMake(policies string) (*App, error) {
	h.t.Helper()
	storage, err := json.Marshal(map[string]string{"module": "file_system", "root": filepath.Join(h.dir, "storage")})
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		StorageRaw: storage,
		AppsRaw:    caddy.ModuleMap{ID: json.RawMessage(`{"policies": [` + policies + `]}`)},
	})
	if err != nil {
		return nil, err
	}
	module, err := ctx.App(ID)
	if err != nil {
		h.t.Fatal(err)
	}
	app := module.(*App)
	app.logger = zap.New(h.core)
	for _, u := range app.updaters {
		u.logger = app.logger
	}
	return app, nil
}

// start runs the config until the test ends, or it is stopped.
func (h *house) start() *App {
	h.t.Helper()
	app := h.make()
	h.run(app)
	return app
}

func (h *house) run(app *App) {
	h.t.Helper()
	if err := app.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { h.stop(app) })
	synctest.Wait()
}

// stop stops a config, unless that was done.
func (h *house) stop(app *App) {
	h.t.Helper()
	if app.ledger.Load() == nil || app.stopped() {
		return
	}
	if err := app.Stop(); err != nil {
		h.t.Error(err)
	}
}

func (a *App) stopped() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// expect holds what nas has against what it should have.
func (h *house) expect(when string, want ...string) {
	h.t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, h.aaaa("nas")); diff != "" {
		h.t.Errorf("%s: AAAA of nas (-want +got):\n%s", when, diff)
	}
}

// expectCalls holds how often the provider was called since the last time;
// deletions are not expected.
func (h *house) expectCalls(when string, gets, sets int) {
	h.t.Helper()
	g, s, d := h.counts()
	if g != gets || s != sets || d != 0 {
		h.t.Errorf("%s: %d reads, %d writes, %d deletions; want %d, %d, 0", when, g, s, d, gets, sets)
	}
	h.change(func(f *fakeDNS) { f.gets, f.sets, f.deletes = nil, nil, nil })
}

// told takes the events that were emitted since the last time, as text.
func told(app *App) (list []string) {
	for {
		select {
		case e := <-app.events.queue:
			list = append(list, fmt.Sprint(e.name, " ", e.data["old"], " ", e.data["new"]))
		default:
			return list
		}
	}
}

// nas is how the name stands.
func nas(app *App) NameStatus { return app.Status().Policies[0].Names[0] }

// Package docker finds a registry's container through Docker's API and gives
// its address to Caddy's reverse proxy.
//
// One goroutine per Docker host and description lists the containers and
// follows Docker's events; another asks each container found whether it is
// healthy. What both know is one immutable value, which requests only read.
// A Docker that does not answer says nothing about the container, so the last
// addresses stay until Docker itself says otherwise.
package docker

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

func init() {
	caddy.RegisterModule(new(Upstreams))
}

// What is used where the config says nothing.
const (
	defaultLabel = "registry-proxy.enable=true"
	defaultHost  = "unix:///var/run/docker.sock"
	defaultPort  = 5000
)

// firstAnswer is how long a config that loads waits for Docker's first
// answer, so that the first requests find an upstream. A Docker that is down
// costs nothing of it on a unix socket: the refusal comes at once.
const firstAnswer = time.Second

// Upstreams is a source of upstreams for reverse_proxy: the running containers
// that match, found through Docker's API and followed through its events. A
// container may restart, move to another address, appear late or never.
//
// Each one is asked for GET /v2/ regularly; 200 and 401 are healthy, unless
// Docker's own health check says "unhealthy". Where several containers match,
// all healthy ones are used, in the order of their names. Where none is
// healthy, all that run are offered, and the request finds out by itself.
//
// Where there is no upstream, the error route of the registry_proxy directive
// tells the client why. The config loads while Docker is down.
//
// The process needs read access to Docker's API: GET /_ping,
// /containers/json, /containers/{id}/json and /events, which is what a socket
// proxy has to let through.
//
// In a Caddyfile all of it is optional:
//
//	dynamic registry_container {
//		label   <key>[=<value>]
//		name    <container>
//		network <network>
//		port    <port>
//		host    <url>
//	}
type Upstreams struct {
	// Label that the container must have: "key", or "key=value" if its value
	// counts too. Placeholders are replaced when the config loads.
	// Default: "registry-proxy.enable=true"; none if Name is set.
	Label string `json:"label,omitempty"`

	// Name of the container, the whole of it. Placeholders are replaced when
	// the config loads. Default: any name.
	Name string `json:"name,omitempty"`

	// Network is the name of the Docker network on which the container is
	// reached. Compose puts the project's name in front: "project_default".
	// Placeholders are replaced when the config loads. Default: a network
	// that this process' own container is on too, else "bridge", else the
	// first by name on which the container has an address. Own container:
	// found by its host name, so if that was changed, set Network.
	Network string `json:"network,omitempty"`

	// Port of the registry inside of the container, 1 to 65535. Placeholders
	// are replaced when the config loads. Default: the only TCP port that the
	// container exposes, otherwise 5000.
	Port string `json:"port,omitempty"`

	// Host is the URL of Docker's API: unix:///path, tcp://host:port,
	// http://host:port or https://host:port (whose certificate the system
	// trusts). Placeholders are replaced when the config loads.
	// Default: "unix:///var/run/docker.sock".
	Host string `json:"host,omitempty"`

	settings settings
	watcher  *watcher
	logger   *zap.Logger
}

// watchers holds one *watcher per [settings]. On a reload the new config finds
// the old one's here, with all that it knows.
var watchers = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*Upstreams) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.upstreams.registry_container",
		New: func() caddy.Module { return new(Upstreams) },
	}
}

// Provision replaces placeholders, sets the defaults and begins to watch,
// which only reads.
func (u *Upstreams) Provision(ctx caddy.Context) error {
	u.logger = ctx.Logger()
	var err error
	if u.settings, err = u.resolve(); err != nil {
		return err
	}

	value, loaded, err := watchers.LoadOrNew(u.settings, func() (caddy.Destructor, error) {
		w := newWatcher(u.settings, defaultTiming, connect)
		w.loggers.add(u.logger)
		w.start()
		return w, nil
	})
	if err != nil {
		return fmt.Errorf("watching Docker at %s: %w", u.settings.host, err)
	}
	u.watcher = value.(*watcher)
	if loaded {
		u.watcher.loggers.add(u.logger)
	}

	wait, cancel := context.WithTimeout(ctx, firstAnswer)
	defer cancel()
	select {
	case <-u.watcher.ready:
	case <-wait.Done():
	}
	return nil
}

// Validate refuses what can't work together.
func (u *Upstreams) Validate() error {
	return u.settings.validate()
}

// Cleanup ends the watching, unless another config shares it.
func (u *Upstreams) Cleanup() error {
	if u.watcher == nil {
		return nil
	}
	u.watcher.loggers.remove(u.logger)
	_, err := watchers.Delete(u.settings)
	return err
}

// GetUpstreams returns what is known now, without I/O. Where that is nothing,
// or doubtful, the reason is left at the request (see [ocierror.SetReason]).
func (u *Upstreams) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	s := u.watcher.snapshot.Load()
	// A reason that an earlier try of the same request left is out of date.
	if s.reason != nil || ocierror.Reason(r) != nil {
		ocierror.SetReason(r, s.reason)
	}
	// The reverse proxy writes into what it gets, for each request: shared
	// values would race.
	fresh := make([]reverseproxy.Upstream, len(s.dials))
	upstreams := make([]*reverseproxy.Upstream, len(s.dials))
	for i, dial := range s.dials {
		fresh[i].Dial = dial
		upstreams[i] = &fresh[i]
	}
	return upstreams, nil
}

// ResetCache asks for a new list of containers: the reverse proxy calls it
// before it repeats a request that failed. It does not wait, so there should
// be some time between two tries (lb_try_interval).
func (u *Upstreams) ResetCache(*http.Request) error {
	u.watcher.hint()
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner                  = (*Upstreams)(nil)
	_ caddy.Validator                    = (*Upstreams)(nil)
	_ caddy.CleanerUpper                 = (*Upstreams)(nil)
	_ reverseproxy.CachingUpstreamSource = (*Upstreams)(nil)
)

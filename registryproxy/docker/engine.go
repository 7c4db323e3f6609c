package docker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	dockercontainer "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
)

// engine is the part of Docker's API that is needed here. This file is the
// only one that knows which library speaks it.
type engine interface {
	// containers returns all that match s, whatever their state.
	containers(ctx context.Context, s settings) ([]container, error)

	// version returns those of Docker and of the newest API that it speaks;
	// empty what Docker, or a proxy before it, keeps to itself.
	version(ctx context.Context) (Version, error)

	// networks returns the names of the networks that a container is on.
	// Where there is no such container, that is none and no error.
	networks(ctx context.Context, id string) ([]string, error)

	// events sends to hint, without blocking, when containers changed since
	// the given time. It returns when the stream ends: nil if Docker, or a
	// proxy before it, ended it in the normal way.
	events(ctx context.Context, since time.Time, hint func()) error

	// close frees connections.
	close()
}

// refusal is an error that Docker, or a proxy before it, answered with, as
// opposed to no answer.
type refusal struct{ error }

func (e refusal) Unwrap() error { return e.error }

// dialTimeout bounds the connect to Docker.
const dialTimeout = 5 * time.Second

// api speaks Docker's API, version 1.24 and later; no field that came after
// 1.40 is used.
type api struct {
	client *client.Client
	// dialErr is why the last attempt to connect failed, nil if it did not.
	// The client replaces such errors by a text that no longer says whether
	// the socket is missing, forbidden or dead.
	dialErr atomic.Pointer[error]
}

// connect returns an engine for h. The connection itself is made by the first
// call, and the API's version is negotiated then: an engine should not
// outlive a restart of Docker.
func connect(h host) (engine, error) {
	a := new(api)
	dialer := net.Dialer{Timeout: dialTimeout}
	options := []client.Opt{
		client.WithHost(h.String()),
		client.WithAPIVersionNegotiation(),
		client.WithDialContext(func(ctx context.Context, network, addr string) (net.Conn, error) {
			if h.scheme == "unix" {
				network, addr = "unix", h.addr
			}
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				a.dialErr.Store(&err)
				return nil, err
			}
			a.dialErr.Store(nil)
			return conn, nil
		}),
	}
	if h.scheme == "https" {
		// From the URL alone the client would speak HTTP without TLS.
		options = append(options, client.WithScheme("https"), withTLS)
	}
	c, err := client.NewClientWithOpts(options...)
	if err != nil {
		return nil, err
	}
	a.client = c
	return a, nil
}

func withTLS(c *client.Client) error {
	transport, ok := c.HTTPClient().Transport.(*http.Transport)
	if !ok {
		return fmt.Errorf("no TLS over a %T", c.HTTPClient().Transport)
	}
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	return nil
}

func (a *api) containers(ctx context.Context, s settings) ([]container, error) {
	f := filters.NewArgs()
	if s.label.key != "" {
		f.Add("label", s.label.String())
	}
	if s.name != "" {
		// A regular expression, matched with and without the leading slash.
		f.Add("name", "^/?"+regexp.QuoteMeta(s.name)+"$")
	}
	list, err := a.client.ContainerList(ctx, dockercontainer.ListOptions{All: true, Filters: f})
	if err != nil {
		return nil, a.failure(err)
	}

	var found []container
	for _, item := range list {
		c, err := a.inspect(ctx, item.ID)
		switch {
		case errdefs.IsNotFound(err):
			// It went away in between; its event brings the next list.
		case err != nil:
			return nil, err
		default:
			found = append(found, c)
		}
	}
	return found, nil
}

func (a *api) inspect(ctx context.Context, id string) (container, error) {
	response, err := a.client.ContainerInspect(ctx, id)
	if err != nil {
		return container{}, a.failure(err)
	}
	if response.ContainerJSONBase == nil {
		return container{}, refusal{fmt.Errorf("container %s came without its description", id)}
	}
	return fromInspect(response), nil
}

// fromInspect keeps what is needed of Docker's description of a container.
func fromInspect(r dockercontainer.InspectResponse) container {
	c := container{id: r.ID, name: strings.TrimPrefix(r.Name, "/")}
	if s := r.State; s != nil {
		c.state = s.Status
		c.exitCode = s.ExitCode
		c.outOfMemory = s.OOMKilled
		// A container that never ran has the year 1; podman has no text.
		c.finished, _ = time.Parse(time.RFC3339Nano, s.FinishedAt)
		c.unhealthy = s.Health != nil && s.Health.Status == dockercontainer.Unhealthy
	}
	if r.HostConfig != nil {
		c.networkMode = string(r.HostConfig.NetworkMode)
	}
	if r.Config != nil {
		c.labels = r.Config.Labels
		for port := range r.Config.ExposedPorts {
			if port.Proto() == "tcp" && port.Int() > 0 {
				c.tcpPorts = append(c.tcpPorts, uint16(port.Int())) //nolint:gosec // Docker parsed it as 16 bits
			}
		}
	}
	if r.NetworkSettings != nil {
		for name, n := range r.NetworkSettings.Networks {
			if n == nil {
				continue
			}
			// Text that is no address is the same as none.
			ipv4, _ := netip.ParseAddr(n.IPAddress)
			ipv6, _ := netip.ParseAddr(n.GlobalIPv6Address)
			c.networks = append(c.networks, attachment{network: name, ipv4: ipv4, ipv6: ipv6})
		}
	}
	return c
}

func (a *api) version(ctx context.Context) (Version, error) {
	ping, err := a.client.Ping(ctx)
	if err != nil {
		// Lists may be permitted nevertheless.
		if err = a.failure(err); !errors.As(err, new(refusal)) {
			return Version{}, err
		}
	}
	v := Version{API: ping.APIVersion}
	server, err := a.client.ServerVersion(ctx)
	if err != nil {
		if err = a.failure(err); !errors.As(err, new(refusal)) {
			return Version{}, err
		}
		return v, nil
	}
	v.Engine = server.Version
	return v, nil
}

func (a *api) networks(ctx context.Context, id string) ([]string, error) {
	c, err := a.inspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(c.networks))
	for _, n := range c.networks {
		names = append(names, n.network)
	}
	return names, nil
}

// watched are the events after which the answer may be another one. There is
// no filter by label: network events don't carry a container's labels.
var watched = filters.NewArgs(
	filters.Arg("type", string(events.ContainerEventType)),
	filters.Arg("type", string(events.NetworkEventType)),
	filters.Arg("event", string(events.ActionCreate)),
	filters.Arg("event", string(events.ActionStart)),
	filters.Arg("event", string(events.ActionDie)),
	filters.Arg("event", string(events.ActionStop)),
	filters.Arg("event", string(events.ActionPause)),
	filters.Arg("event", string(events.ActionUnPause)),
	filters.Arg("event", string(events.ActionDestroy)),
	filters.Arg("event", string(events.ActionRename)),
	filters.Arg("event", string(events.ActionHealthStatus)),
	filters.Arg("event", string(events.ActionConnect)),
	filters.Arg("event", string(events.ActionDisconnect)),
)

func (a *api) events(ctx context.Context, since time.Time, hint func()) error {
	messages, errs := a.client.Events(ctx, events.ListOptions{
		Since:   fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond()),
		Filters: watched,
	})
	for {
		select {
		case <-messages:
			hint()
		case err := <-errs:
			// errs has one error, which is the last that the client's
			// goroutine does.
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			return a.failure(err)
		}
	}
}

// failure gives err back what the client took from it.
func (a *api) failure(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case client.IsErrConnectionFailed(err):
		if dialErr := a.dialErr.Load(); dialErr != nil {
			return *dialErr
		}
		return err
	case errors.As(err, new(net.Error)):
		return err
	default:
		return refusal{err}
	}
}

func (a *api) close() {
	_ = a.client.Close() // never fails
}

// Interface guards
var (
	_ engine = (*api)(nil)
)

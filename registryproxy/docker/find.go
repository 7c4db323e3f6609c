package docker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Version is what Docker says of itself. A proxy before its socket may keep
// that back: then fields are empty.
type Version struct {
	Host   string // the URL of its API
	Engine string // such as "28.5.2"
	API    string // the newest that it speaks, such as "1.51"
}

// Found is what one look at Docker's containers found.
type Found struct {
	// Containers are all that the options describe, whatever their state, by
	// name.
	Containers []FoundContainer
	// Why no container can be used, in the words that clients get; empty if one
	// can.
	Why string
}

// FoundContainer is a container that the options describe.
type FoundContainer struct {
	Name string
	// State in Docker's words: created, running, paused, restarting, removing,
	// exited or dead.
	State string
	// Unhealthy by Docker's own health check. One that is not healthy yet is not
	// unhealthy.
	Unhealthy bool
	// Addr is where the registry is reached; invalid if there is a problem.
	Addr netip.AddrPort
	// Network is the one on which Addr is.
	Network string
	// Problem is why the container can't be used, as the predicate of a sentence
	// about it; empty if it can.
	Problem string
}

// Failure is why Docker could not be asked: a sentence for the operator, that
// wraps what the call failed with. [fs.ErrNotExist], [fs.ErrPermission],
// [syscall.ECONNREFUSED] and [context.DeadlineExceeded] tell the common ones
// apart.
type Failure struct {
	// Host is the URL of Docker's API.
	Host string
	// Refused says that there was an answer: that the list of containers is not
	// given.
	Refused bool

	sentence string
	err      error
}

// Error returns the sentence.
func (f *Failure) Error() string { return f.sentence }

// Unwrap returns what the call failed with.
func (f *Failure) Unwrap() error { return f.err }

// Ask asks Docker for its version. It needs no Provision, which begins to watch;
// placeholders are replaced here, and defaults set. Errors other than
// [*Failure] are about the options.
func (u *Upstreams) Ask(ctx context.Context) (Version, error) {
	var v Version
	err := u.once(func(w *watcher, e engine) (err error) {
		ctx, cancel := context.WithTimeout(ctx, w.timing.call)
		defer cancel()
		v, err = e.version(ctx)
		v.Host = w.settings.host.String()
		return err
	})
	return v, err
}

// Find lists the containers once, and chooses among them, their networks and
// their ports as GetUpstreams does. Whether a registry answers there it does not
// look at. As for Ask, no Provision is needed.
func (u *Upstreams) Find(ctx context.Context) (Found, error) {
	var found Found
	err := u.once(func(w *watcher, e engine) error {
		l := w.ask(ctx, e)
		if l.err != nil {
			return l.err
		}
		found = l.found(w.settings, time.Now())
		return nil
	})
	return found, err
}

// once connects to Docker for one call.
func (u *Upstreams) once(call func(*watcher, engine) error) error {
	copied := Upstreams{Label: u.Label, Name: u.Name, Network: u.Network, Port: u.Port, Host: u.Host}
	s, err := copied.resolve()
	if err != nil {
		return err
	}
	if err := s.validate(); err != nil {
		return err
	}
	w := newWatcher(s, defaultTiming, connect) // it is not started
	e, err := w.connect(s.host)
	if err != nil {
		return fmt.Errorf("host: %w", err)
	}
	defer e.close()
	if err := call(w, e); err != nil {
		refused := errors.As(err, new(refusal))
		return &Failure{Host: s.host.String(), Refused: refused, sentence: explain(s.host, err), err: err}
	}
	return nil
}

// found draws the conclusion of a list.
func (l listing) found(s settings, now time.Time) Found {
	var f Found
	_, f.Why = choose(l.containers, s, l.own, now)
	for _, c := range match(l.containers, s) {
		candidate, problem := assess(c, s, l.own, now)
		f.Containers = append(f.Containers, FoundContainer{
			Name:      c.name,
			State:     c.state,
			Unhealthy: c.unhealthy,
			Addr:      candidate.addr,
			Network:   networkOf(c, candidate.addr.Addr()),
			Problem:   problem,
		})
	}
	return f
}

// networkOf returns the network on which a container has an address.
func networkOf(c container, addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	for _, a := range c.networks {
		if a.addr() == addr {
			return a.network
		}
	}
	return c.networkMode // the host's
}

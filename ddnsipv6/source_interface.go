package ddnsipv6

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(InterfaceSource))
}

// InterfaceSource publishes an address of this host's network interfaces. On
// Linux the kernel tells at once when one changes; elsewhere the interfaces are
// looked at every 30 seconds, and temporary or deprecated addresses can't be
// told from others.
//
//	source interface [<name>...]
type InterfaceSource struct {
	// Names are the interfaces whose addresses may be published, such as
	// "eth0". Default: those that the IPv6 default route leads over.
	Names []string `json:"names,omitempty"`

	names  []string
	logger *zap.Logger
	read   func(context.Context) (hostState, error)

	mu      sync.Mutex      // guards all following fields
	missing map[string]bool // the names that were logged as missing
}

// CaddyModule returns the Caddy module information.
func (*InterfaceSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ddns_ipv6.sources.interface",
		New: func() caddy.Module { return new(InterfaceSource) },
	}
}

// UnmarshalCaddyfile sets the names from Caddyfile tokens.
func (s *InterfaceSource) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // module name
	for d.NextArg() {
		if slices.Contains(s.Names, d.Val()) {
			return d.Errf("source interface names %s twice", d.Val())
		}
		s.Names = append(s.Names, d.Val())
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("source interface has no options, found %s", d.Val())
	}
	return nil
}

// Provision takes in the names. Whether there are such interfaces shows later:
// they may come and go.
func (s *InterfaceSource) Provision(ctx caddy.Context) error {
	for _, written := range s.Names {
		name, err := replaced(written)
		switch {
		case err != nil:
			return err
		case name == "":
			return errors.New("source interface: a name is empty")
		case slices.Contains(s.names, name):
			return fmt.Errorf("source interface names %s twice", name)
		}
		s.names = append(s.names, name)
	}
	s.logger = ctx.Logger()
	s.read = readHost
	s.missing = make(map[string]bool)
	return nil
}

// Addresses reads the addresses of the interfaces. It is an error if none of
// those that are named exists. Without names, addresses beside the default
// route are returned as rejected.
func (s *InterfaceSource) Addresses(ctx context.Context) ([]Address, error) {
	host, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	if len(s.names) == 0 {
		return host.onDefaultRoute(), nil
	}
	addresses, missing := host.on(s.names)
	if len(missing) == len(s.names) {
		return nil, host.noneExists(missing)
	}
	s.report(missing)
	return addresses, nil
}

// Watch waits for the kernel's events.
func (s *InterfaceSource) Watch(ctx context.Context, changed func()) {
	watchHost(ctx, s.logger, changed)
}

// report logs which named interfaces went missing and which are back. Where
// none exists it is not called: that error is the caller's to log.
func (s *InterfaceSource) report(missing []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.names {
		switch gone := slices.Contains(missing, name); {
		case gone && !s.missing[name]:
			s.logger.Warn("interface does not exist, using the others", zap.String("interface", name))
			s.missing[name] = true
		case !gone && s.missing[name]:
			s.logger.Info("interface exists again", zap.String("interface", name))
			delete(s.missing, name)
		}
	}
}

// hostState is what the kernel knew of this host at one moment.
type hostState struct {
	links     []link
	addresses []Address
}

// link is a network interface.
type link struct {
	index    uint32
	name     string
	loopback bool
	// port tells that it belongs to a bridge or the like, as the host's ends
	// of containers do: they come and go, and have no address of use.
	port bool
}

// onDefaultRoute returns all addresses that others could reach, and rejects
// those of interfaces without the default route.
func (h *hostState) onDefaultRoute() []Address {
	addresses := make([]Address, 0, len(h.addresses))
	for _, a := range h.addresses {
		if slices.ContainsFunc(h.links, func(l link) bool { return l.loopback && l.name == a.Interface }) {
			continue
		}
		if !a.DefaultRoute {
			a.Rejected = NotOnDefaultRoute
		}
		addresses = append(addresses, a)
	}
	return addresses
}

// on returns the addresses of the named interfaces, and which don't exist.
func (h *hostState) on(names []string) (addresses []Address, missing []string) {
	for _, name := range names {
		if !slices.ContainsFunc(h.links, func(l link) bool { return l.name == name }) {
			missing = append(missing, name)
		}
	}
	for i := range h.addresses {
		if slices.Contains(names, h.addresses[i].Interface) {
			addresses = append(addresses, h.addresses[i])
		}
	}
	return addresses, missing
}

// noneExists is the error of names without an interface. It leaves out the
// ports, so that its text doesn't change whenever a container starts.
func (h *hostState) noneExists(names []string) error {
	var exist []string
	for _, l := range h.links {
		if !l.port {
			exist = append(exist, l.name)
		}
	}
	slices.Sort(exist)
	there := "; there are: " + strings.Join(exist, ", ")
	if len(names) == 1 {
		return fmt.Errorf("interface %q does not exist%s", names[0], there)
	}
	return fmt.Errorf("none of the interfaces %s exists%s", strings.Join(names, ", "), there)
}

// Interface guards
var (
	_ Source                = (*InterfaceSource)(nil)
	_ caddy.Module          = (*InterfaceSource)(nil)
	_ caddy.Provisioner     = (*InterfaceSource)(nil)
	_ caddyfile.Unmarshaler = (*InterfaceSource)(nil)
)

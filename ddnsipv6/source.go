package ddnsipv6

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(new(StaticSource))
}

// Source is implemented by the modules in the namespace ddns_ipv6.sources. It
// knows this host's IPv6 addresses, and when to ask for them again.
//
// A source MUST be safe for concurrent use: on a reload, the old config and the
// new one overlap. It MUST NOT do anything outside of the process before one of
// its methods is called.
type Source interface {
	// Addresses returns all addresses of the host, those that must not be
	// published included: [Select] judges them, and the operator sees why.
	// An empty list means that there are none, for certain. Where the source
	// does not know, it MUST return an error, and the names stay as they are.
	// The error's text SHOULD stay the same while its cause does: it is
	// logged when it changes.
	//
	// It MUST end when ctx does, and SHOULD take less than a second. The
	// caller keeps the list, and changes nothing in it.
	Addresses(ctx context.Context) ([]Address, error)

	// Watch calls changed whenever Addresses may return something else than
	// before, and returns when ctx is done. A call is a hint: it may come
	// without a cause, and one too many does no harm. A source that polls
	// calls changed at its interval; one that gets events SHOULD call it from
	// time to time, too, in case that one was lost, and each time that it
	// lost sight of the events. changed does not block.
	Watch(ctx context.Context, changed func())
}

// StaticSource publishes addresses that are written in the config: for a host
// whose address never changes, or is set by something that writes the config.
//
//	source static <address>[/<prefix length>]...
type StaticSource struct {
	// Addrs are the addresses, such as "2600:db8::1" or "2600:db8::1/56". The
	// prefix length is for the names of other devices. Default: 64.
	Addrs []string `json:"addresses,omitempty"`

	addresses []Address
}

// CaddyModule returns the Caddy module information.
func (*StaticSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ddns_ipv6.sources.static",
		New: func() caddy.Module { return new(StaticSource) },
	}
}

// UnmarshalCaddyfile sets the addresses from Caddyfile tokens.
func (s *StaticSource) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // module name
	if s.Addrs = d.RemainingArgs(); len(s.Addrs) == 0 {
		return d.ArgErr()
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("source static has no options, found %s", d.Val())
	}
	return nil
}

// Provision parses the addresses.
func (s *StaticSource) Provision(caddy.Context) error {
	if len(s.Addrs) == 0 {
		return errors.New("source static needs an address")
	}
	for _, written := range s.Addrs {
		value, err := replaced(written)
		if err != nil {
			return err
		}
		prefix, err := netip.ParsePrefix(value)
		if err != nil {
			ip, err := netip.ParseAddr(value)
			if err != nil || ip.Zone() != "" {
				return fmt.Errorf("source static: %q is not an IPv6 address", value)
			}
			prefix = netip.PrefixFrom(ip, 64)
		}
		if reason := (Filter{Include: []netip.Prefix{netip.PrefixFrom(netip.IPv6Unspecified(), 0)}}).network(prefix.Addr()); reason != Usable {
			return fmt.Errorf("source static: %s: %s", value, reason)
		}
		s.addresses = append(s.addresses, Address{
			IP: prefix.Addr(), Prefix: prefix.Masked(), DefaultRoute: true, Flags: FlagPermanent,
			Preferred: Forever, Valid: Forever,
		})
	}
	return nil
}

// Addresses returns the addresses of the config.
func (s *StaticSource) Addresses(context.Context) ([]Address, error) { return s.addresses, nil }

// Watch waits for ctx: nothing changes but by a reload.
func (s *StaticSource) Watch(ctx context.Context, _ func()) { <-ctx.Done() }

// replaced returns a string with its placeholders replaced. One that is unknown
// or empty is an error: a name or an address without it would be another one.
func replaced(s string) (string, error) {
	return caddy.NewReplacer().ReplaceOrErr(s, true, true)
}

// Interface guards
var (
	_ Source                = (*StaticSource)(nil)
	_ caddy.Module          = (*StaticSource)(nil)
	_ caddy.Provisioner     = (*StaticSource)(nil)
	_ caddyfile.Unmarshaler = (*StaticSource)(nil)
)

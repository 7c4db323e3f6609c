package docker

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile reads the options, each at most once and with one value:
//
//	<directive> {
//		label   <key>[=<value>]
//		name    <container>
//		network <network>
//		port    <port>
//		host    <url>
//	}
//
// It serves both "dynamic registry_container" within reverse_proxy and the
// block "docker" within registry_proxy.
func (u *Upstreams) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the directive's name
	directive := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes a block of options, not the argument %q", directive, d.Val())
	}

	options := map[string]*string{
		"label":   &u.Label,
		"name":    &u.Name,
		"network": &u.Network,
		"port":    &u.Port,
		"host":    &u.Host,
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		value, ok := options[option]
		if !ok {
			return d.Errf("%s has no option %q: it knows label, name, network, port and host", directive, option)
		}
		if *value != "" {
			return d.Errf("%s is given more than once", option)
		}
		args := d.RemainingArgs()
		if len(args) != 1 {
			return d.Errf("%s takes one value, not %d", option, len(args))
		}
		if args[0] == "" {
			return d.Errf("%s is empty", option)
		}
		*value = args[0]
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Upstreams)(nil)
)

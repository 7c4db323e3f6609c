package ddnsipv6

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption(ID, parseGlobalOption)
}

// parseGlobalOption adds a policy to the app. The option may be repeated:
//
//	ddns_ipv6 {
//		domain <name> [zone <zone>] [suffix <::1:2> | mac <00:11:32:aa:bb:cc>]
//		provider <name> ...
//		source <name> ...
//		include <prefix>...
//		exclude <prefix>...
//		ttl <duration>
//		verify_interval <duration>
//		keepalive <duration>|off
//		on_missing keep|remove
//		resolvers <address>...
//	}
//
// domain and source may be repeated, and so may the options with lists.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	var app App
	if before, ok := existing.(httpcaddyfile.App); ok {
		if err := json.Unmarshal(before.Value, &app); err != nil {
			return nil, fmt.Errorf("adding to the %s option: %w", ID, err)
		}
	}
	policy := new(Policy)
	if err := policy.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	app.Policies = append(app.Policies, policy)
	return httpcaddyfile.App{Name: ID, Value: caddyconfig.JSON(&app, nil)}, nil
}

// UnmarshalCaddyfile sets the policy from Caddyfile tokens.
func (p *Policy) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // option name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		// These take one value, so that a second one would hide the first.
		switch option {
		case "provider", "ttl", "verify_interval", "keepalive", "on_missing":
			if seen[option] {
				return d.Errf("%s is set twice", option)
			}
			seen[option] = true
		}
		if err := p.unmarshalOption(d, option); err != nil {
			return err
		}
	}
	if len(p.Domains) == 0 {
		return d.Errf("%s lists no domain", ID)
	}
	if p.ProviderRaw == nil {
		return d.Errf("%s has no provider", ID)
	}
	return nil
}

func (p *Policy) unmarshalOption(d *caddyfile.Dispenser, option string) (err error) {
	switch option {
	case "domain":
		var domain Domain
		if err = domain.unmarshal(d); err == nil {
			p.Domains = append(p.Domains, domain)
		}
	case "provider":
		p.ProviderRaw, err = unmarshalModule(d, "dns.providers.", "name")
	case "source":
		var raw json.RawMessage
		if raw, err = unmarshalModule(d, "ddns_ipv6.sources.", "source"); err == nil {
			p.SourcesRaw = append(p.SourcesRaw, raw)
		}
	case "include":
		err = unmarshalList(d, &p.Include)
	case "exclude":
		err = unmarshalList(d, &p.Exclude)
	case "resolvers":
		err = unmarshalList(d, &p.Resolvers)
	case "ttl":
		p.TTL, err = unmarshalDuration(d, false)
	case "verify_interval":
		p.VerifyInterval, err = unmarshalDuration(d, false)
	case "keepalive":
		var keepalive caddy.Duration
		if keepalive, err = unmarshalDuration(d, true); err == nil {
			p.Keepalive = &keepalive
		}
	case "on_missing":
		if !d.AllArgs(&p.OnMissing) {
			return d.ArgErr()
		}
	default:
		return d.Errf("unknown option %s of %s", option, ID)
	}
	return err
}

func (d *Domain) unmarshal(tokens *caddyfile.Dispenser) error {
	if !tokens.NextArg() {
		return tokens.ArgErr()
	}
	d.Name = tokens.Val()
	for tokens.NextArg() {
		var value *string
		switch tokens.Val() {
		case "zone":
			value = &d.Zone
		case "suffix":
			value = &d.Suffix
		case "mac":
			value = &d.MAC
		default:
			return tokens.Errf("unknown option %s of domain %s; each domain has a line of its own", tokens.Val(), d.Name)
		}
		if *value != "" {
			return tokens.Errf("%s of domain %s is set twice", tokens.Val(), d.Name)
		}
		if !tokens.NextArg() {
			return tokens.ArgErr()
		}
		*value = tokens.Val()
	}
	if d.Suffix != "" && d.MAC != "" {
		return tokens.Errf("domain %s has a suffix and a mac; they exclude each other", d.Name)
	}
	return nil
}

func unmarshalModule(d *caddyfile.Dispenser, namespace, inlineKey string) (json.RawMessage, error) {
	if !d.NextArg() {
		return nil, d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, namespace+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(module, inlineKey, name, nil), nil
}

func unmarshalList(d *caddyfile.Dispenser, list *[]string) error {
	values := d.RemainingArgs()
	if len(values) == 0 {
		return d.ArgErr()
	}
	*list = append(*list, values...)
	return nil
}

// unmarshalDuration reads a duration of a second or more, or "off" where that
// is possible: 0.
func unmarshalDuration(d *caddyfile.Dispenser, mayBeOff bool) (caddy.Duration, error) {
	option := d.Val()
	var value string
	if !d.AllArgs(&value) {
		return 0, d.ArgErr()
	}
	if mayBeOff && value == "off" {
		return 0, nil
	}
	duration, err := caddy.ParseDuration(value)
	if err != nil {
		return 0, d.Errf("%s: %v", option, err)
	}
	if duration < time.Second {
		return 0, d.Errf("%s is %s; it must be at least 1s", option, value)
	}
	return caddy.Duration(duration), nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Policy)(nil)

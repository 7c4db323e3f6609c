package registryproxy

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/access"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/blobs"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/docker"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/embedded"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/htpasswd"
)

// options are what a registry_proxy block says. Exactly one of to, docker and
// embedded is set.
type options struct {
	to       *reverseproxy.Handler
	docker   *docker.Upstreams
	embedded *embedded.Handler

	htpasswd *htpasswd.Provider
	access   *access.Handler
	blobs    *blobs.Handler // nil: the registry serves them
}

// parseOptions reads the block of the directive.
func parseOptions(d *caddyfile.Dispenser) (*options, error) {
	o := &options{access: new(access.Handler)}
	d.Next() // the directive's name
	if d.NextArg() {
		return nil, d.Errf("registry_proxy takes no argument but a matcher; %q belongs into its block, as in: to %[1]s", d.Val())
	}
	for d.NextBlock(0) {
		if err := o.parse(d.Val(), d); err != nil {
			return nil, err
		}
	}
	switch {
	case o.to == nil && o.docker == nil && o.embedded == nil:
		return nil, d.Err("registry_proxy doesn't say where the registry is: it needs one of docker, to, embedded")
	case o.htpasswd == nil:
		return nil, d.Err("registry_proxy needs users, as in: htpasswd /auth/htpasswd")
	case o.blobs != nil && o.embedded != nil:
		return nil, d.Err("blobs_from is for docker and to; an embedded registry serves its own folder already")
	}
	o.htpasswd.Anonymous = slices.ContainsFunc(o.access.Allow, func(r access.Rule) bool {
		return r.Subject == access.Anonymous
	})
	return o, nil
}

// parse reads one option, of which d is at the name.
func (o *options) parse(name string, d *caddyfile.Dispenser) error {
	switch name {
	case "to", "docker", "embedded":
		return o.parsePlace(name, d)
	case "htpasswd":
		if o.htpasswd != nil {
			return d.Err("htpasswd is given more than once")
		}
		o.htpasswd = new(htpasswd.Provider)
		return o.htpasswd.UnmarshalCaddyfile(d.NewFromNextSegment())
	case "blobs_from":
		if o.blobs != nil {
			return d.Err("blobs_from is given more than once")
		}
		o.blobs = new(blobs.Handler)
		segment := d.NewFromNextSegment()
		if err := o.blobs.UnmarshalCaddyfile(segment); err != nil {
			return err
		}
		return noBlock(segment, name)
	case "group":
		return o.parseGroup(d)
	case "allow":
		return o.parseAllow(d)
	default:
		return d.Errf("unknown option %q; there are: docker, to, embedded, htpasswd, blobs_from, group, allow", name)
	}
}

// parsePlace reads where the registry is.
func (o *options) parsePlace(name string, d *caddyfile.Dispenser) error {
	if o.to != nil || o.docker != nil || o.embedded != nil {
		return d.Errf("%s: the registry's place is given already; docker, to and embedded exclude each other", name)
	}
	segment := d.NewFromNextSegment()
	switch name {
	case "docker":
		o.docker = new(docker.Upstreams)
		return o.docker.UnmarshalCaddyfile(segment)
	case "embedded":
		o.embedded = new(embedded.Handler)
		if err := o.embedded.UnmarshalCaddyfile(segment); err != nil {
			return err
		}
		return noBlock(segment, name)
	default:
		return o.parseTo(segment)
	}
}

// parseTo reads upstreams as reverse_proxy does, but not the options of that:
// they could undo what this directive takes care of.
func (o *options) parseTo(segment *caddyfile.Dispenser) error {
	count := 0
	for segment.Next(); segment.NextArg(); count++ {
	}
	if count == 0 {
		return segment.Err("to needs at least one upstream, as in: to 127.0.0.1:5003")
	}
	if err := noBlock(segment, "to"); err != nil {
		return err
	}
	segment.Reset()
	o.to = new(reverseproxy.Handler)
	if err := o.to.UnmarshalCaddyfile(segment); err != nil {
		return err
	}
	for _, u := range o.to.Upstreams {
		if !strings.HasPrefix(u.Dial, "unix") && strings.Contains(u.Dial, "/") {
			return segment.Errf("to: %q is not an address: an upstream has a host and a port, and no path", u.Dial)
		}
	}
	return nil
}

// noBlock refuses a block after an option that takes none.
func noBlock(d *caddyfile.Dispenser, name string) error {
	if d.NextBlock(d.Nesting()) {
		return d.Errf("%s takes no block", name)
	}
	return nil
}

// parseGroup reads: group <name> <user>...
func (o *options) parseGroup(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Err("group takes a name and at least one user, as in: group ci bob carol")
	}
	name := strings.TrimPrefix(args[0], "@")
	if _, ok := o.access.Groups[name]; ok {
		return d.Errf("group %s is given more than once", name)
	}
	if o.access.Groups == nil {
		o.access.Groups = make(map[string][]string)
	}
	o.access.Groups[name] = args[1:]
	return noBlock(d, "group")
}

// parseAllow reads: allow <subject> <action>[,<action>...] <repository>...
func (o *options) parseAllow(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 3 {
		return d.Err("allow takes who, what and where, as in: allow alice pull,push team/**")
	}
	rule := access.Rule{Subject: args[0], Actions: strings.Split(args[1], ","), Repositories: args[2:]}
	o.access.Allow = append(o.access.Allow, rule)
	return noBlock(d, "allow")
}

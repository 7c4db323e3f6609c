package docker

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// settings is the config in a form that needs no more checks. It is
// comparable: equal settings share a watcher.
type settings struct {
	host    host
	label   label  // zero: no label demanded
	name    string // "": any
	network string // "": see chooseAddress
	port    uint16 // zero: see choosePort
}

// containerName is what Docker accepts as the name of a container.
//
// Source: https://github.com/moby/moby/blob/v28.5.2/daemon/names/names.go
var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// resolve replaces placeholders, sets the defaults and reads the options.
func (u *Upstreams) resolve() (settings, error) {
	if err := u.replacePlaceholders(); err != nil {
		return settings{}, err
	}
	if u.Label == "" && u.Name == "" {
		u.Label = defaultLabel
	}
	if u.Host == "" {
		u.Host = defaultHost
	}
	return u.parse()
}

// replacePlaceholders replaces them in all options. A placeholder without a
// value is an error: a name that turns out empty would match any container.
func (u *Upstreams) replacePlaceholders() error {
	repl := caddy.NewReplacer()
	for _, o := range []struct {
		name  string
		value *string
	}{
		{"label", &u.Label}, {"name", &u.Name}, {"network", &u.Network}, {"port", &u.Port}, {"host", &u.Host},
	} {
		if *o.value == "" {
			continue
		}
		value, err := repl.ReplaceOrErr(*o.value, true, true)
		if err != nil {
			return fmt.Errorf("%s: %w", o.name, err)
		}
		*o.value = value
	}
	return nil
}

// parse reads the options, in which defaults are set.
func (u *Upstreams) parse() (settings, error) {
	s := settings{name: u.Name, network: u.Network}
	var err error
	if s.host, err = parseHost(u.Host); err != nil {
		return settings{}, fmt.Errorf("host: %w", err)
	}
	if u.Label != "" {
		if s.label, err = parseLabel(u.Label); err != nil {
			return settings{}, fmt.Errorf("label: %w", err)
		}
	}
	if u.Name != "" && !containerName.MatchString(u.Name) {
		return settings{}, fmt.Errorf("name: %q can't be the name of a container", u.Name)
	}
	if u.Port != "" {
		port, err := strconv.ParseUint(u.Port, 10, 16)
		if err != nil || port == 0 {
			return settings{}, fmt.Errorf("port: %q is not a number from 1 to 65535", u.Port)
		}
		s.port = uint16(port)
	}
	return s, nil
}

// validate refuses what can't work.
func (s settings) validate() error {
	if s.network == "none" {
		return errors.New(`network: on "none" no container has an address`)
	}
	return nil
}

// String names what is looked for, as the object of "there is no …".
func (s settings) String() string {
	what := "container"
	if s.name != "" {
		what += " named " + s.name
	}
	if s.label.key != "" {
		what += " with the label " + s.label.String()
	}
	return what
}

// label is what a container must be labelled with.
type label struct {
	key, value string
	anyValue   bool
}

// parseLabel reads "key" or "key=value".
func parseLabel(s string) (label, error) {
	key, value, found := strings.Cut(s, "=")
	if key == "" {
		return label{}, fmt.Errorf("%q has no key", s)
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return label{}, fmt.Errorf("%q has a space or control character in its key", s)
	}
	return label{key: key, value: value, anyValue: !found}, nil
}

// String returns the form that parseLabel reads, which is Docker's too.
func (l label) String() string {
	if l.anyValue {
		return l.key
	}
	return l.key + "=" + l.value
}

// matches reports whether a container with these labels has l.
func (l label) matches(labels map[string]string) bool {
	if l.key == "" {
		return true
	}
	value, ok := labels[l.key]
	return ok && (l.anyValue || value == l.value)
}

// host is where Docker's API is.
type host struct {
	scheme string // unix, tcp, http, https
	addr   string // the path of the socket, or host:port
}

func (h host) String() string { return h.scheme + "://" + h.addr }

// parseHost reads the URL of Docker's API. It is stricter than Docker's
// client, which speaks HTTP without TLS to an https URL.
func parseHost(s string) (host, error) {
	scheme, rest, found := strings.Cut(s, "://")
	if !found {
		return host{}, fmt.Errorf("%q is not a URL such as %s", s, defaultHost)
	}
	switch scheme {
	case "unix":
		if !strings.HasPrefix(rest, "/") {
			return host{}, fmt.Errorf("%q needs the absolute path of a socket: unix:///path", s)
		}
		return host{scheme, rest}, nil
	case "tcp", "http", "https":
	default:
		return host{}, fmt.Errorf("the scheme %q is none of unix, tcp, http, https", scheme)
	}

	// The text of a URL that does not parse may hold a password: keep it out
	// of the error.
	u, err := url.Parse(s)
	if err != nil {
		return host{}, errors.New("not a valid URL")
	}
	if u.User != nil {
		return host{}, errors.New("a user or password in the URL is not supported")
	}
	if strings.Contains(u.Hostname(), "%") {
		return host{}, fmt.Errorf("%q has an escape or a zone in its host name, which Docker's client can't dial", s)
	}
	if u.Hostname() == "" || u.Port() == "" {
		return host{}, fmt.Errorf("%q needs a host and a port: %s://host:port", s, scheme)
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
		return host{}, fmt.Errorf("%q has a port that is not a number from 1 to 65535", s)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return host{}, fmt.Errorf("%q has more than a host and a port", s)
	}
	return host{scheme, net.JoinHostPort(u.Hostname(), u.Port())}, nil
}

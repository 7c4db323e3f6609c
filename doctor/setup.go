package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter "caddyfile"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-nas/caddy-nas-registry/ddnsipv6"
)

// setup is what the config says of the registry. Placeholders have been replaced
// where a value is one field; raw JSON is as it was written.
type setup struct {
	config json.RawMessage // the whole, adapted
	parsed *caddy.Config

	admin string   // address of the admin endpoint; empty: off
	names []string // the hosts of the registry's site, at least one
	port  string   // where it is served

	// htpasswd is the file of users; create is whom to make where it is missing.
	htpasswd, create string

	// Where the registry is: one of the three, or none where a config in JSON has
	// it at another place.
	docker    json.RawMessage // the settings of http.reverse_proxy.upstreams.registry_container
	to        []string        // dial addresses
	embedded  string          // folder
	transport json.RawMessage // how docker and to are spoken with; empty: HTTP

	policies []json.RawMessage // of ddns_ipv6
	issuers  []json.RawMessage // of the policy for the first name; none: Caddy's own choice
	managers []json.RawMessage // get_certificate of that policy
}

// name is the one by which the registry is looked for.
func (s *setup) name() string { return s.names[0] }

// lookConfig reads the config: the patient's setup.
func lookConfig(_ context.Context, p *patient) Finding {
	s, err := readSetup(p.options.Config) //nolint:contextcheck // a matcher is tried on a path, which needs none
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return wrong("Name the file: caddy registry-doctor --config <file>.", err.Error())
		}
		if errors.As(err, new(siteError)) {
			return wrong("Name the config in which a site with a host name has registry_proxy: "+
				"caddy registry-doctor --config <file>.", p.options.Config+": "+err.Error())
		}
		return wrong("Correct the file; caddy validate --config <file> tells more.", p.options.Config+": "+err.Error())
	}
	p.setup = s
	if s.docker == nil {
		if len(s.to) > 0 {
			p.upstream = s.to[0]
		}
	}
	return ok(p.options.Config, "registry at https://"+net.JoinHostPort(s.name(), s.port))
}

// siteError says that a config that may be fine has no registry to examine.
type siteError string

func (e siteError) Error() string { return string(e) }

// readSetup adapts a config file and finds the registry in it.
func readSetup(file string) (*setup, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(file, ".json") {
		text, _, err = caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": file})
		if err != nil {
			return nil, fmt.Errorf("adapting: %w", err)
		}
	}
	return parseSetup(text)
}

func parseSetup(text []byte) (*setup, error) {
	s := &setup{config: text, parsed: new(caddy.Config)}
	if err := decode(text, s.parsed); err != nil {
		return nil, err
	}
	s.admin = caddy.DefaultAdminListen
	if admin := s.parsed.Admin; admin != nil {
		switch {
		case admin.Disabled:
			s.admin = ""
		case admin.Listen != "":
			s.admin = replaced(admin.Listen)
		}
	}
	if err := s.findRegistry(s.parsed.AppsRaw["http"]); err != nil {
		return nil, err
	}
	if raw, there := s.parsed.AppsRaw[ddnsipv6.ID]; there {
		var app struct {
			Policies []json.RawMessage `json:"policies"`
		}
		if err := decode(raw, &app); err != nil {
			return nil, fmt.Errorf("app %s: %w", ddnsipv6.ID, err)
		}
		s.policies = app.Policies
	}
	return s, s.findAutomation(s.parsed.AppsRaw["tls"])
}

// decode reads JSON. Its error about a value's type names no types of Go.
func decode(raw []byte, v any) error {
	err := json.Unmarshal(raw, v)
	var mistyped *json.UnmarshalTypeError
	switch {
	case !errors.As(err, &mistyped):
		return err
	case mistyped.Field == "":
		return fmt.Errorf("it is a %s", mistyped.Value)
	default:
		return fmt.Errorf("%s in the place of %s", mistyped.Value, mistyped.Field)
	}
}

// findRegistry looks for the first site with rules for a registry.
func (s *setup) findRegistry(raw json.RawMessage) error {
	var app struct {
		Servers map[string]struct {
			Listen []string `json:"listen"`
			Routes any      `json:"routes"`
		} `json:"servers"`
	}
	if len(raw) > 0 {
		if err := decode(raw, &app); err != nil {
			return fmt.Errorf("app http: %w", err)
		}
	}
	var servers []string
	for name := range app.Servers {
		servers = append(servers, name)
	}
	slices.Sort(servers)
	for _, name := range servers {
		server := app.Servers[name]
		var found search
		found.routes(server.Routes, nil)
		if !found.rules {
			continue
		}
		s.htpasswd, s.create = replaced(found.users.file), found.users.create
		s.docker, s.to, s.embedded, s.transport = found.docker, found.to, replaced(found.embedded), found.transport
		if err := s.findNames(found.hosts); err != nil {
			return err
		}
		if s.port = portOf(server.Listen); s.port == "" {
			return siteError("the registry's site " + s.name() + " is not at a TCP port")
		}
		return nil
	}
	return siteError("no site has a registry (registry_proxy)")
}

// findNames takes the names of the registry's site, those of the public DNS first.
// What clients use is one without a wildcard.
func (s *setup) findNames(hosts []string) error {
	for _, host := range hosts {
		if !strings.Contains(host, "*") {
			s.names = append(s.names, host)
		}
	}
	slices.SortStableFunc(s.names, func(a, b string) int {
		switch {
		case publicName(a) == publicName(b):
			return 0
		case publicName(a):
			return -1
		}
		return 1
	})
	switch {
	case len(s.names) > 0:
		return nil
	case len(hosts) > 0:
		return siteError("the registry's site " + hosts[0] + " has no name but a wildcard")
	default:
		return siteError("the registry's site has no host name")
	}
}

// portOf returns the first TCP port among addresses to listen on, or "".
func portOf(listen []string) string {
	for _, address := range listen {
		parsed, err := caddy.ParseNetworkAddress(replaced(address))
		if err == nil && strings.HasPrefix(parsed.Network, "tcp") && parsed.StartPort > 0 {
			return strconv.FormatUint(uint64(parsed.StartPort), 10)
		}
	}
	return ""
}

// findAutomation looks for the policy of the registry's name.
func (s *setup) findAutomation(raw json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	var app struct {
		Automation struct {
			Policies []struct {
				Subjects []string          `json:"subjects"`
				Issuers  []json.RawMessage `json:"issuers"`
				Managers []json.RawMessage `json:"get_certificate"`
			} `json:"policies"`
		} `json:"automation"`
	}
	if err := decode(raw, &app); err != nil {
		return fmt.Errorf("app tls: %w", err)
	}
	for _, policy := range app.Automation.Policies {
		covers := func(subject string) bool { return certmagic.MatchWildcard(s.name(), replaced(subject)) }
		if len(policy.Subjects) == 0 || slices.ContainsFunc(policy.Subjects, covers) {
			s.issuers, s.managers = policy.Issuers, policy.Managers
			return nil
		}
	}
	return nil
}

// replaced is a value without placeholders. What is not known stays as it is.
func replaced(value string) string { return caddy.NewReplacer().ReplaceKnown(value, "") }

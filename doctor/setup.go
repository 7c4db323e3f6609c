package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter "caddyfile"

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

	// Where the registry is: exactly one of the three.
	docker   json.RawMessage // the settings of http.reverse_proxy.upstreams.registry_container
	to       []string        // dial addresses
	embedded string          // folder

	policies []json.RawMessage // of ddns_ipv6
	issuers  []json.RawMessage // of the policy for the first name; none: Caddy's own choice
	managers []json.RawMessage // get_certificate of that policy
}

// name is the one by which the registry is looked for.
func (s *setup) name() string { return s.names[0] }

// lookConfig reads the config: the patient's setup.
func lookConfig(_ context.Context, p *patient) Finding {
	s, err := readSetup(p.options.Config)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return wrong("Name the file: caddy registry-doctor --config <file>.", err.Error())
		}
		return wrong("Correct the file; caddy validate --config <file> tells more.", err.Error())
	}
	p.setup = s
	if s.docker == nil {
		if len(s.to) > 0 {
			p.upstream = s.to[0]
		}
	}
	return ok(p.options.Config, "registry at https://"+net.JoinHostPort(s.name(), s.port))
}

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
	if err := json.Unmarshal(text, s.parsed); err != nil {
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
		if err := json.Unmarshal(raw, &app); err != nil {
			return nil, fmt.Errorf("app %s: %w", ddnsipv6.ID, err)
		}
		s.policies = app.Policies
	}
	return s, s.findAutomation(s.parsed.AppsRaw["tls"])
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
		if err := json.Unmarshal(raw, &app); err != nil {
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
		found.walk(server.Routes, nil)
		if !found.rules {
			continue
		}
		if len(found.hosts) == 0 || len(server.Listen) == 0 {
			return errors.New("the registry's site has no host name")
		}
		_, _, port, err := caddy.SplitNetworkAddress(server.Listen[0])
		if err != nil {
			return fmt.Errorf("server %s: %w", name, err)
		}
		s.names, s.port = found.hosts, port
		s.htpasswd, s.create = replaced(found.htpasswd), found.create
		s.docker, s.to, s.embedded = found.docker, found.to, replaced(found.embedded)
		return nil
	}
	return errors.New("no site has a registry (registry_proxy)")
}

// search is a walk through routes, down to the handlers of a registry.
type search struct {
	rules            bool // there is a handler registry_access
	hosts            []string
	htpasswd, create string
	docker           json.RawMessage
	to               []string
	embedded         string
}

// walk looks at a value and all within; hosts are those that lead there.
func (f *search) walk(value any, hosts []string) {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			f.walk(element, hosts)
		}
	case map[string]any:
		if here := hostsOf(v["match"]); len(here) > 0 {
			hosts = here
		}
		f.handler(v, hosts)
		for _, key := range []string{"routes", "handle"} {
			f.walk(v[key], hosts)
		}
	}
}

// handler takes what is of interest from a handler.
func (f *search) handler(v map[string]any, hosts []string) {
	switch v["handler"] {
	case "registry_access":
		f.rules, f.hosts = true, hosts
	case "authentication":
		providers, _ := v["providers"].(map[string]any)
		if users, there := providers["htpasswd"].(map[string]any); there {
			f.htpasswd, _ = users["file"].(string)
			f.create, _ = users["create"].(string)
		}
	case "registry":
		f.embedded, _ = v["root"].(string)
	case "reverse_proxy":
		if dynamic, there := v["dynamic_upstreams"].(map[string]any); there && dynamic["source"] == "registry_container" {
			f.docker, _ = json.Marshal(dynamic) // it was JSON a moment ago
		}
		upstreams, _ := v["upstreams"].([]any)
		for _, u := range upstreams {
			if fields, there := u.(map[string]any); there {
				if dial, there := fields["dial"].(string); there {
					f.to = append(f.to, replaced(dial))
				}
			}
		}
	}
}

func hostsOf(match any) (hosts []string) {
	sets, _ := match.([]any)
	for _, set := range sets {
		fields, _ := set.(map[string]any)
		list, _ := fields["host"].([]any)
		for _, host := range list {
			if name, there := host.(string); there {
				hosts = append(hosts, replaced(name))
			}
		}
	}
	return hosts
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
	if err := json.Unmarshal(raw, &app); err != nil {
		return fmt.Errorf("app tls: %w", err)
	}
	for _, policy := range app.Automation.Policies {
		if len(policy.Subjects) == 0 || slices.Contains(policy.Subjects, s.name()) {
			s.issuers, s.managers = policy.Issuers, policy.Managers
			return nil
		}
	}
	return nil
}

// replaced is a value without placeholders. What is not known stays as it is.
func replaced(value string) string { return caddy.NewReplacer().ReplaceKnown(value, "") }

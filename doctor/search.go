package doctor

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// search is a walk through routes in the order in which a request meets them: to
// the first handler registry_access, and on to the registry after it. What stands
// beside is somebody else's, such as a reverse_proxy of another path.
type search struct {
	rules bool     // there is a handler registry_access
	hosts []string // that lead there
	users users    // the provider htpasswd before it

	placed    bool // the handler after it was found that answers
	docker    json.RawMessage
	to        []string
	transport json.RawMessage
	embedded  string
}

// users are those of an authentication handler.
type users struct{ file, create string }

// routes looks at a list of routes; hosts are those that lead there.
func (f *search) routes(value any, hosts []string) {
	list, _ := value.([]any)
	for _, element := range list {
		route, _ := element.(map[string]any)
		if f.rules && !reaches(route["match"], f.hosts) {
			continue
		}
		inner := hosts
		if here := hostsOf(route["match"]); len(here) > 0 {
			inner = here
		}
		before := f.users
		f.handlers(route["handle"], inner)
		if f.placed {
			return
		}
		if !f.rules && !reaches(route["match"], nil) {
			f.users = before // those of another path or host
		}
	}
}

func (f *search) handlers(value any, hosts []string) {
	list, _ := value.([]any)
	for _, element := range list {
		if handler, _ := element.(map[string]any); !f.placed {
			f.handler(handler, hosts)
			f.routes(handler["routes"], hosts)
		}
	}
}

// handler takes what is of interest from a handler.
func (f *search) handler(v map[string]any, hosts []string) {
	switch v["handler"] {
	case "registry_access":
		if !f.rules {
			f.rules, f.hosts = true, hosts
		}
	case "authentication":
		providers, _ := v["providers"].(map[string]any)
		if htpasswd, there := providers["htpasswd"].(map[string]any); there && !f.rules {
			f.users.file, _ = htpasswd["file"].(string)
			f.users.create, _ = htpasswd["create"].(string)
		}
	case "registry":
		if f.rules {
			f.placed = true
			f.embedded, _ = v["root"].(string)
		}
	case "reverse_proxy":
		if f.rules {
			f.placed = true
			f.proxy(v)
		}
	}
}

func (f *search) proxy(v map[string]any) {
	if transport, there := v["transport"].(map[string]any); there {
		f.transport, _ = json.Marshal(transport) // it was JSON a moment ago
	}
	if dynamic, there := v["dynamic_upstreams"].(map[string]any); there {
		if dynamic["source"] == "registry_container" {
			f.docker, _ = json.Marshal(dynamic)
		}
		return // its static ones don't count
	}
	upstreams, _ := v["upstreams"].([]any)
	for _, u := range upstreams {
		fields, _ := u.(map[string]any)
		if dial, there := fields["dial"].(string); there {
			f.to = append(f.to, replaced(dial))
		}
	}
}

// reaches tells whether a request for the registry at one of the hosts may pass
// the matchers of a route, as far as those are about hosts and paths.
func reaches(match any, hosts []string) bool {
	sets, _ := match.([]any)
	for _, set := range sets {
		fields, _ := set.(map[string]any)
		host, byHost := fields["host"]
		path, byPath := fields["path"]
		passes := func(name string) bool { return slices.Contains(hosts, replaced(name)) }
		if (!byHost || slices.ContainsFunc(texts(host), passes)) && (!byPath || matchesAPI(texts(path))) {
			return true
		}
	}
	return len(sets) == 0
}

// matchesAPI tells whether paths, as in a matcher, have the registry's API.
func matchesAPI(paths []string) bool {
	m := caddyhttp.MatchPath(paths)
	_ = m.Provision(caddy.Context{}) // never fails
	ctx := context.WithValue(context.Background(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	r := (&http.Request{URL: &url.URL{Path: "/v2/"}}).WithContext(ctx)
	matched, err := m.MatchWithError(r)
	return matched && err == nil
}

func hostsOf(match any) (hosts []string) {
	sets, _ := match.([]any)
	for _, set := range sets {
		fields, _ := set.(map[string]any)
		for _, name := range texts(fields["host"]) {
			hosts = append(hosts, replaced(name))
		}
	}
	return hosts
}

// texts are those of a list.
func texts(value any) (found []string) {
	list, _ := value.([]any)
	for _, element := range list {
		if text, there := element.(string); there {
			found = append(found, text)
		}
	}
	return found
}

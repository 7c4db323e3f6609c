package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Names of contestants that others are compared with.
const (
	plainRegistry = "plain registry"
	article       = "registry, own TLS"
	nginxRecipe   = "nginx"
	stockCaddy    = "stock Caddy"
	stockBridge   = "stock Caddy, bridge"
)

// Names of ours.
const (
	oursEmbedded = "embedded"
	oursTCP      = "to (TCP)"
	oursUnix     = "to (unix)"
	oursDocker   = "docker"
	oursBlobs    = "docker, blobs_from"
)

// ours are the names of ours, in the order of the report.
var ours = []string{oursEmbedded, oursTCP, oursUnix, oursDocker, oursBlobs}

// contestant is a way to have a registry with TLS and users.
type contestant struct {
	name  string
	about string // one line for the report

	// backend starts the registry behind the front, and sets upstream.
	// Nil: the front is the registry.
	backend func(context.Context, *server) (*process, error)
	// front writes the configs and returns the command that serves at
	// address.
	front func(context.Context, *server) ([]string, error)
}

var allContestants = []*contestant{
	{
		name: plainRegistry, about: "no TLS, no users: the limit",
		front: registryFront(false),
	},
	{
		name: article, about: "its own TLS and htpasswd: the article",
		front: registryFront(true),
	},
	{
		name: nginxRecipe, about: "the recipe of the registry's docs, with requests not buffered",
		backend: registryBackend, front: nginxFront,
	},
	{
		name: stockCaddy, about: "`basic_auth` and `reverse_proxy`",
		backend: registryBackend, front: stockFront,
	},
	{
		name: stockBridge, about: "the same in front of registry:3 on the bridge, at its address of the moment",
		backend: containerBackend, front: stockFront,
	},
	{
		name: oursEmbedded, about: "ours: the registry within Caddy",
		front: oursFront(func(s *server) string { return "embedded " + s.data }),
	},
	{
		name: oursTCP, about: "ours: `to` an address",
		backend: registryBackend,
		front:   oursFront(func(s *server) string { return "to " + s.upstream }),
	},
	{
		name: oursUnix, about: "ours: `to` a unix socket",
		backend: socketBackend,
		front:   oursFront(func(s *server) string { return "to unix/" + s.upstream }),
	},
	{
		name: oursDocker, about: "ours: `docker`, registry:3 on the bridge",
		backend: containerBackend,
		front:   oursFront(func(s *server) string { return "docker {\n\t\t\tlabel " + s.label + "\n\t\t}" }),
	},
	{
		name: oursBlobs, about: "ours: `docker` and `blobs_from` the container's folder",
		backend: containerBackend,
		front: oursFront(func(s *server) string {
			return "docker {\n\t\t\tlabel " + s.label + "\n\t\t}\n\t\tblobs_from " + s.data
		}),
	},
}

// selectContestants returns those whose name the pattern matches.
func selectContestants(pattern *regexp.Regexp) []*contestant {
	var selected []*contestant
	for _, c := range allContestants {
		if pattern.MatchString(c.name) {
			selected = append(selected, c)
		}
	}
	return selected
}

// isCaddy tells whether there is an admin endpoint to ask.
func (c *contestant) isCaddy() bool {
	return c.isOurs() || c.name == stockCaddy || c.name == stockBridge
}

// isOurs tells this project's from the peers.
func (c *contestant) isOurs() bool { return slices.Contains(ours, c.name) }

// folder returns a short name for paths: that of a socket has a limit of 108
// bytes.
func (c *contestant) folder() string {
	return strings.Trim(regexp.MustCompile(`[^a-z]+`).ReplaceAllString(strings.ToLower(c.name), "-"), "-")
}

// missingError says what a machine lacks for a contestant.
type missingError struct{ reason string }

func (e *missingError) Error() string { return "missing: " + e.reason }

// stockFront is what one finds first: Caddy's documentation of both
// directives.
func stockFront(_ context.Context, s *server) ([]string, error) {
	var users strings.Builder
	for _, name := range s.lab.users {
		fmt.Fprintf(&users, "\t\t%s %s\n", name, s.lab.hash)
	}
	return caddyFront(s, s.lab.programs.stock, fmt.Sprintf(`	basic_auth {
%s	}
	reverse_proxy %s
`, users.String(), s.upstream))
}

// oursFront returns a front with registry_proxy.
func oursFront(place func(*server) string) func(context.Context, *server) ([]string, error) {
	return func(_ context.Context, s *server) ([]string, error) {
		return caddyFront(s, s.lab.programs.ours, fmt.Sprintf(`	registry_proxy {
		%s
		htpasswd %s
	}
`, place(s), s.lab.htpasswd))
	}
}

// caddyFront returns the command of a Caddy with one site. Access logs are
// off by default, as they are for all contestants.
func caddyFront(s *server, program, directives string) ([]string, error) {
	config, err := s.file("Caddyfile", fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	auto_https disable_redirects
	storage file_system %s
	log {
		level ERROR
	}
}

https://%s {
	bind 127.0.0.1
	tls %s %s
%s}
`, s.adminSocket(), filepath.Join(s.dir, "caddy"), s.address, s.lab.cert, s.lab.key, directives))
	return []string{program, "run", "--adapter", "caddyfile", "--config", config}, err
}

// nginxFront follows
// https://distribution.github.io/distribution/recipes/nginx/ with these
// differences: TLS is as Debian has it, HTTP/2 is on, and requests are passed on as
// they come, which spares nginx from writing every layer to a file first.
// Debian's own configuration sets worker_processes.
func nginxFront(_ context.Context, s *server) ([]string, error) {
	program := s.lab.programs.nginx
	if program == "" {
		return nil, &missingError{"no program nginx (in Debian: apt-get install nginx-light)"}
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // the folder is not for others to read
	}
	config, err := s.file("nginx.conf", strings.NewReplacer(
		"USER", user, "DIR", s.dir, "ADDRESS", s.address, "UPSTREAM", s.upstream,
		"CERT", s.lab.cert, "KEY", s.lab.key, "HTPASSWD", s.lab.htpasswd,
	).Replace(nginxConfig))
	return []string{program, "-p", s.dir, "-e", filepath.Join(s.dir, "nginx-error.log"), "-c", config}, err
}

// Package registryproxy provides the directive registry_proxy: TLS, users and
// rules in front of a container registry.
package registryproxy

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/timeouts"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/access"
	_ "github.com/caddy-nas/caddy-nas-registry/registryproxy/certificates" // the admin endpoint has how they were obtained
)

const (
	// idleTimeout is how long an authenticated client may pause in the middle
	// of a body: an hour-long push over a bad line has such pauses.
	idleTimeout = 15 * time.Minute

	// answerTimeout is how long the registry may take from the last byte of a
	// request to its answer: it hashes a layer of many gigabytes in between.
	answerTimeout = 15 * time.Minute

	// holdTime is how long a request waits for a registry that restarts. Dial
	// errors are tried again for every method, since nothing was sent yet.
	holdTime     = 5 * time.Second
	holdInterval = 250 * time.Millisecond
)

func init() {
	httpcaddyfile.RegisterDirective("registry_proxy", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("registry_proxy", httpcaddyfile.Before, "reverse_proxy")
}

// parseDirective parses the registry_proxy directive:
//
//	registry_proxy [<matcher>] {
//		# where the registry is: exactly one of
//		docker {
//			label   <key>[=<value>]
//			name    <container>
//			network <network>
//			port    <port>
//			host    <url>
//		}
//		to       <upstream>...
//		embedded <dir>
//
//		htpasswd <file> {
//			create <user>
//		}
//		group <name>                        <user>...
//		allow <user>|@<group>|anonymous     <action>[,<action>...]  <repository>...
//		blobs_from <dir>                    # with docker or to
//	}
//
// It takes requests under /v2/ only. For the upstream 172.17.0.2:5000 it is
// short for this route, in which the handlers that have no directive of their
// own are shown by the names of their modules:
//
//	route /v2 /v2/* {
//		authentication {                    # http.handlers.authentication
//			htpasswd <file>                 # http.authentication.providers.htpasswd
//		}
//		registry_access {                   # http.handlers.registry_access
//			group …
//			allow …
//		}
//		timeouts {
//			read_timeout  15m
//			write_timeout 15m
//		}
//		registry_blobs <dir>                # http.handlers.registry_blobs, with blobs_from
//		reverse_proxy 172.17.0.2:5000 {     # or registry: http.handlers.registry
//			lb_try_duration 5s
//			lb_try_interval 250ms
//			lb_retry_match {
//				method GET HEAD
//			}
//			header_up Host {hostport}       # where the upstream is https://
//			transport http {
//				compression off
//				response_header_timeout 15m
//			}
//		}
//	}
//
// with an error route of its own, which the Caddyfile has no words for, of the
// one handler http.handlers.registry_error. Where a rule allows anonymous
// something, timeouts is for authenticated requests alone, by a matcher:
//
//	@authenticated not vars {http.auth.user.id} ""
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	o, err := parseOptions(h.Dispenser)
	if err != nil {
		return nil, err
	}
	api := caddyhttp.Route{
		MatcherSetsRaw: []caddy.ModuleMap{{"path": h.JSON(caddyhttp.MatchPath{"/v2", "/v2/*"})}},
		HandlersRaw:    []json.RawMessage{handlerJSON(o.route(h), "subroute")},
	}
	if matcher == nil {
		return []httpcaddyfile.ConfigValue{{Class: "route", Value: api}}, nil
	}
	return h.NewRoute(matcher, &caddyhttp.Subroute{Routes: caddyhttp.RouteList{api}}), nil
}

// route returns the handlers that the directive stands for.
func (o *options) route(h httpcaddyfile.Helper) *caddyhttp.Subroute {
	authentication := &caddyauth.Authentication{
		ProvidersRaw: caddy.ModuleMap{"htpasswd": h.JSON(o.htpasswd)},
	}
	patience := &timeouts.Timeouts{ReadTimeout: idleTimeout, WriteTimeout: idleTimeout}

	var registry json.RawMessage
	if o.embedded != nil {
		registry = handlerJSON(o.embedded, "registry")
	} else {
		registry = handlerJSON(o.proxy(h), "reverse_proxy")
	}
	last := []json.RawMessage{registry}
	if o.blobs != nil {
		last = []json.RawMessage{handlerJSON(o.blobs, "registry_blobs"), registry}
	}
	first := []json.RawMessage{handlerJSON(authentication, "authentication"), handlerJSON(o.access, "registry_access")}
	wait := handlerJSON(patience, "timeouts")
	// Each route costs every request a little: one will do where everybody who
	// comes past registry_access is authenticated.
	routes := caddyhttp.RouteList{{HandlersRaw: slices.Concat(first, []json.RawMessage{wait}, last)}}
	if o.htpasswd.Anonymous {
		authenticated := caddy.ModuleMap{"not": h.JSON(caddyhttp.MatchNot{MatcherSetsRaw: []caddy.ModuleMap{{
			"vars": h.JSON(caddyhttp.VarsMatcher{"{http.auth.user.id}": []string{""}}),
		}}})}
		routes = caddyhttp.RouteList{
			{HandlersRaw: first},
			{MatcherSetsRaw: []caddy.ModuleMap{authenticated}, HandlersRaw: []json.RawMessage{wait}},
			{HandlersRaw: last},
		}
	}
	return &caddyhttp.Subroute{
		Routes: routes,
		Errors: &caddyhttp.HTTPErrorConfig{Routes: caddyhttp.RouteList{
			{HandlersRaw: []json.RawMessage{handlerJSON(new(access.ErrorHandler), "registry_error")}},
		}},
	}
}

// proxy returns the reverse proxy to the upstreams of to or docker.
func (o *options) proxy(h httpcaddyfile.Helper) *reverseproxy.Handler {
	proxy := o.to
	if proxy == nil {
		proxy = &reverseproxy.Handler{
			DynamicUpstreamsRaw: caddyconfig.JSONModuleObject(o.docker, "source", "registry_container", nil),
		}
	}
	proxy.LoadBalancing = &reverseproxy.LoadBalancing{
		TryDuration: caddy.Duration(holdTime),
		TryInterval: caddy.Duration(holdInterval),
		RetryMatchRaw: caddyhttp.RawMatcherSets{
			{"method": h.JSON(caddyhttp.MatchMethod{"GET", "HEAD"})},
		},
	}
	// An https:// upstream has brought a transport already.
	transport := new(reverseproxy.HTTPTransport)
	if proxy.TransportRaw != nil {
		// It was marshalled from this type a moment ago.
		_ = json.Unmarshal(proxy.TransportRaw, transport)
	}
	if transport.TLS != nil {
		// It would send the upstream's name as Host, from which the registry
		// makes the Location of an upload.
		proxy.Headers = &headers.Handler{Request: &headers.HeaderOps{
			Set: http.Header{"Host": {"{http.request.hostport}"}},
		}}
	}
	off := false
	transport.Compression = &off
	transport.ResponseHeaderTimeout = caddy.Duration(answerTimeout)
	proxy.TransportRaw = caddyconfig.JSONModuleObject(transport, "protocol", "http", nil)
	return proxy
}

func handlerJSON(handler any, name string) json.RawMessage {
	return caddyconfig.JSONModuleObject(handler, "handler", name, nil)
}

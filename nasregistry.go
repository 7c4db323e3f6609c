// Package nasregistry plugs every module of this project into Caddy:
//
//	xcaddy build --with github.com/caddy-nas/caddy-nas-registry
//
// Each module's own package documents it; the README shows them together.
package nasregistry

import (
	// The app ddns_ipv6 with its sources and its admin endpoint.
	_ "github.com/caddy-nas/caddy-nas-registry/ddnsipv6"

	// Synology as a DNS provider, and the certificate that DSM holds.
	_ "github.com/caddy-nas/caddy-nas-registry/dnssynology"

	// The directive registry_proxy, and through it all that it expands to.
	_ "github.com/caddy-nas/caddy-nas-registry/registryproxy"
)

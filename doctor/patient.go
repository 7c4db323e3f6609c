package doctor

import (
	"crypto/x509"
	"net/http"
	"net/netip"

	"github.com/caddy-nas/caddy-nas-registry/ddnsipv6"
	"github.com/caddy-nas/caddy-nas-registry/internal/authority"
)

// patient is what is examined, and what is known of it so far.
type patient struct {
	options Options

	setup *setup // check config

	admin    *http.Client     // check caddy: of its admin endpoint, with any host in the URL; nil if it does not answer
	status   *ddnsipv6.Status // check caddy: of the running config; nil if it has no ddns_ipv6
	outside  bool             // check caddy: Caddy serves, but its admin endpoint is not here
	selected netip.Addr       // check address: this host's, to be published for the registry's name

	// nameServers is how DNS is asked; zero: through the system's resolvers, and at
	// port 53. Tests have their own.
	nameServers authority.Client

	servers  []netip.Addr // check dns: the authoritative servers' addresses, at least one
	zone     string       // check dns: that of the name, with a final dot
	official []netip.Addr // check dns_authority: the AAAA records there

	// refused is the ID of the check, credentials or provider, that found credentials
	// which do not work.
	refused    string
	acmeFailed bool                // check acme: the authority or Caddy reports a failure
	chain      []*x509.Certificate // check tls: as the server sent it, the leaf first

	upstream string // check container, or the config: "host:port" of the registry

	closers []func()
}

// close releases what checks have left open for those after them.
func (p *patient) close() {
	for i := len(p.closers) - 1; i >= 0; i-- {
		p.closers[i]()
	}
}

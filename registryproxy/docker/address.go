package docker

import (
	"net/netip"
	"slices"
	"strings"
)

// chooseAddress returns the address at which a running container is reached,
// or what stands against it. The choice depends on values only, so that it is
// the same after every list:
//
//  1. the network that the config names, and no other;
//  2. those that this process' own container is on;
//  3. the default one, "bridge", which the host always reaches;
//  4. the others;
//
// within each by name, and IPv4 before IPv6.
func chooseAddress(c container, network string, own []string) (addr netip.Addr, problem string) {
	switch {
	case network != "" && network != "host":
		if other, ok := strings.CutPrefix(c.networkMode, "container:"); ok {
			return netip.Addr{}, "has no network of its own (it shares that of container " + shortID(other) + ")"
		}
		i := slices.IndexFunc(c.networks, func(a attachment) bool { return a.network == network })
		if i < 0 {
			return netip.Addr{}, "is not on the network " + network + " (" + describeNetworks(c) + ")"
		}
		if addr := c.networks[i].addr(); addr.IsValid() {
			return addr, ""
		}
		return netip.Addr{}, "has no address on the network " + network
	case c.networkMode == "host":
		// The container has the host's ports. That is the same machine for a
		// Caddy in the host's network, the usual case; one in a container of
		// its own does not reach it, which the health check tells.
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), ""
	case network == "host":
		return netip.Addr{}, "is not on the network host (" + describeNetworks(c) + ")"
	case c.networkMode == "none":
		return netip.Addr{}, "has no network (network_mode none)"
	}

	rank := func(a attachment) int {
		switch {
		case slices.Contains(own, a.network):
			return 0
		case a.network == "bridge":
			return 1
		default:
			return 2
		}
	}
	best := attachment{}
	for _, a := range c.networks {
		if !a.addr().IsValid() {
			continue
		}
		if !best.addr().IsValid() || rank(a) < rank(best) || rank(a) == rank(best) && a.network < best.network {
			best = a
		}
	}
	if addr := best.addr(); addr.IsValid() {
		return addr, ""
	}
	if other, ok := strings.CutPrefix(c.networkMode, "container:"); ok {
		return netip.Addr{}, "has no network of its own (it shares that of container " + shortID(other) + ")"
	}
	return netip.Addr{}, "has no address (" + describeNetworks(c) + ")"
}

// choosePort returns the port of the registry within the container.
func choosePort(c container, configured uint16) uint16 {
	switch {
	case configured != 0:
		return configured
	case len(c.tcpPorts) == 1:
		return c.tcpPorts[0]
	default:
		return defaultPort
	}
}

// addr returns the address to use, or the zero value if there is none.
func (a attachment) addr() netip.Addr {
	if a.ipv4.IsValid() {
		return a.ipv4
	}
	return a.ipv6
}

func describeNetworks(c container) string {
	if len(c.networks) == 0 {
		return "it is on none"
	}
	names := make([]string, 0, len(c.networks))
	for _, a := range c.networks {
		names = append(names, a.network)
	}
	slices.Sort(names)
	return "it is on " + strings.Join(names, ", ")
}

// shortID shortens a container's ID as Docker does in its output.
func shortID(id string) string {
	return id[:min(len(id), 12)]
}

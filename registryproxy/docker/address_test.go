package docker

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// on returns an attachment; an address that is "" is missing.
func on(network, ipv4, ipv6 string) attachment {
	a := attachment{network: network}
	a.ipv4, _ = netip.ParseAddr(ipv4)
	a.ipv6, _ = netip.ParseAddr(ipv6)
	return a
}

func TestChooseAddress(t *testing.T) {
	for _, test := range []struct {
		name     string
		mode     string
		networks []attachment
		network  string
		own      []string
		want     string
		problem  string // a part of it
	}{
		{
			name:     "default bridge",
			mode:     "default",
			networks: []attachment{on("bridge", "172.17.0.2", "")},
			want:     "172.17.0.2",
		},
		{
			name:     "bridge before others",
			networks: []attachment{on("a", "10.0.0.2", ""), on("bridge", "172.17.0.2", "")},
			want:     "172.17.0.2",
		},
		{
			name:     "shared before bridge",
			networks: []attachment{on("bridge", "172.17.0.2", ""), on("web", "10.0.0.2", "")},
			own:      []string{"web"},
			want:     "10.0.0.2",
		},
		{
			name:     "first shared by name",
			networks: []attachment{on("z", "10.0.2.2", ""), on("y", "10.0.1.2", ""), on("a", "10.0.0.2", "")},
			own:      []string{"z", "y"},
			want:     "10.0.1.2",
		},
		{
			name:     "first other by name",
			networks: []attachment{on("z", "10.0.2.2", ""), on("b", "10.0.1.2", ""), on("y", "10.0.3.2", "")},
			want:     "10.0.1.2",
		},
		{
			name:     "named before shared",
			networks: []attachment{on("bridge", "172.17.0.2", ""), on("web", "10.0.0.2", ""), on("z", "10.0.2.2", "")},
			network:  "z",
			own:      []string{"web"},
			want:     "10.0.2.2",
		},
		{
			name:     "IPv4 before IPv6",
			networks: []attachment{on("bridge", "172.17.0.2", "fd00::2")},
			want:     "172.17.0.2",
		},
		{
			name:     "IPv6 alone",
			networks: []attachment{on("bridge", "", "fd00::2")},
			want:     "fd00::2",
		},
		{
			name:     "a network without an address is passed over",
			networks: []attachment{on("bridge", "", ""), on("web", "10.0.0.2", "")},
			want:     "10.0.0.2",
		},
		{
			name:     "the host's network",
			mode:     "host",
			networks: []attachment{on("host", "", "")},
			want:     "127.0.0.1",
		},
		{
			name:     "the host's network, by name",
			mode:     "host",
			networks: []attachment{on("host", "", "")},
			network:  "host",
			want:     "127.0.0.1",
		},
		{
			name:     "the host's network, but another is named",
			mode:     "host",
			networks: []attachment{on("host", "", "")},
			network:  "web",
			problem:  "is not on the network web (it is on host)",
		},
		{
			name:     "host is named, but not used",
			mode:     "default",
			networks: []attachment{on("bridge", "172.17.0.2", "")},
			network:  "host",
			problem:  "is not on the network host (it is on bridge)",
		},
		{
			name:     "no network",
			mode:     "none",
			networks: []attachment{on("none", "", "")},
			problem:  "has no network (network_mode none)",
		},
		{
			name:    "another container's network",
			mode:    "container:0123456789abcdef0123",
			problem: "has no network of its own (it shares that of container 0123456789ab)",
		},
		{
			name:    "another container's network, but one is named",
			mode:    "container:vpn",
			network: "web",
			problem: "has no network of its own (it shares that of container vpn)",
		},
		{
			name:     "the named one is not attached",
			networks: []attachment{on("z", "10.0.0.2", ""), on("bridge", "172.17.0.2", "")},
			network:  "web",
			problem:  "is not on the network web (it is on bridge, z)",
		},
		{
			name:     "the named one gave no address yet",
			networks: []attachment{on("web", "", ""), on("bridge", "172.17.0.2", "")},
			network:  "web",
			problem:  "has no address on the network web",
		},
		{
			name:     "no address at all",
			networks: []attachment{on("web", "", "")},
			problem:  "has no address (it is on web)",
		},
		{
			name:    "all disconnected",
			problem: "has no address (it is on none)",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := container{networkMode: test.mode, networks: test.networks}
			// The order in which Docker's map comes must not count.
			for range 2 {
				addr, problem := chooseAddress(c, test.network, test.own)
				got := ""
				if addr.IsValid() {
					got = addr.String()
				}
				if got != test.want || !strings.Contains(problem, test.problem) || (problem != "") != (test.problem != "") {
					t.Errorf("address %q, problem %q; want %q, %q", got, problem, test.want, test.problem)
				}
				slices.Reverse(c.networks)
			}
		})
	}
}

func TestChoosePort(t *testing.T) {
	for _, test := range []struct {
		name       string
		exposed    []uint16
		configured uint16
		want       uint16
	}{
		{"the config's", []uint16{80}, 5001, 5001},
		{"the only one", []uint16{8080}, 0, 8080},
		{"none", nil, 0, 5000},
		{"several", []uint16{8080, 5001}, 0, 5000},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := choosePort(container{tcpPorts: test.exposed}, test.configured); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// Networks of the house. Prefixes are global unicast, and of nobody here.
const (
	firstPrefix, secondPrefix, thirdPrefix = "2a0e:7a5:1:1::/64", "2a0e:7a5:2:1::/64", "2a0e:7a5:3:1::/64"

	wanHere4, wanThere4 = "203.0.113.1", "203.0.113.2"
	wanHere6, wanThere6 = "2001:db8:0:1::1", "2001:db8:0:1::2"
	lan4                = "192.168.77." // the router is 1
)

// router is a home router: IPv4 and IPv6, without a port forwarded.
type router struct {
	*machine
	radvd *daemon
}

// newRouter connects a router to the internet, which is this process.
func newRouter(t testing.TB) *router {
	t.Helper()
	r := &router{machine: newMachine(t, "router", "", nil)}
	testenv.IP(t, "link", "add", "wan", "type", "veth", "peer", "name", "wan", "netns", r.pid)
	testenv.IP(t, "address", "add", wanHere4+"/30", "dev", "wan")
	testenv.IP(t, "address", "add", wanHere6+"/64", "dev", "wan", "nodad")
	testenv.IP(t, "link", "set", "wan", "up")
	r.run("sh", "-ec", fmt.Sprintf(`
		echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
		echo 1 >/proc/sys/net/ipv4/ip_forward
		ip link add lan type bridge
		ip address add %s1/24 dev lan
		ip link set lan up
		ip address add %s/30 dev wan
		ip address add %s/64 dev wan nodad
		ip link set wan up
		ip route add default via %s
		ip -6 route add default via %s`, lan4, wanThere4, wanThere6, wanHere4, wanHere6))
	testenv.IP(t, "route", "add", lan4+"0/24", "via", wanThere4)
	testenv.IP(t, "-6", "route", "add", "default", "via", wanThere6)
	return r
}

// plug connects a machine: its interface is eth0, and its last octet in IPv4 is
// given. IPv6 is what the router advertises.
func (r *router) plug(m *machine, octet int) {
	r.t.Helper()
	port := fmt.Sprintf("port%d", octet)
	testenv.IP(r.t, "link", "add", port, "netns", r.pid, "type", "veth", "peer", "name", "eth0", "netns", m.pid)
	r.run("ip", "link", "set", port, "master", "lan", "up")
	m.run("sh", "-ec", fmt.Sprintf(`
		echo 2 >/proc/sys/net/ipv6/conf/eth0/accept_ra
		ip address add %s%d/24 dev eth0
		ip link set eth0 up
		ip route add default via %[1]s1`, lan4, octet))
}

// advertise makes the router announce a prefix, and forget about the others: it
// tells that the last ones are no longer preferred, as a router does that has got
// another prefix from its provider.
func (r *router) advertise(prefix string, before ...string) {
	r.t.Helper()
	r.silence()
	var config strings.Builder
	config.WriteString("interface lan {\n\tAdvSendAdvert on;\n\tMinRtrAdvInterval 3;\n\tMaxRtrAdvInterval 4;\n\tAdvDefaultLifetime 1800;\n")
	fmt.Fprintf(&config, "\tprefix %s { AdvPreferredLifetime 3600; AdvValidLifetime 7200; };\n", prefix)
	for _, old := range before {
		fmt.Fprintf(&config, "\tprefix %s { AdvPreferredLifetime 0; AdvValidLifetime 7200; };\n", old)
	}
	config.WriteString("};\n")
	own := netip.MustParsePrefix(prefix).Addr().Next()
	r.run("ip", "address", "replace", own.String()+"/64", "dev", "lan", "nodad")
	r.radvd = r.daemon("radvd", "--nodaemon", "--config", r.write("radvd.conf", config.String()),
		"--pidfile", r.dir+"/radvd.pid", "--logmethod", "stderr")
}

func (r *router) silence() {
	if r.radvd != nil {
		r.radvd.stop()
		r.radvd = nil
	}
}

// mute ends the announcements without a last one that would say so.
func (r *router) mute() {
	r.radvd.kill()
	r.radvd = nil
}

// usable returns the machine's addresses on eth0 within a prefix that have passed
// the kernel's detection of duplicates and are not deprecated.
func (m *machine) usable(prefix string) (addrs []netip.Addr, err error) {
	out, err := m.try("ip", "-json", "-6", "address", "show", "dev", "eth0")
	if err != nil {
		return nil, err
	}
	var links []struct {
		Info []struct {
			Local      string `json:"local"`
			Tentative  bool   `json:"tentative"`
			Deprecated bool   `json:"deprecated"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return nil, fmt.Errorf("reading ip's answer: %w", err)
	}
	for _, link := range links {
		for _, a := range link.Info {
			ip, err := netip.ParseAddr(a.Local)
			if err == nil && netip.MustParsePrefix(prefix).Contains(ip) && !a.Tentative && !a.Deprecated {
				addrs = append(addrs, ip)
			}
		}
	}
	return addrs, nil
}

// awaitAddress waits until the machine has a usable address in the prefix.
func (m *machine) awaitAddress(prefix string) (addr netip.Addr) {
	m.t.Helper()
	testenv.EventuallyWithin(m.t, m.name+"'s address in "+prefix, soon, func() error {
		addrs, err := m.usable(prefix)
		if err == nil && len(addrs) == 0 {
			err = fmt.Errorf("there is none")
		}
		if err == nil {
			addr = addrs[0]
		}
		return err
	})
	return addr
}

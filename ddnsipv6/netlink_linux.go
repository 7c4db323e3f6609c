package ddnsipv6

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// dumpTimeout is for a kernel that doesn't answer. It takes less than a
	// millisecond where there are few routes.
	dumpTimeout = 5 * time.Second
	// dumpAttempts is how often something may change while it is listed.
	dumpAttempts = 5
)

// readHost asks the kernel for this host's addresses. The addresses come first:
// of one whose interface is new its name is known then, and one whose interface
// is gone is gone, too.
func readHost(ctx context.Context) (hostState, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return hostState{}, fmt.Errorf("opening a netlink socket: %w", err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(dumpTimeout)); err != nil {
		return hostState{}, fmt.Errorf("setting the deadline of a netlink socket: %w", err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	var read reading
	for _, list := range []struct {
		what    string
		request netlink.HeaderType
		body    []byte
		decode  func([]byte) error
	}{
		// The bodies are an ifaddrmsg, an ifinfomsg, an rtmsg of which only
		// the family matters.
		{"addresses", unix.RTM_GETADDR, ofIPv6(unix.SizeofIfAddrmsg), read.address},
		{"interfaces", unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg), read.link},
		{"routes", unix.RTM_GETROUTE, ofIPv6(unix.SizeofRtMsg), read.route},
	} {
		err := dump(conn, list.request, list.body, list.decode)
		if ctx.Err() != nil {
			err = ctx.Err() // and not that the socket is closed
		}
		if err != nil {
			return hostState{}, fmt.Errorf("listing %s: %w", list.what, err)
		}
	}
	return read.host(), nil
}

func ofIPv6(size int) []byte {
	body := make([]byte, size)
	body[0] = unix.AF_INET6
	return body
}

// dump lists what the kernel has of one kind. A list is not used if something
// changed while it was read: an address that did not change may lack.
func dump(conn *netlink.Conn, request netlink.HeaderType, body []byte, decode func([]byte) error) error {
	for range dumpAttempts {
		messages, err := conn.Execute(netlink.Message{
			Header: netlink.Header{Type: request, Flags: netlink.Request | netlink.Dump},
			Data:   body,
		})
		if err != nil {
			return err
		}
		if slices.ContainsFunc(messages, func(m netlink.Message) bool { return m.Header.Flags&netlink.DumpInterrupted != 0 }) {
			continue
		}
		for i := range messages {
			if err := decode(messages[i].Data); err != nil {
				return err
			}
		}
		return nil
	}
	return errors.New("they change all the time")
}

// reading is what the kernel answered.
type reading struct {
	addresses []rtnetlink.AddressMessage
	links     []link
	routes    []rtnetlink.RouteMessage
}

func (r *reading) address(data []byte) error {
	var m rtnetlink.AddressMessage
	if err := m.UnmarshalBinary(data); err != nil {
		return err
	}
	r.addresses = append(r.addresses, m)
	return nil
}

func (r *reading) route(data []byte) error {
	if !ofMainTable(data) {
		return nil
	}
	var m rtnetlink.RouteMessage
	if err := m.UnmarshalBinary(data); err != nil {
		return err
	}
	r.routes = append(r.routes, m)
	return nil
}

// ofMainTable tells by its header (rtmsg, rtnetlink(7)) that a route is one
// that decides here. Others may be many, and of kinds that can't be decoded.
func ofMainTable(data []byte) bool {
	return len(data) >= unix.SizeofRtMsg && data[0] == unix.AF_INET6 && data[4] == unix.RT_TABLE_MAIN && data[7] == unix.RTN_UNICAST
}

// link decodes the little that is of use here, since rtnetlink's LinkMessage
// refuses lists of counters of a length that its version doesn't know, and
// kernels add counters.
func (r *reading) link(data []byte) error {
	if len(data) < unix.SizeofIfInfomsg {
		return errors.New("the message of an interface is too short")
	}
	l := link{
		index:    binary.NativeEndian.Uint32(data[4:8]),
		loopback: binary.NativeEndian.Uint32(data[8:12])&unix.IFF_LOOPBACK != 0,
	}
	attributes, err := netlink.NewAttributeDecoder(data[unix.SizeofIfInfomsg:])
	if err != nil {
		return err
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.IFLA_IFNAME:
			l.name = attributes.String()
		case unix.IFLA_MASTER:
			l.port = true
		}
	}
	r.links = append(r.links, l)
	return attributes.Err()
}

// host converts what was read.
func (r *reading) host() hostState {
	h := hostState{links: r.links, addresses: make([]Address, 0, len(r.addresses))}
	defaults := defaultLinks(r.routes)
	for i := range r.addresses {
		m := &r.addresses[i]
		at := slices.IndexFunc(r.links, func(l link) bool { return l.index == m.Index })
		if at < 0 {
			continue
		}
		a, ok := convert(m)
		if !ok {
			continue
		}
		if a.Prefix.IsSingleIP() {
			a.Prefix = onLinkPrefix(r.routes, m.Index, a.IP)
		}
		a.Interface = r.links[at].name
		a.DefaultRoute = slices.Contains(defaults, m.Index)
		h.addresses = append(h.addresses, a)
	}
	return h
}

// convert takes from a message what it says of the address itself.
func convert(m *rtnetlink.AddressMessage) (Address, bool) {
	if m.Family != unix.AF_INET6 || m.Attributes == nil {
		return Address{}, false
	}
	// Where there is a peer, the address is the peer's.
	written := m.Attributes.Local
	if written == nil {
		written = m.Attributes.Address
	}
	ip, ok := netip.AddrFromSlice(written)
	if !ok {
		return Address{}, false
	}
	// Eight bits of the flags are in the header. Linux before 3.14 has no others.
	flags := Flags(m.Attributes.Flags)
	if flags == 0 {
		flags = Flags(m.Flags)
	}
	cache := m.Attributes.CacheInfo
	return Address{
		IP: ip, Prefix: netip.PrefixFrom(ip, int(m.PrefixLength)).Masked(), Flags: flags,
		Preferred: lifetime(cache.Preferred), Valid: lifetime(cache.Valid),
		Refreshed: time.Duration(cache.Updated) * 10 * time.Millisecond, // since boot, for 497 days or less
	}, true
}

func lifetime(seconds uint32) time.Duration {
	if seconds == 1<<32-1 {
		return Forever
	}
	return time.Duration(seconds) * time.Second
}

// defaultLinks returns the interfaces that the best default route leads over:
// several where it has several next hops, or another one is as good.
func defaultLinks(routes []rtnetlink.RouteMessage) []uint32 {
	var links []uint32
	best := uint32(0)
	for i := range routes {
		if routes[i].DstLength != 0 {
			continue
		}
		switch metric, hops := routes[i].Attributes.Priority, nextHops(&routes[i]); {
		case len(hops) == 0:
		case len(links) == 0 || metric < best:
			links, best = hops, metric
		case metric == best:
			links = append(links, hops...)
		}
	}
	return links
}

// nextHops returns the interfaces of a route that are up.
func nextHops(m *rtnetlink.RouteMessage) []uint32 {
	var links []uint32
	if m.Attributes.OutIface != 0 && m.Flags&unix.RTNH_F_DEAD == 0 {
		links = append(links, m.Attributes.OutIface)
	}
	for _, next := range m.Attributes.Multipath {
		if next.Hop.Flags&unix.RTNH_F_DEAD == 0 {
			links = append(links, next.Hop.IfIndex)
		}
	}
	return links
}

// onLinkPrefix returns the most specific network on the link that an address
// belongs to, or the zero Prefix: DHCPv6 assigns addresses without a network,
// and router advertisements tell it (RFC 5942, section 4).
func onLinkPrefix(routes []rtnetlink.RouteMessage, index uint32, ip netip.Addr) (longest netip.Prefix) {
	for i := range routes {
		if prefix, ok := linkNetwork(&routes[i]); ok && routes[i].Attributes.OutIface == index &&
			prefix.Contains(ip) && prefix.Bits() > longest.Bits() {
			longest = prefix
		}
	}
	return longest
}

// linkNetwork returns the network of a route that leads to a link itself.
func linkNetwork(m *rtnetlink.RouteMessage) (netip.Prefix, bool) {
	ip, ok := netip.AddrFromSlice(m.Attributes.Dst)
	if !ok || m.DstLength == 0 || m.DstLength > 127 || m.Attributes.Gateway != nil || len(m.Attributes.Multipath) > 0 {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(ip, int(m.DstLength)), true
}

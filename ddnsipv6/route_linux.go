package ddnsipv6

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func defaultRoutes(ctx context.Context) ([]Route, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(dumpTimeout)); err != nil {
		return nil, fmt.Errorf("setting the deadline of a netlink socket: %w", err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	var read reading
	err = dump(conn, unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg), read.link)
	if err == nil {
		err = dump(conn, unix.RTM_GETROUTE, ofIPv6(unix.SizeofRtMsg), read.route)
	}
	if ctx.Err() != nil {
		err = ctx.Err() // and not that the socket is closed
	}
	if err != nil {
		return nil, fmt.Errorf("listing routes: %w", err)
	}
	return read.defaults(), nil
}

// defaults returns the default routes of the lowest metric: those that lead over
// the interfaces of [defaultLinks].
func (r *reading) defaults() []Route {
	var best []*rtnetlink.RouteMessage
	for i := range r.routes {
		m := &r.routes[i]
		if m.DstLength != 0 || len(nextHops(m)) == 0 {
			continue
		}
		if len(best) > 0 && m.Attributes.Priority < best[0].Attributes.Priority {
			best = nil
		}
		if len(best) == 0 || m.Attributes.Priority == best[0].Attributes.Priority {
			best = append(best, m)
		}
	}
	var list []Route
	add := func(index uint32, gateway net.IP) {
		at := slices.IndexFunc(r.links, func(l link) bool { return l.index == index })
		if at < 0 {
			return
		}
		route := Route{Interface: r.links[at].name}
		if gateway != nil {
			route.Gateway = gateway.String()
		}
		if !slices.Contains(list, route) {
			list = append(list, route)
		}
	}
	for _, m := range best {
		if m.Attributes.OutIface != 0 && m.Flags&unix.RTNH_F_DEAD == 0 {
			add(m.Attributes.OutIface, m.Attributes.Gateway)
		}
		for _, next := range m.Attributes.Multipath {
			if next.Hop.Flags&unix.RTNH_F_DEAD == 0 {
				add(next.Hop.IfIndex, next.Gateway)
			}
		}
	}
	return list
}

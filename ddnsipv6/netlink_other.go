//go:build !linux

package ddnsipv6

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"
)

// pollInterval is how often the interfaces are looked at.
const pollInterval = 30 * time.Second

// readHost lists the addresses through the net package. It tells no flags, no
// lifetimes and no routes, so that each interface might have the default route.
func readHost(ctx context.Context) (hostState, error) {
	if err := ctx.Err(); err != nil {
		return hostState{}, fmt.Errorf("listing interfaces: %w", err)
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return hostState{}, fmt.Errorf("listing interfaces: %w", err)
	}
	var h hostState
	for i := range interfaces {
		addrs, err := interfaces[i].Addrs()
		if err != nil {
			return hostState{}, fmt.Errorf("listing addresses: %w", err)
		}
		h.links = append(h.links, link{
			index: uint32(interfaces[i].Index), name: interfaces[i].Name, loopback: interfaces[i].Flags&net.FlagLoopback != 0,
		})
		for _, addr := range addrs {
			if a, ok := addressOf(addr); ok {
				a.Interface = interfaces[i].Name
				h.addresses = append(h.addresses, a)
			}
		}
	}
	return h, nil
}

func addressOf(addr net.Addr) (Address, bool) {
	network, ok := addr.(*net.IPNet)
	if !ok || network.IP.To4() != nil {
		return Address{}, false
	}
	ip, ok := netip.AddrFromSlice(network.IP)
	if !ok {
		return Address{}, false
	}
	a := Address{IP: ip, DefaultRoute: true, Preferred: Forever, Valid: Forever}
	if bits, _ := network.Mask.Size(); bits < ip.BitLen() {
		a.Prefix = netip.PrefixFrom(ip, bits).Masked()
	}
	return a, true
}

func watchHost(ctx context.Context, _ *zap.Logger, changed func()) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			changed()
		}
	}
}

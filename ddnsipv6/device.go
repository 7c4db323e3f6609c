package ddnsipv6

import (
	"fmt"
	"net"
	"net/netip"
)

// Device says which device of the LAN a name stands for: the zero value is
// this host, the others share its prefix.
type Device struct {
	suffix netip.Addr
	mac    [6]byte
	kind   deviceKind
}

type deviceKind uint8

const (
	thisHost deviceKind = iota
	bySuffix
	byMAC
)

// DeviceWithSuffix returns the device whose address ends in suffix, such as
// "::1:2".
func DeviceWithSuffix(suffix string) (Device, error) {
	ip, err := netip.ParseAddr(suffix)
	switch {
	case err != nil:
		return Device{}, fmt.Errorf("suffix %q is not the end of an IPv6 address, such as ::1:2", suffix)
	case ip.Is4() || ip.Is4In6():
		return Device{}, fmt.Errorf("suffix %q is an IPv4 address; it must be the end of an IPv6 address, such as ::1:2", suffix)
	case ip.Zone() != "":
		return Device{}, fmt.Errorf("suffix %q must not have a zone", suffix)
	case ip.IsUnspecified():
		return Device{}, fmt.Errorf("suffix %q is the address of the prefix itself", suffix)
	}
	return Device{suffix: ip, kind: bySuffix}, nil
}

// DeviceWithMAC returns the device that makes its address of a MAC address of
// 48 bits (RFC 4291, appendix A).
func DeviceWithMAC(mac string) (Device, error) {
	hw, err := net.ParseMAC(mac)
	switch {
	case err != nil || len(hw) != 6:
		return Device{}, fmt.Errorf("mac %q is not a MAC address such as 00:11:32:aa:bb:cc", mac)
	case hw[0]&1 != 0:
		return Device{}, fmt.Errorf("mac %q is the address of a group, not of a device", mac)
	}
	return Device{mac: [6]byte(hw), kind: byMAC}, nil
}

// Address returns the device's address, given that of this host. It fails
// where the prefix is not known, or not of the length that the device needs.
func (d Device) Address(host Address) (netip.Addr, error) {
	if d.kind == thisHost {
		return host.IP, nil
	}
	if !host.Prefix.IsValid() {
		return netip.Addr{}, fmt.Errorf("the prefix of %s is not known: no on-link route has it", host.IP)
	}
	prefix := host.Prefix.Masked()
	if d.kind == byMAC {
		if prefix.Bits() != 64 {
			return netip.Addr{}, fmt.Errorf("an address made of a MAC address needs a prefix of 64 bits, and %s has %d", prefix, prefix.Bits())
		}
		return eui64(prefix, d.mac), nil
	}
	if network := netip.PrefixFrom(d.suffix, prefix.Bits()).Masked(); !network.Addr().IsUnspecified() {
		return netip.Addr{}, fmt.Errorf("suffix %s overlaps the prefix %s", d.suffix, prefix)
	}
	joined, suffix := prefix.Addr().As16(), d.suffix.As16()
	for i := range joined {
		joined[i] |= suffix[i]
	}
	return netip.AddrFrom16(joined), nil
}

// eui64 puts the modified EUI-64 of a MAC address behind a /64.
func eui64(prefix netip.Prefix, mac [6]byte) netip.Addr {
	b := prefix.Addr().As16()
	copy(b[8:], []byte{mac[0] ^ 0x02, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(b)
}

// parsePrefix parses a prefix of IPv6 addresses; an address stands for itself.
func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is not a prefix such as 2001:db8::/32", s)
		}
		if p, err = ip.Prefix(ip.BitLen()); err != nil || ip.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("prefix %q must not have a zone", s)
		}
	}
	if !p.Addr().Is6() || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("prefix %q is not one of IPv6 addresses", s)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("prefix %q has bits behind its length: did you mean %s?", s, p.Masked())
	}
	return p, nil
}

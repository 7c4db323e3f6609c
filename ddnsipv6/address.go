package ddnsipv6

import (
	"net/netip"
	"strings"
	"time"
)

// Forever is the lifetime of an address that does not expire.
const Forever = time.Duration(1<<63 - 1)

// Address is an IPv6 address that a [Source] found, usable or not.
type Address struct {
	// IP is the address, without a zone.
	IP netip.Addr

	// Prefix is the network on the link that IP belongs to: what the addresses
	// of the devices beside this host begin with. It is invalid where the
	// source doesn't know it. For an address of 128 bits, as DHCPv6 assigns
	// them, it comes from the on-link route.
	Prefix netip.Prefix

	// Interface is the name of the network interface, empty if there is none.
	Interface string

	// DefaultRoute tells that the IPv6 default route leads over Interface. It
	// is true for sources without interfaces.
	DefaultRoute bool

	Flags Flags

	// Preferred and Valid are the remaining lifetimes (RFC 4862, section
	// 5.5.4), or Forever.
	Preferred, Valid time.Duration

	// Refreshed is when a router or a DHCPv6 server last announced the address,
	// on a clock that all addresses of the source share; it matters only how
	// two of them compare. Zero means that the source doesn't know.
	Refreshed time.Duration

	// Rejected is the source's own reason why the address is not published,
	// or Usable: it is there to be seen by the operator only.
	Rejected Reason
}

// Flags are an address's flags in the kernel (Linux: IFA_F_*, if_addr.h).
type Flags uint32

// The flags that the selection looks at, with the values of Linux.
const (
	FlagTemporary     Flags = 0x01  // a privacy address (RFC 8981)
	FlagOptimistic    Flags = 0x04  // RFC 4429
	FlagDADFailed     Flags = 0x08  // another host has this address
	FlagDeprecated    Flags = 0x20  // its preferred lifetime is over
	FlagTentative     Flags = 0x40  // duplicate address detection goes on
	FlagPermanent     Flags = 0x80  // configured by hand
	FlagStablePrivacy Flags = 0x800 // RFC 7217
)

var flagNames = [...]struct {
	flag Flags
	name string
}{
	{FlagTemporary, "temporary"},
	{FlagOptimistic, "optimistic"},
	{FlagDADFailed, "dadfailed"},
	{FlagDeprecated, "deprecated"},
	{FlagTentative, "tentative"},
	{FlagPermanent, "permanent"},
	{FlagStablePrivacy, "stable-privacy"},
}

// Names returns the names of the flags, as ip-address(8) prints them.
func (f Flags) Names() []string {
	names := []string{}
	for _, n := range flagNames {
		if f&n.flag != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// String joins the names by spaces.
func (f Flags) String() string { return strings.Join(f.Names(), " ") }

// isEUI64 tells whether the address ends in an interface identifier made of a
// MAC address (RFC 4291, appendix A).
func isEUI64(ip netip.Addr) bool {
	b := ip.As16()
	return b[11] == 0xff && b[12] == 0xfe
}

// globalUnicast is what IANA hands out (RFC 4291, section 2.4).
var globalUnicast = netip.MustParsePrefix("2000::/3")

// special are the networks within 2000::/3 that do not lead to this host:
// https://www.iana.org/assignments/iana-ipv6-special-registry/
var special = [...]struct {
	prefix netip.Prefix
	reason Reason
}{
	{netip.MustParsePrefix("2001:db8::/32"), Documentation}, // RFC 3849
	{netip.MustParsePrefix("3fff::/20"), Documentation},     // RFC 9637
	{netip.MustParsePrefix("2001::/32"), Teredo},            // RFC 4380
	{netip.MustParsePrefix("2002::/16"), SixToFour},         // RFC 3056
	{netip.MustParsePrefix("2001:10::/28"), ORCHID},         // RFC 4843
	{netip.MustParsePrefix("2001:20::/28"), ORCHID},         // RFC 7343
	{netip.MustParsePrefix("2001:2::/48"), Benchmarking},    // RFC 5180
}

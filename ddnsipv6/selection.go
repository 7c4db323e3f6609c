package ddnsipv6

import "net/netip"

// Reason says why an address is not published.
type Reason uint8

// Usable is the reason of an address that may be published; all others tell
// why one may not.
const (
	Usable Reason = iota
	NotIPv6
	NotGlobal
	Documentation
	Teredo
	SixToFour
	ORCHID
	Benchmarking
	NotIncluded
	Excluded
	NotOnDefaultRoute
	Temporary
	DADFailed
	Tentative
	Deprecated
	NotRefreshed
)

var reasons = [...]string{
	Usable:            "usable",
	NotIPv6:           "not an IPv6 address",
	NotGlobal:         "not a global unicast address",
	Documentation:     "documentation prefix",
	Teredo:            "Teredo address",
	SixToFour:         "6to4 address",
	ORCHID:            "ORCHID identifier",
	Benchmarking:      "benchmarking prefix",
	NotIncluded:       "outside of every included prefix",
	Excluded:          "inside an excluded prefix",
	NotOnDefaultRoute: "interface without the default route",
	Temporary:         "temporary (privacy) address",
	DADFailed:         "duplicate: another host has it",
	Tentative:         "tentative: duplicate address detection goes on",
	Deprecated:        "deprecated",
	NotRefreshed:      "routers no longer announce its prefix, but another one",
}

// String returns the reason as the operator reads it.
func (r Reason) String() string { return reasons[r] }

// Filter narrows or widens what is usable.
type Filter struct {
	// Include admits only addresses within these prefixes, and admits those
	// even if they are not global, or documentation addresses. Empty: the
	// global ones.
	Include []netip.Prefix

	// Exclude rejects the addresses within these prefixes.
	Exclude []netip.Prefix
}

// Judge returns why an address may not be published, or Usable. It judges the
// address alone: whether routers still announce it shows only beside others.
func (f Filter) Judge(a Address) Reason {
	if r := f.network(a.IP); r != Usable {
		return r
	}
	switch {
	case a.Rejected != Usable:
		return a.Rejected
	// Before all that changes with time: it is seen without its other flags
	// for an instant.
	case a.Flags&FlagTemporary != 0:
		return Temporary
	case a.Flags&FlagDADFailed != 0:
		return DADFailed
	case a.Flags&(FlagTentative|FlagOptimistic) != 0:
		return Tentative
	case a.Flags&FlagDeprecated != 0, a.Preferred <= 0:
		return Deprecated
	}
	return Usable
}

// network judges what the address belongs to.
func (f Filter) network(ip netip.Addr) Reason {
	switch {
	case !ip.Is6() || ip.Is4In6():
		return NotIPv6
	// Never global, whatever is included: without a zone it leads nowhere.
	case !ip.IsGlobalUnicast():
		return NotGlobal
	case within(ip, f.Exclude):
		return Excluded
	case within(ip, f.Include):
		return Usable
	case len(f.Include) > 0:
		return NotIncluded
	case !globalUnicast.Contains(ip):
		return NotGlobal
	}
	for i := range special {
		if special[i].prefix.Contains(ip) {
			return special[i].reason
		}
	}
	return Usable
}

func within(ip netip.Addr, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// Judged is an address and why it may not be published, or [Usable].
type Judged struct {
	Address
	Reason Reason
}

// Select chooses the address to publish. It returns false if none is usable;
// and appends every address with the reason of its rejection to judged, whose
// memory is thereby used again. current is the host's address that is
// published now, or the zero Addr: it stays as long as it is usable, so that
// names don't flap. What seen has of networks that are dead is noted in it.
//
// Among several, the order is: on the interface of the default route, without
// an end, the longest preferred lifetime, an address that stays (made of the
// MAC address, or stable-privacy), the numerically lowest.
func Select(judged []Judged, addresses []Address, f Filter, seen *Sightings, current netip.Addr) (Address, bool, []Judged) {
	start := len(judged)
	for i := range addresses {
		judged = append(judged, Judged{Address: addresses[i], Reason: f.Judge(addresses[i])})
	}
	seen.reject(judged[start:])
	best := -1
	for i := start; i < len(judged); i++ {
		switch {
		case judged[i].Reason != Usable:
		case judged[i].IP == current:
			return judged[i].Address, true, judged
		case best < 0 || compare(&judged[i].Address, &judged[best].Address) < 0:
			best = i
		}
	}
	if best < 0 {
		return Address{}, false, judged
	}
	return judged[best].Address, true, judged
}

// compare orders usable addresses, the better one first.
func compare(a, b *Address) int {
	for _, better := range [...][2]bool{
		{a.DefaultRoute, b.DefaultRoute},
		{a.Preferred > b.Preferred, b.Preferred > a.Preferred}, // Forever is the longest
		{lasting(a), lasting(b)},
	} {
		if better[0] != better[1] {
			if better[0] {
				return -1
			}
			return 1
		}
	}
	return a.IP.Compare(b.IP)
}

// lasting tells that the host will have the same interface identifier again.
func lasting(a *Address) bool {
	return a.Flags&FlagStablePrivacy != 0 || isEUI64(a.IP)
}

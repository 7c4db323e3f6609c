package ddnsipv6

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/libdns/libdns"
)

// RRset is what is known of the AAAA records of a name. Unknown is not empty.
type RRset struct {
	// Known tells that the records were read.
	Known bool
	// Records are the AAAA records as the provider returned them, which is
	// what it recognises them by when they are to be deleted.
	Records []libdns.Record
}

// aaaa returns the AAAA records of fqdn among those of a zone. Both names end
// with a dot, the records' are relative to the zone (libdns.RR.Name).
func aaaa(records []libdns.Record, fqdn, zone string) RRset {
	set := RRset{Known: true}
	for _, r := range records {
		rr := r.RR()
		if rr.Type == "AAAA" && strings.EqualFold(libdns.AbsoluteName(rr.Name, zone), fqdn) {
			set.Records = append(set.Records, r)
		}
	}
	return set
}

// addresses returns the records' values. A value that is no address is the
// zero Addr, and so equal to none.
func (s RRset) addresses() []netip.Addr {
	list := make([]netip.Addr, len(s.Records))
	for i, r := range s.Records {
		list[i] = valueOf(r)
	}
	return list
}

func valueOf(r libdns.Record) netip.Addr {
	ip, err := netip.ParseAddr(strings.TrimSpace(r.RR().Data))
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap()
}

// holds tells that ip is among the records.
func (s RRset) holds(ip netip.Addr) bool {
	return slices.ContainsFunc(s.Records, func(r libdns.Record) bool { return valueOf(r) == ip })
}

// others returns the records with another value. One that has the value twice
// is not among them: a provider that deletes what matches would delete both.
func (s RRset) others(ip netip.Addr) []libdns.Record {
	var list []libdns.Record
	for _, r := range s.Records {
		if valueOf(r) != ip {
			list = append(list, r)
		}
	}
	return list
}

// Step is one thing to do to a name's AAAA records.
type Step struct {
	// Write asks for the RRset with the wanted address alone.
	Write bool
	// Delete are records to remove, each exactly as it was read.
	Delete []libdns.Record
	// DeleteAll asks for the removal of the whole RRset, which is not known.
	DeleteAll bool
}

// Nothing tells that there is nothing to do.
func (s Step) Nothing() bool { return !s.Write && len(s.Delete) == 0 && !s.DeleteAll }

// Plan returns the next thing to do so that a name has the wanted address and
// no other; it looks at neither the time nor the provider.
//
// wanted is the zero Addr if the name shall have no AAAA record. read is what
// the name has, confirmed what it was given for certain, or the zero Addr.
// What is stale is deleted only beside the wanted address, so that a name is
// never left without one.
func Plan(wanted netip.Addr, read RRset, confirmed netip.Addr) Step {
	switch {
	case !wanted.IsValid() && read.Known:
		return Step{Delete: read.Records}
	case !wanted.IsValid():
		return Step{DeleteAll: confirmed.IsValid()}
	case !read.Known:
		return Step{Write: wanted != confirmed}
	case !read.holds(wanted):
		return Step{Write: true}
	}
	return Step{Delete: read.others(wanted)}
}

// Thin returns what to delete where a provider refuses to replace several
// records: all but one, that the name not be left without an address.
func Thin(read RRset, confirmed netip.Addr) []libdns.Record {
	if len(read.Records) < 2 {
		return nil
	}
	list := read.addresses()
	if confirmed.IsValid() && slices.Contains(list, confirmed) {
		return read.others(confirmed)
	}
	// Not one whose value is no address: it would be the same as none.
	return read.others(list[max(slices.IndexFunc(list, netip.Addr.Is6), 0)])
}

package ddnsipv6

import (
	"net/netip"
	"time"
)

// skew is by how much the times at which one router advertisement refreshed
// two addresses may differ. Routers send them 3 s apart or more (RFC 4861,
// section 6.2.1), so that it is also how far two advertisements are apart.
const skew = time.Second

// maxPatience is twice the longest time between two advertisements of a router
// (RFC 4861, section 6.2.1).
const maxPatience = time.Hour

// Sightings remember when the networks on a link were announced. Many home
// routers forget a prefix without ever deprecating it (RFC 8978): its addresses
// look valid for hours. What tells is that another prefix is announced again
// and again, and this one no longer.
//
// The zero value is empty. It holds no more than the last addresses had.
type Sightings struct {
	networks map[network]sighting
	round    uint64
}

// network is an interface and a /64, the unit that routers announce.
type network struct {
	iface  string
	prefix netip.Prefix
}

// sighting holds the last two announcements of a network, and the newest one
// that any of its addresses tells of.
type sighting struct {
	last, before, newest time.Duration
	round                uint64

	// dead tells that the network was taken for dead since its last
	// announcement. If it is announced after all, it gets patience: a silence
	// that long is not enough the next time.
	dead     bool
	patience time.Duration
}

// Observe takes in what a source returned.
func (s *Sightings) Observe(addresses []Address) {
	if s.networks == nil {
		s.networks = make(map[network]sighting)
	}
	s.round++
	for i := range addresses {
		if !announced(&addresses[i]) {
			continue
		}
		key := networkOf(&addresses[i])
		seen := s.networks[key]
		if seen.round != s.round {
			seen.round, seen.newest = s.round, 0
		}
		seen.newest = max(seen.newest, addresses[i].Refreshed)
		s.networks[key] = seen
	}
	// Only now: of two addresses of a network, such as one of DHCPv6 beside one
	// of SLAAC, the source may list either first.
	for key, seen := range s.networks {
		switch {
		case seen.round != s.round:
			delete(s.networks, key)
		case seen.newest+skew < seen.last:
			// The clock began anew, as the kernel's does: its timestamps have
			// 32 bits. How the times before compare can't be told any more.
			clear(s.networks)
			return
		case seen.newest >= seen.last+skew:
			if seen.dead {
				seen.dead, seen.patience = false, min(2*(seen.newest-seen.last), maxPatience)
			}
			seen.before, seen.last = seen.last, seen.newest
			s.networks[key] = seen
		}
	}
}

// reject turns the usable addresses of networks that are dead to NotRefreshed:
// another usable network of the same link was announced twice since they were
// for the last time, and their silence is longer than their patience.
func (s *Sightings) reject(judged []Judged) {
	if s == nil || len(s.networks) < 2 {
		return
	}
	var live sighting
	of := -1 // whose link live is of: sources list the addresses of one together
	for i := range judged {
		a := &judged[i]
		if a.Reason != Usable || !announced(&a.Address) {
			continue
		}
		if of < 0 || judged[of].Interface != a.Interface {
			live, of = s.live(a.Interface, judged), i
		}
		key := networkOf(&a.Address)
		seen := s.networks[key]
		if live.before > seen.last+2*skew && live.last > seen.last+seen.patience {
			a.Reason = NotRefreshed
			seen.dead = true
			s.networks[key] = seen
		}
	}
}

// live returns the latest announcements of the usable networks of a link. Those
// that are dead don't count, since they were announced before live ones.
func (s *Sightings) live(iface string, judged []Judged) (live sighting) {
	for i := range judged {
		if a := &judged[i]; a.Reason == Usable && a.Interface == iface && announced(&a.Address) {
			seen := s.networks[networkOf(&a.Address)]
			live.last, live.before = max(live.last, seen.last), max(live.before, seen.before)
		}
	}
	return live
}

// announced tells that the address lives by announcements whose time is known.
// A temporary address's time is that of its making.
func announced(a *Address) bool {
	return a.Refreshed > 0 && a.Flags&(FlagPermanent|FlagTemporary) == 0
}

func networkOf(a *Address) network {
	return network{a.Interface, netip.PrefixFrom(a.IP, 64).Masked()}
}

package ddnsipv6

import (
	"net/netip"
	"time"
)

// skew is by how much the times at which one router advertisement refreshed
// two addresses may differ. Routers send them 3 s apart or more (RFC 4861,
// section 6.2.1), so that it is also how far two advertisements are apart.
const skew = time.Second

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

// sighting holds the last two announcements of a network.
type sighting struct {
	last, before time.Duration
	round        uint64
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
		seen.round = s.round
		if addresses[i].Refreshed >= seen.last+skew {
			seen.before, seen.last = seen.last, addresses[i].Refreshed
		}
		s.networks[key] = seen
	}
	for key, seen := range s.networks {
		if seen.round != s.round {
			delete(s.networks, key)
		}
	}
}

// reject turns the usable addresses of networks that are dead to NotRefreshed.
func (s *Sightings) reject(judged []Judged) {
	if s == nil || len(s.networks) < 2 {
		return
	}
	for i := range judged {
		// In place: one that is rejected already announces nothing that
		// is alive, and dead networks were announced before live ones.
		if judged[i].Reason == Usable && announced(&judged[i].Address) && s.dead(&judged[i].Address, judged) {
			judged[i].Reason = NotRefreshed
		}
	}
}

// dead tells that another usable network on the address's link was announced
// twice since the address's own was for the last time.
func (s *Sightings) dead(a *Address, judged []Judged) bool {
	last := s.networks[networkOf(a)].last
	for i := range judged {
		other := &judged[i]
		if other.Reason == Usable && other.Interface == a.Interface && announced(&other.Address) &&
			s.networks[networkOf(&other.Address)].before > last+2*skew {
			return true
		}
	}
	return false
}

// announced tells that the address lives by announcements whose time is known.
// A temporary address's time is that of its making.
func announced(a *Address) bool {
	return a.Refreshed > 0 && a.Flags&(FlagPermanent|FlagTemporary) == 0
}

func networkOf(a *Address) network {
	return network{a.Interface, netip.PrefixFrom(a.IP, 64).Masked()}
}

package dnssynology

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
)

// suffixes are the domains that the service gives names in: one label and one of
// these. All are on the Public Suffix List.
var suffixes = []string{
	"synology.me.", "diskstation.me.", "i234.me.", "myds.me.",
	"dscloud.biz.", "dscloud.me.", "dscloud.mobi.",
	"dsmynas.com.", "dsmynas.net.", "dsmynas.org.",
	"familyds.com.", "familyds.net.", "familyds.org.",
}

const challengeLabel = "_acme-challenge."

// owner is a name that the service has records of, by what it is to a hostname.
type owner struct {
	hostname string // such as example.synology.me, without final dot
	place    place
}

type place int

const (
	atHost      place = iota // the hostname itself: AAAA and A
	atWildcard               // *.<hostname>: the same AAAA and A
	atChallenge              // _acme-challenge.<hostname>: TXT
)

func (o owner) fqdn() string {
	return [...]string{"", "*.", challengeLabel}[o.place] + o.hostname + "."
}

// types are the record types that there can be.
func (o owner) types() []uint16 {
	if o.place == atChallenge {
		return []uint16{dns.TypeTXT}
	}
	return []uint16{dns.TypeA, dns.TypeAAAA}
}

// servedBelow tells whether a zone is one of the suffixes or a parent of one.
func servedBelow(zone string) bool {
	return slices.ContainsFunc(suffixes, func(suffix string) bool { return dns.IsSubDomain(zone, suffix) })
}

// parseOwner takes a name apart. Its error says what the service has instead.
func parseOwner(fqdn string) (owner, error) {
	fqdn = dns.CanonicalName(fqdn)
	shown := strings.TrimSuffix(fqdn, ".")
	i := slices.IndexFunc(suffixes, func(suffix string) bool { return dns.IsSubDomain(suffix, fqdn) })
	if i < 0 {
		return owner{}, fmt.Errorf("%s is none of the DDNS service's names, which end with synology.me or one of its other suffixes: for a zone of the NAS's DNS Server package set dsm, for any other domain use the module of its own DNS provider", shown)
	}
	rest := strings.TrimSuffix(strings.TrimSuffix(fqdn, suffixes[i]), ".")
	o := owner{place: atHost}
	label := rest
	switch first, below, found := strings.Cut(rest, "."); {
	case found && first == "*":
		o.place, label = atWildcard, below
	case found && first == strings.TrimSuffix(challengeLabel, "."):
		o.place, label = atChallenge, below
	}
	switch {
	case rest == "":
		return owner{}, fmt.Errorf("%s is Synology's own: the name must have the NAS's label before it", shown)
	case strings.Contains(label, "."):
		return owner{}, fmt.Errorf("%s can't have records of its own: the DDNS service has them for %s only, and every name below has the same addresses; use a domain of your own, with a CNAME to it",
			shown, label[strings.LastIndexByte(label, '.')+1:]+"."+strings.TrimSuffix(suffixes[i], "."))
	case strings.ContainsFunc(label, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }):
		return owner{}, fmt.Errorf("%s is no hostname: %q must consist of letters, digits and hyphens", shown, label)
	}
	o.hostname = label + "." + strings.TrimSuffix(suffixes[i], ".")
	return o, nil
}

// change is what is wanted of one hostname.
type change struct {
	hostname  string
	v4, v6    netip.Addr // invalid: not wanted
	addresses []libdns.Record
	txt       string // empty: not wanted
	txtName   string
}

func (c change) hasAddress() bool { return c.v4.IsValid() || c.v6.IsValid() }

// planOf sorts records by hostname. It refuses what the service can't do, before
// anything is done.
func planOf(zone string, records []libdns.Record) ([]change, error) {
	var plan []change
	for _, record := range records {
		rr := record.RR()
		o, err := parseOwner(libdns.AbsoluteName(rr.Name, zone))
		if err != nil {
			return nil, err
		}
		if err := o.supports(rr.Type); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(plan, func(c change) bool { return c.hostname == o.hostname })
		if i < 0 {
			i = len(plan)
			plan = append(plan, change{hostname: o.hostname})
		}
		if err := plan[i].add(o, rr); err != nil {
			return nil, fmt.Errorf("%s of %s: %w", rr.Type, strings.TrimSuffix(o.fqdn(), "."), err)
		}
	}
	// Two calls that need the same challenges wait for each other, not in a circle.
	slices.SortFunc(plan, func(a, b change) int { return strings.Compare(a.hostname, b.hostname) })
	return plan, nil
}

// supports refuses a type of record that the name can't have.
func (o owner) supports(rrtype string) error {
	name := strings.TrimSuffix(o.fqdn(), ".")
	switch {
	case slices.ContainsFunc(o.types(), func(t uint16) bool { return dns.TypeToString[t] == rrtype }):
		return nil
	case rrtype == "TXT":
		return fmt.Errorf("%s can't have TXT: the DDNS service keeps it at %s%s only, for challenges; use a domain of your own for other texts", name, challengeLabel, o.hostname)
	case o.place == atChallenge:
		return fmt.Errorf("%s can't have %s: the DDNS service keeps TXT there only", name, rrtype)
	}
	return fmt.Errorf("%s can't have %s: the DDNS service keeps AAAA and A, and TXT of challenges, only; use a domain of your own, in the DNS Server package (set dsm) or at a DNS provider, which may point to %s by CNAME", name, rrtype, o.hostname)
}

// add takes in one more record, which the name can have.
func (c *change) add(o owner, rr libdns.RR) error {
	if rr.Type == "TXT" {
		if rr.Data == "" {
			return errors.New("it has no text")
		}
		if c.txt != "" && c.txt != rr.Data {
			return errors.New("one value at a time: the service may keep one only, so that a second one waits until the first is deleted")
		}
		c.txt, c.txtName = rr.Data, rr.Name
		return nil
	}
	if o.place == atWildcard {
		return fmt.Errorf("it has the addresses of %s, always: set those, and leave the wildcard out", o.hostname)
	}
	addr, err := netip.ParseAddr(rr.Data)
	family := &c.v6
	if rr.Type == "A" {
		family = &c.v4
	}
	switch {
	case err != nil, addr.Is4() != (rr.Type == "A"), addr.Is4In6(), addr.Zone() != "", addr.IsUnspecified():
		return fmt.Errorf("%q is no address of that type", rr.Data)
	case family.IsValid() && *family != addr:
		return fmt.Errorf("both %s and %s are wanted: the service keeps one address of each family", *family, addr)
	case family.IsValid():
		return nil // the same once more
	}
	*family = addr
	c.addresses = append(c.addresses, libdns.Address{Name: rr.Name, TTL: rr.TTL, IP: addr})
	return nil
}

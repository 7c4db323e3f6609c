package synologytest

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// suffixes are the zones of the free names.
var suffixes = []string{
	"synology.me", "diskstation.me", "i234.me", "myds.me",
	"dscloud.biz", "dscloud.me", "dscloud.mobi",
	"dsmynas.com", "dsmynas.net", "dsmynas.org",
	"familyds.com", "familyds.net", "familyds.org",
}

// suffixOf returns the zone that a name is in, or "".
func suffixOf(name string) string {
	for _, suffix := range suffixes {
		if name == suffix || strings.HasSuffix(name, "."+suffix) {
			return suffix
		}
	}
	return ""
}

// addresses are those of one name, empty where there is none. The service knows
// one of each family; foreign is another AAAA, of whoever edits the zone by hand.
type addresses struct{ a, aaaa, foreign string }

func (a addresses) list() []string {
	list := slices.DeleteFunc([]string{a.a, a.aaaa, a.foreign}, func(s string) bool { return s == "" })
	slices.Sort(list)
	return list
}

// contents are all zones' records. Names are in lower case, without final dot.
type contents struct {
	addresses map[string]addresses // every registered name is in it
	txt       map[string][]string
}

func (c contents) clone() contents {
	txt := make(map[string][]string, len(c.txt))
	for name, values := range c.txt {
		txt[name] = slices.Clone(values)
	}
	return contents{maps.Clone(c.addresses), txt}
}

// exists reports whether a name has records, or one below it has (an empty
// non-terminal exists too).
func (c contents) exists(name string) bool {
	below := func(owner string) bool { return owner == name || strings.HasSuffix(owner, "."+name) }
	for owner := range c.addresses {
		if below(owner) {
			return true
		}
	}
	for owner := range c.txt {
		if below(owner) {
			return true
		}
	}
	return false
}

// find returns a name's addresses, and whether the name exists. A name below a
// registered one resolves as that one does, unless it has records of its own:
// that is how wildcards work (RFC 4592).
func (c contents) find(name string) (addresses, bool) {
	if c.exists(name) {
		return c.addresses[name], true
	}
	for host, addrs := range c.addresses {
		if strings.HasSuffix(name, "."+host) {
			return addrs, true
		}
	}
	return addresses{}, false
}

// history is what the DNS server answers over time: changes reach it with a delay.
type history struct {
	delay    time.Duration
	versions []version // at least one; in order of time
}

type version struct {
	from time.Time
	contents
}

// now returns what is visible, and forgets what is not any more.
func (h *history) now() contents {
	now := time.Now()
	for len(h.versions) > 1 && !h.versions[1].from.After(now) {
		h.versions = h.versions[1:]
	}
	return h.versions[0].contents
}

// change makes the next version from the last one.
func (h *history) change(edit func(contents)) {
	last := h.versions[len(h.versions)-1]
	from := time.Now().Add(h.delay)
	if from.Before(last.from) {
		from = last.from
	}
	next := version{from, last.clone()}
	edit(next.contents)
	h.versions = append(h.versions, next)
}

// changeNow makes a change that is visible at once and stays.
func (h *history) changeNow(edit func(contents)) {
	for _, v := range h.versions {
		edit(v.contents)
	}
}

// setDelay also hurries or slows what is on its way.
func (h *history) setDelay(d time.Duration) {
	h.now()
	h.delay = d
	for i := range h.versions[1:] {
		h.versions[i+1].from = time.Now().Add(d)
	}
}

package certificates

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// maxNames is how many names are remembered; the one that nothing was heard of
	// for the longest time makes room. On-demand certificates may be of any name.
	maxNames = 1000

	// maxText is how much of an error is kept, in bytes.
	maxText = 1000
)

// Certificate tells how a name's certificate was obtained or renewed last, by this
// process.
type Certificate struct {
	Name string `json:"name"`
	// Obtaining is since when Caddy has been trying, with its repetitions.
	Obtaining *time.Time `json:"obtaining,omitempty"`
	// Obtained is when a certificate came last, and Issuer who it came from, such
	// as "acme-v02.api.letsencrypt.org-directory".
	Obtained *time.Time `json:"obtained,omitempty"`
	Issuer   string     `json:"issuer,omitempty"`
	// Failed is when it failed last, since Obtained.
	Failed *Failure `json:"failed,omitempty"`
}

// Failure is a certificate that was not obtained.
type Failure struct {
	At time.Time `json:"at"`
	// Issuers are all that were tried.
	Issuers []string `json:"issuers"`
	// Error is that of the last one, without secrets, of 1000 bytes at most.
	Error string `json:"error"`
	// Count is how often it failed in a row.
	Count int `json:"count"`
}

// book keeps what was heard of names. It outlives the configs of this process:
// whose certificate failed is of interest after a reload, too.
type book struct {
	mu    sync.Mutex // guards all following fields
	names map[string]*page
}

type page struct {
	Certificate
	heard time.Time
}

func newBook() *book { return &book{names: make(map[string]*page)} }

// change changes what is known of a name.
func (b *book) change(name string, now time.Time, f func(*Certificate)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.names[name]
	if p == nil {
		if len(b.names) >= maxNames {
			delete(b.names, b.oldest())
		}
		p = &page{Certificate: Certificate{Name: name}}
		b.names[name] = p
	}
	p.heard = now
	f(&p.Certificate)
}

func (b *book) oldest() string {
	return slices.MinFunc(slices.Collect(maps.Values(b.names)), func(p, q *page) int {
		return cmp.Or(p.heard.Compare(q.heard), strings.Compare(p.Name, q.Name))
	}).Name
}

// list returns what is known of all names, sorted.
func (b *book) list() []Certificate {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]Certificate, 0, len(b.names))
	for _, name := range slices.Sorted(maps.Keys(b.names)) {
		list = append(list, b.names[name].Certificate)
	}
	return list
}

func (c *Certificate) obtaining(now time.Time) {
	if c.Obtaining == nil {
		c.Obtaining = &now
	}
}

func (c *Certificate) obtained(now time.Time, issuer string) {
	c.Obtaining, c.Failed = nil, nil
	c.Obtained, c.Issuer = &now, issuer
}

// fail replaces the failure rather than changing it: the former one may be read.
func (c *Certificate) fail(now time.Time, issuers []string, text string) {
	count := 1
	if c.Failed != nil {
		count += c.Failed.Count
	}
	c.Failed = &Failure{At: now, Issuers: issuers, Error: shortened(text), Count: count}
}

// shortened returns the beginning of a text, in whole characters.
func shortened(text string) string {
	text = strings.ToValidUTF8(text, "�")
	if len(text) <= maxText {
		return text
	}
	end := maxText - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

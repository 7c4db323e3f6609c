package dnssynology

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	expiryWarning = 14 * 24 * time.Hour // before the end without a successor
	longestWait   = time.Hour           // timers stand still while a machine sleeps: look at the clock
	firstLook     = 20 * time.Second    // that Start waits for an answer, at most
	lookTimeout   = 5 * time.Minute
)

// Certificates serves the certificate that DSM holds for the names, and follows
// it: a renewal is served as soon as it lies there whole. What is being written,
// what does not fit together and what has vanished never takes the place of a
// pair that is good; one that has vanished is served until something newer is
// there. Fill in the fields, and don't change them after Start.
type Certificates struct {
	// Archive is the folder of DSM's archive, which has one folder a
	// certificate, such as /usr/syno/etc/certificate/_archive. A folder with
	// the files themselves will do as well. Either this or DSM.
	Archive string

	// DSM is the NAS whose Web API exports the certificate.
	DSM *DSM

	// Domains are the names to serve, "*.example.com" for all of one level.
	// Default: every name that a certificate there covers.
	Domains []string

	// PollInterval is how often everything is read without a sign of a change.
	// Default: 1 minute for the folder, 12 hours for the Web API.
	PollInterval time.Duration

	// Logger is required.
	Logger *zap.Logger

	table atomic.Pointer[table]

	// What follows belongs to Start, and then to the goroutine that it starts.
	source   source
	found    []*pair                         // by the last look
	kept     []*pair                         // that are served, and were not found any more
	clean    bool                            // whether the last look found no problem
	everRead bool                            // whether one look could read everything
	short    map[[sha256.Size]byte]time.Time // when pairs that wait in settle were first found, by sum
	first    map[string]time.Time            // when a problem was first found
	warned   map[string]bool                 // problems that were told
	expiring map[*pair]time.Time             // when the coming end was last told

	cancel context.CancelFunc
	done   chan struct{}
}

// source is where pairs come from: the folder or the Web API.
type source interface {
	// look reads what is there. served tells the pair that is served for a
	// name, if any.
	look(ctx context.Context, served func(name string) *pair) reading
	// changes has a value after something may have changed.
	changes() <-chan struct{}
	// pace is how soon a look is repeated after a problem, at first and at most;
	// every look without a success doubles it. A problem is told that lasts for
	// patience.
	pace() (first, most, patience time.Duration)
	// close ends what the source began, and waits for it.
	close(ctx context.Context) error
}

// reading is what a look found: pairs, and why there are no more of them.
type reading struct {
	pairs    []*pair
	problems []problem
	complete bool // nothing was left out but for problems of single pairs
}

// problem is one that keeps a pair from being used.
type problem struct {
	where string   // the folder or the id
	names []string // the names that it is about, if they are known
	err   error
}

// Start reads what is there, and follows it until ctx ends or Stop is called. It
// is an error only if the fields contradict each other: a certificate that is
// not there yet is waited for, with a warning.
func (c *Certificates) Start(ctx context.Context) error {
	if (c.Archive == "") == (c.DSM == nil) {
		return errors.New("the certificate comes either from the archive's folder or from DSM's Web API: exactly one of the two is needed")
	}
	if c.done != nil {
		return errors.New("the certificates were started already")
	}
	var src source
	if c.DSM != nil {
		api, err := newWebAPI(c.DSM)
		if err != nil {
			return err
		}
		src = newExport(api, c.DSM.URL, c.Domains)
		c.PollInterval = orDefault(c.PollInterval, 12*time.Hour)
	} else {
		src = newArchive(c.Archive, c.Logger)
		c.PollInterval = orDefault(c.PollInterval, time.Minute)
	}
	c.start(ctx, src)
	return nil
}

func orDefault(d, instead time.Duration) time.Duration {
	if d <= 0 {
		return instead
	}
	return d
}

func (c *Certificates) start(ctx context.Context, src source) {
	ctx, c.cancel = context.WithCancel(ctx)
	c.source, c.done = src, make(chan struct{})
	c.first, c.warned, c.expiring = map[string]time.Time{}, map[string]bool{}, map[*pair]time.Time{}
	ok := c.look(ctx, firstLook, 0)
	go c.follow(ctx, ok)
}

// Stop ends what Start began, and waits for it. What was served last is served on.
func (c *Certificates) Stop() error {
	if c.done == nil {
		return nil
	}
	c.cancel()
	<-c.done
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.source.close(ctx)
}

// Certificate returns the certificate for a handshake. It reads nothing and waits
// for nothing. For the names that are served it is a certificate or an error; for
// others both are nil, so that somebody else may know one. As long as Domains is
// empty and nothing could be read yet, every name may be one of them.
func (c *Certificates) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	t := c.table.Load()
	if t == nil {
		return nil, errors.New("DSM's certificates were not read yet")
	}
	served := t.find(strings.ToLower(hello.ServerName))
	if served == nil {
		return nil, t.unknown
	}
	for _, p := range served.pairs {
		// The last one is served in any case: the client may say why it is none.
		if p == served.pairs[len(served.pairs)-1] || hello.SupportsCertificate(&p.cert) == nil {
			return &p.cert, nil
		}
	}
	return nil, served.missing
}

// Expiry returns the names of the served certificate that ends first, and when
// that is. It is not ok if none is served.
func (c *Certificates) Expiry() (names []string, notAfter time.Time, ok bool) {
	t := c.table.Load()
	if t == nil {
		return nil, time.Time{}, false
	}
	for _, p := range t.pairs {
		if !ok || p.cert.Leaf.NotAfter.Before(notAfter) {
			names, notAfter, ok = p.names, p.cert.Leaf.NotAfter, true
		}
	}
	return slices.Clone(names), notAfter, ok
}

// look reads everything, and serves what is better than before. It tells
// problems that last, and whether there were none.
func (c *Certificates) look(ctx context.Context, timeout, patience time.Duration) bool {
	before := ctx
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r := c.source.look(ctx, func(name string) *pair {
		if served := c.table.Load().find(name); served != nil && len(served.pairs) > 0 {
			return served.pairs[0]
		}
		return nil
	})
	if before.Err() != nil {
		return true
	}
	r = c.settle(r, time.Now())
	// What was found before and is served goes on, whether it is still there or
	// not: a folder that was not readable is not an empty one.
	for _, p := range c.found {
		if !slices.ContainsFunc(c.kept, p.same) {
			c.kept = append(c.kept, p)
		}
	}
	c.found = nil
	for _, p := range r.pairs {
		if i := slices.IndexFunc(c.kept, p.same); i >= 0 {
			p = c.kept[i] // the same as before: sessions and the log need no change
			c.kept = slices.Delete(c.kept, i, i+1)
		}
		if !slices.ContainsFunc(c.found, p.same) {
			c.found = append(c.found, p)
		}
	}
	// A folder for other names does not matter.
	problems := slices.DeleteFunc(slices.Clone(r.problems), func(p problem) bool { return !c.concerns(p.names) })
	c.clean = r.complete && len(problems) == 0
	c.everRead = c.everRead || r.complete
	missing := c.choose(time.Now())
	c.tell(problems, missing, patience)
	return c.clean && len(missing) == 0
}

func (p *pair) same(q *pair) bool { return p.sum == q.sum }

// concerns tells whether one of the names is served. Names that are not known may be.
func (c *Certificates) concerns(names []string) bool {
	return len(names) == 0 || len(c.Domains) == 0 || slices.ContainsFunc(names, func(name string) bool {
		return slices.ContainsFunc(c.Domains, func(d string) bool {
			d = canonicalName(d)
			return matches(name, d) || matches(d, name)
		})
	})
}

// choose makes the table of what is best now, and tells what is new in it and
// what ends soon. It returns the domains without a certificate.
func (c *Certificates) choose(now time.Time) []string {
	old := c.table.Load()
	t := newTable(c.Domains, c.found, c.kept, c.clean, now)
	if len(c.Domains) == 0 && !c.everRead {
		t.unknown = errors.New("DSM's certificates could not be read yet: nobody knows what they are for")
	}
	// What is kept is what is served. What was found may get its turn later.
	c.kept = slices.DeleteFunc(c.kept, func(p *pair) bool { return !slices.Contains(t.pairs, p) })
	if !t.equal(old) {
		c.table.Store(t)
		for _, p := range t.pairs {
			if old == nil || !slices.Contains(old.pairs, p) {
				c.Logger.Info("serving a certificate of DSM", zap.Strings("names", p.names), zap.Stringer("key", p.kind),
					zap.Time("not_before", p.cert.Leaf.NotBefore), zap.Time("not_after", p.cert.Leaf.NotAfter), zap.String("from", p.from))
			}
		}
	}
	for p := range c.expiring {
		if !slices.Contains(t.pairs, p) {
			delete(c.expiring, p)
		}
	}
	for _, p := range t.pairs {
		if told, ok := c.expiring[p]; p.cert.Leaf.NotAfter.Sub(now) > expiryWarning || ok && now.Sub(told) < 24*time.Hour {
			continue
		}
		c.expiring[p] = now
		c.Logger.Warn("a certificate of DSM ends soon, and there is no newer one: renew it in DSM (Control Panel > Security > Certificate)",
			zap.Strings("names", p.names), zap.Time("not_after", p.cert.Leaf.NotAfter), zap.String("from", p.from))
	}
	return t.missing
}

// tell warns of each problem once, when it has lasted for patience, until it is gone.
func (c *Certificates) tell(problems []problem, missing []string, patience time.Duration) {
	if len(missing) > 0 {
		err := fmt.Errorf("no certificate for %s is there yet; it is waited for", strings.Join(missing, ", "))
		problems = append(slices.Clip(problems), problem{where: "domains", err: err})
	}
	now := time.Now()
	current := map[string]bool{}
	for _, p := range problems {
		key := p.where + "\x00" + p.err.Error()
		current[key] = true
		if _, ok := c.first[key]; !ok {
			c.first[key] = now
		}
		// What is missing because nothing could be read was told with that.
		if c.warned[key] || now.Sub(c.first[key]) < patience || p.where == "domains" && len(problems) > 1 && !c.everRead {
			continue
		}
		c.warned[key] = true
		c.Logger.Warn("cannot use a certificate of DSM; what was served before stays", zap.String("from", p.where), zap.Error(p.err))
	}
	for key := range c.first {
		if !current[key] {
			delete(c.first, key)
			delete(c.warned, key)
		}
	}
}

// table is what is served, prepared. It is not changed any more.
type table struct {
	exact    map[string]*choice
	wildcard map[string]*choice // by what follows "*."
	pairs    []*pair            // all that are served, each once
	missing  []string           // domains without a certificate
	unknown  error              // for names that are not in it, as long as nothing is known
}

// choice is what is served for one name: pairs by preference, or the error.
type choice struct {
	pairs   []*pair
	missing error
}

// newTable chooses for each name among what was found, and what was found before
// and is served; clean says that nothing hinders a look at the former.
func newTable(domains []string, found, kept []*pair, clean bool, now time.Time) *table {
	t := &table{exact: map[string]*choice{}, wildcard: map[string]*choice{}}
	var names []string
	for _, d := range domains {
		names = append(names, canonicalName(d))
	}
	wanted := slices.Clone(names)
	for _, p := range slices.Concat(found, kept) {
		for _, name := range p.names {
			if len(wanted) == 0 || slices.ContainsFunc(wanted, func(d string) bool { return matches(d, name) }) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		served := &choice{pairs: best(name, found, kept, clean, now)}
		if len(served.pairs) == 0 {
			t.missing = append(t.missing, name)
			served.missing = fmt.Errorf("DSM has no certificate for %s yet", name)
		}
		for _, p := range served.pairs {
			if !slices.Contains(t.pairs, p) {
				t.pairs = append(t.pairs, p)
			}
		}
		if base, ok := strings.CutPrefix(name, "*."); ok {
			t.wildcard[base] = served
		} else {
			t.exact[name] = served
		}
	}
	return t
}

// find returns what is served for a name in lower case, nil if that is not known.
func (t *table) find(name string) *choice {
	if t == nil {
		return nil
	}
	if base, ok := strings.CutPrefix(name, "*."); ok {
		return t.wildcard[base]
	}
	if served := t.exact[name]; served != nil {
		return served
	}
	if i := strings.IndexByte(name, '.'); i > 0 {
		return t.wildcard[name[i+1:]]
	}
	return nil
}

func (t *table) equal(u *table) bool {
	same := func(m, n map[string]*choice) bool {
		if len(m) != len(n) {
			return false
		}
		for name, served := range m {
			if other := n[name]; other == nil || !slices.Equal(served.pairs, other.pairs) {
				return false
			}
		}
		return true
	}
	return u != nil && (t.unknown == nil) == (u.unknown == nil) && same(t.exact, u.exact) && same(t.wildcard, u.wildcard)
}

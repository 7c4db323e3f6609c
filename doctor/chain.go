package doctor

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
)

// lookChain looks whether clients get from the certificate to a root that they
// trust, with nothing but what the server has sent. Whether the certificate itself
// has expired is another check's subject.
func lookChain(ctx context.Context, p *patient) Finding {
	leaf := p.chain[0]
	if isStaging(leaf) {
		return hangsOn("certificate")
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return unknown("Install the package ca-certificates on this machine.", err.Error())
	}
	finding := judgeChain(p.chain, roots, time.Now())
	authority := p.authority()
	if finding.Status == OK || authority == "" {
		return finding
	}
	local, err := p.setup.localRoots(ctx, authority)
	if err != nil {
		return unknown("Run the doctor as the user that Caddy runs as, where Caddy's data is (/data/caddy).",
			"the root certificate of Caddy's own authority can't be read: "+err.Error())
	}
	finding = judgeChain(p.chain, local, time.Now())
	if finding.Status == OK {
		finding.Seen = append(finding.Seen, "the root is that of Caddy's own authority; clients must be given its root.crt")
	}
	return finding
}

// authority is the ID of the authority of Caddy's own that has signed the
// certificate; empty: another has.
func (p *patient) authority() string {
	id := p.setup.authority()
	if id == "" && isLocal(p.chain[0]) {
		// Caddy chooses its own for names that no other would sign.
		return defaultAuthority
	}
	return id
}

// localRoots is the root of an authority of Caddy's own, from Caddy's storage.
func (s *setup) localRoots(ctx context.Context, authority string) (*x509.CertPool, error) {
	storage, release, err := s.storage(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	pem, err := storage.Load(ctx, path.Join("pki", "authorities", authority, "root.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("root.crt has no certificate")
	}
	return roots, nil
}

// storage is Caddy's. The caller must release it.
func (s *setup) storage(ctx context.Context) (certmagic.Storage, func(), error) {
	if len(s.parsed.StorageRaw) == 0 {
		return caddy.DefaultStorage, func() {}, nil
	}
	config := &caddy.Config{StorageRaw: s.parsed.StorageRaw} // LoadModule takes it away
	caddyContext, release := caddy.NewContext(caddy.Context{Context: ctx})
	module, err := caddyContext.LoadModule(config, "StorageRaw")
	if err != nil {
		release()
		return nil, nil, err
	}
	converter, fits := module.(caddy.StorageConverter)
	if !fits {
		release()
		return nil, nil, fmt.Errorf("%T is not a storage", module)
	}
	storage, err := converter.CertMagicStorage()
	if err != nil {
		release()
		return nil, nil, err
	}
	return storage, release, nil
}

// chainAdvice is for files that were put together by hand.
const chainAdvice = "Serve the whole chain: the site's certificate first, then each one's signer (the file fullchain.pem of most authorities)."

// judgeChain verifies a chain with these roots, as at a time when the certificate is
// valid.
func judgeChain(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) Finding {
	leaf := chain[0]
	sent := x509.NewCertPool()
	for _, c := range chain[1:] {
		sent.AddCert(c)
	}
	now = within(leaf, now)
	paths, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: sent, CurrentTime: now})
	if err != nil {
		return brokenChain(chain, now, err)
	}
	if stray, there := outOfOrder(chain); there {
		return wrong(chainAdvice, described(chain), fmt.Sprintf("%q has not signed the one before it, which some clients refuse", subjectOf(stray)))
	}
	shortest := slices.MinFunc(paths, func(a, b []*x509.Certificate) int { return cmp.Compare(len(a), len(b)) })
	return ok("complete: " + strings.Join(subjects(shortest), ", signed by "))
}

// brokenChain explains why a chain leads to no root.
func brokenChain(chain []*x509.Certificate, now time.Time, err error) Finding {
	for _, c := range chain[1:] {
		if within(c, now) != now {
			return wrong(chainAdvice, described(chain), fmt.Sprintf("%q is not valid: it expired at %s", subjectOf(c), c.NotAfter.UTC().Format("2006-01-02 15:04 UTC")))
		}
	}
	var unknownAuthority x509.UnknownAuthorityError
	if !errors.As(err, &unknownAuthority) {
		return wrong(chainAdvice, described(chain), err.Error())
	}
	top := last(chain)
	switch {
	case selfSigned(top):
		return wrong("Get a certificate of a public authority, or give clients that root certificate.",
			described(chain), fmt.Sprintf("this machine does not trust the root %q, and neither do clients", subjectOf(top)))
	case top != chain[0]:
		return wrong("Get a certificate of a public authority, or give clients that root certificate.",
			described(chain), fmt.Sprintf("this machine does not know %q, who has signed the last one, and neither do clients", issuerOf(top)))
	case len(chain) > 1:
		return wrong(chainAdvice, "the certificate was signed by "+issuerOf(top), fmt.Sprintf("the server sends %q after it instead", subjectOf(chain[1])))
	}
	return wrong(chainAdvice, "incomplete: the server sends no intermediate certificate after its own",
		fmt.Sprintf("missing: that of %s, who has signed it", issuerOf(top)))
}

// last follows the signatures from the first certificate as far as they go.
func last(chain []*x509.Certificate) *x509.Certificate {
	top := chain[0]
	for range chain {
		next := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return c != top && top.CheckSignatureFrom(c) == nil })
		if selfSigned(top) || next < 0 {
			break
		}
		top = chain[next]
	}
	return top
}

// outOfOrder finds the first certificate that has not signed the one before it.
func outOfOrder(chain []*x509.Certificate) (*x509.Certificate, bool) {
	for i, c := range chain[1:] {
		if chain[i].CheckSignatureFrom(c) != nil {
			return c, true
		}
	}
	return nil, false
}

// subjects are the names of certificates.
func subjects(chain []*x509.Certificate) (names []string) {
	for _, c := range chain {
		names = append(names, subjectOf(c))
	}
	return names
}

func described(chain []*x509.Certificate) string {
	return "the server sends: " + strings.Join(subjects(chain), "; ")
}

package doctor

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// lookCertificate looks at what the certificate covers, for how long, and who has
// signed it.
func lookCertificate(ctx context.Context, p *patient) Finding {
	leaf := p.chain[0]
	seen := []string{"covers " + strings.Join(covered(leaf), ", "), "signed by " + signer(leaf)}
	for _, name := range p.setup.names {
		if leaf.VerifyHostname(name) == nil {
			continue
		}
		// Another name may have a certificate of its own.
		if name != p.setup.name() {
			if chain, err := p.handshake(ctx, name); err == nil && chain[0].VerifyHostname(name) == nil {
				continue
			}
		}
		return wrong(p.setup.certificateAdvice(), append(seen, "does not cover "+name)...)
	}
	if isStaging(leaf) {
		return wrong("Clients don't trust Let's Encrypt's staging service: delete the option acme_ca from the config and reload it.", seen...)
	}
	if isLocal(leaf) {
		seen = append(seen, "clients must be given the root certificate of Caddy's own authority (root.crt)")
	}
	lifetime, valid := judgeLifetime(leaf, time.Now())
	seen = append(seen, lifetime)
	switch {
	case valid:
		return ok(seen...)
	case time.Now().Before(leaf.NotBefore):
		return wrong("Look at the clock of this machine, or get another certificate.", seen...)
	}
	return wrong(p.setup.renewalAdvice(), seen...)
}

// maxDue is the most that may be left of a certificate that is due for renewal: one
// for a year or longer is changed by hand in its last weeks.
const maxDue = 15 * 24 * time.Hour

// judgeLifetime says how long a certificate is valid, and whether that is as it
// should be: Caddy and DSM renew when a third of the lifetime is left.
func judgeLifetime(leaf *x509.Certificate, now time.Time) (seen string, valid bool) {
	left := leaf.NotAfter.Sub(now)
	until := leaf.NotAfter.UTC().Format("2006-01-02 15:04 UTC")
	switch {
	case now.Before(leaf.NotBefore):
		return fmt.Sprintf("is valid only from %s on", leaf.NotBefore.UTC().Format("2006-01-02 15:04 UTC")), false
	case left < 0:
		return fmt.Sprintf("has expired %s ago, at %s", span(-left), until), false
	case left < min(leaf.NotAfter.Sub(leaf.NotBefore)/6, maxDue):
		return fmt.Sprintf("expires in %s, at %s, and is long due for renewal", span(left), until), false
	}
	return fmt.Sprintf("valid for another %s, until %s", span(left), until), true
}

// span is a duration as people say it.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d minutes", d/time.Minute)
}

// covered are the names of a certificate; where there are none, it says so.
func covered(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return []string{"no name"}
	}
	return names
}

func signer(c *x509.Certificate) string {
	if selfSigned(c) {
		return "itself"
	}
	return issuerOf(c)
}

// issuerOf and subjectOf are the names that people know a certificate by.
func issuerOf(c *x509.Certificate) string {
	organization := strings.Join(c.Issuer.Organization, ", ")
	if organization == "" || c.Issuer.CommonName == "" {
		return cmp.Or(c.Issuer.CommonName, organization, "an authority without a name")
	}
	return fmt.Sprintf("%s (%s)", c.Issuer.CommonName, organization)
}

func subjectOf(c *x509.Certificate) string {
	return cmp.Or(c.Subject.CommonName, strings.Join(c.Subject.Organization, ", "), strings.Join(covered(c), ", "))
}

func selfSigned(c *x509.Certificate) bool { return string(c.RawIssuer) == string(c.RawSubject) }

func isStaging(c *x509.Certificate) bool { return strings.Contains(c.Issuer.String(), "(STAGING)") }

// isLocal knows the authority that Caddy makes of its own accord by its name.
func isLocal(c *x509.Certificate) bool {
	return strings.HasPrefix(c.Issuer.CommonName, "Caddy Local Authority")
}

// within is the time closest to t at which a certificate is valid.
func within(c *x509.Certificate, t time.Time) time.Time {
	if t.Before(c.NotBefore) {
		return c.NotBefore
	}
	if t.After(c.NotAfter) {
		return c.NotAfter
	}
	return t
}

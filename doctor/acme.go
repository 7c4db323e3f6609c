package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/certificates"
)

// maxDirectory bounds what is read of an authority's directory, in bytes.
const maxDirectory = 1 << 20

// ca is an authority that is spoken with by ACME.
type ca struct {
	directory string   // its URL
	roots     []string // PEM files that are trusted beside the system's roots
}

// acme are the authorities of the config for the registry's name, in the order in which
// they are tried.
func (p *patient) acme() (list []ca) {
	for _, raw := range p.setup.issuers {
		var issuer struct {
			Module string   `json:"module"`
			CA     string   `json:"ca"`
			Roots  []string `json:"trusted_roots_pem_files"`
		}
		if json.Unmarshal(raw, &issuer) != nil || issuer.Module != "acme" {
			continue
		}
		c := ca{directory: replaced(issuer.CA)}
		if c.directory == "" {
			c.directory = certmagic.LetsEncryptProductionCA
		}
		for _, file := range issuer.Roots {
			c.roots = append(c.roots, replaced(file))
		}
		list = append(list, c)
	}
	if len(p.setup.issuers) == 0 && len(p.setup.managers) == 0 && !p.setup.byHand() && p.isPublic() {
		list = []ca{{directory: certmagic.LetsEncryptProductionCA}}
	}
	return list
}

// hasACME tells whether Caddy gets the registry's certificate from an authority.
func (p *patient) hasACME() bool { return len(p.acme()) > 0 }

// lookACME looks whether the authorities can be reached, for Caddy's accounts there,
// and how Caddy fared last: the patient's acmeFailed.
func lookACME(ctx context.Context, p *patient) Finding {
	var findings []Finding
	for i, c := range p.acme() {
		directory := p.lookDirectory(ctx, c)
		if directory.cause != "" {
			return directory
		}
		if i > 0 && findings[0].Status == OK { // the others are spare ones
			directory = ok(append(directory.Seen, "it is asked only where the one before fails")...)
		}
		findings = append(findings, directory, p.lookAccount(ctx, c))
	}
	failure := p.lookFailure(ctx)
	if failure.Status == Wrong {
		p.acmeFailed = true
		if cause := p.failureCause(); cause != "" {
			return hangsOn(cause)
		}
	}
	finding := worst(append(findings, failure))
	p.acmeFailed = finding.Status == Wrong
	return finding
}

// failureCause is the earlier check because of which Caddy gets no certificate.
func (p *patient) failureCause() string {
	if p.refused != "" {
		return p.refused
	}
	if p.isPublic() && p.zone == "" {
		return "dns"
	}
	return ""
}

// lookDirectory asks an authority for its directory (RFC 8555, section 7.1.1).
func (p *patient) lookDirectory(ctx context.Context, c ca) Finding {
	where, err := url.Parse(c.directory)
	if err != nil || where.Host == "" {
		return wrong("Correct the authority's URL in the config.", "the authority's URL is none: "+c.directory)
	}
	client, err := timelessClient(where.Hostname(), c.roots)
	if err != nil {
		return wrong("Correct the authority's trusted roots in the config.", err.Error())
	}
	// The other authorities, and how Caddy fared, need time, too.
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err = readDirectory(limited, client, c.directory)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && !dns.IsNotFound && p.isPublic() && p.zone == "":
		return hangsOn("dns")
	case errors.As(err, &dns) && !dns.IsNotFound:
		return unknown("Run the doctor again in a minute.", where.Host+": "+err.Error())
	case err == nil:
		return ok("the authority " + where.Host + " can be reached")
	case isSilence(err), errors.Is(err, context.DeadlineExceeded):
		return wrong("Look whether the machine reaches the internet: the authority does not answer.", where.Host+": "+err.Error())
	}
	return wrong("Correct the authority's URL in the config, or wait: its status page tells of outages.", where.Host+": "+err.Error())
}

func readDirectory(ctx context.Context, client *http.Client, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var directory struct {
		NewOrder string `json:"newOrder"`
	}
	switch err := json.NewDecoder(io.LimitReader(resp.Body, maxDirectory)).Decode(&directory); {
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("GET %s: %s", address, resp.Status)
	case err != nil || directory.NewOrder == "":
		return fmt.Errorf("GET %s: it is no directory of an ACME server", address)
	}
	return nil
}

// lookAccount looks for Caddy's account in its storage.
func (p *patient) lookAccount(ctx context.Context, c ca) Finding {
	storage, release, err := p.setup.storage(ctx)
	if err != nil {
		return unknown("Run the doctor where Caddy runs.", "Caddy's storage: "+err.Error())
	}
	defer release()
	issuer := certmagic.ACMEIssuer{CA: c.directory}
	accounts, err := storage.List(ctx, path.Join("acme", certmagic.StorageKeys.Safe(issuer.IssuerKey()), "users"), false)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(accounts) == 0:
		return ok("Caddy has no account there yet: it makes one with the first certificate")
	case err != nil:
		return unknown("Run the doctor as the user that Caddy runs as.", "Caddy's account: "+err.Error())
	}
	return ok("Caddy has an account there")
}

// lookFailure asks the Caddy that runs how it fared with the registry's name.
func (p *patient) lookFailure(ctx context.Context) Finding {
	if p.admin == nil {
		return ok("how Caddy fared is told by docker compose logs caddy only, since its admin endpoint is off")
	}
	body, err := adminGet(ctx, p.admin, certificates.Path)
	var list certificates.List
	if err == nil {
		err = json.Unmarshal(body, &list)
	}
	if err != nil {
		return unknown("Look at docker compose logs caddy for how it fared.", err.Error())
	}
	name := strings.ToLower(p.setup.name())
	for _, want := range []string{name, wildcardOf(name)} {
		for _, c := range list.Certificates {
			if strings.EqualFold(c.Name, want) {
				return judgeCertificate(c)
			}
		}
	}
	return ok("since Caddy has started it has not asked for a certificate")
}

func judgeCertificate(c certificates.Certificate) Finding {
	clock := func(t time.Time) string { return t.Local().Format(time.DateTime) }
	switch {
	case c.Failed != nil:
		seen := []string{fmt.Sprintf("at %s Caddy failed to get a certificate: %s", clock(c.Failed.At), c.Failed.Error)}
		if c.Failed.Count > 1 {
			seen = append(seen, fmt.Sprintf("it failed %d times in a row", c.Failed.Count))
		}
		if c.Obtained != nil {
			seen = append(seen, "the last one came at "+clock(*c.Obtained))
		}
		return wrong(adviseFailure(c.Failed.Error), seen...)
	case c.Obtained != nil:
		return ok("at " + clock(*c.Obtained) + " Caddy got a certificate from " + c.Issuer)
	}
	return ok("Caddy asks for a certificate since " + clock(*c.Obtaining))
}

// failureAdvice is by a part of the error, in lower case.
var failureAdvice = []struct{ part, advice string }{
	{"ratelimited", "Wait as long as the authority says: it has been asked too often; try changes with its staging service first."},
	{"too many", "Wait as long as the authority says: it has been asked too often; try changes with its staging service first."},
	{":caa", "Permit the authority in the CAA record of the domain, or remove that."},
	{"timed out waiting for record", "Look whether the TXT record _acme-challenge of the name appears at the DNS provider; Caddy tries again by itself."},
	{"no txt record", "Wait for Caddy's next try: the authority did not see the TXT record yet; a longer propagation_delay of dns helps where that repeats."},
	{"incorrect txt record", "Remove old TXT records _acme-challenge of the name at the DNS provider; Caddy tries again by itself."},
	{"presenting for challenge", "Mend what the DNS provider complains of (mostly the credentials); Caddy tries again by itself."},
	{"no solvers available", "Set acme_dns: without it the authority has to reach this machine at port 80 or 443."},
	{"connection", "Look whether the machine reaches the internet; Caddy tries again by itself."},
	{"no such host", "Look whether the machine reaches the internet; Caddy tries again by itself."},
}

func adviseFailure(text string) string {
	text = strings.ToLower(text)
	for _, f := range failureAdvice {
		if strings.Contains(text, f.part) {
			return f.advice
		}
	}
	return "Mend what it complains of; docker compose logs caddy tells more, and Caddy tries again by itself."
}

package dnssynology

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
)

// CheckCredentials tells what is wrong with the credentials, as far as this shows
// without a request: a file that is missing, that others may read or that can't be
// read, a value that is missing. Placeholders are the caller's to replace. Errors
// have nothing of what was read.
func (p *Provider) CheckCredentials() error {
	if p.DSM != nil {
		return p.DSM.CheckCredentials()
	}
	_, err := p.credentials()
	return err
}

// CheckCredentials is [Provider.CheckCredentials] for DSM: its settings, the
// password_file and the ca_file.
func (d *DSM) CheckCredentials() error {
	if _, err := d.check(); err != nil {
		return err
	}
	if d.PasswordFile != "" {
		if _, err := readPasswordFile(d.PasswordFile); err != nil {
			return err
		}
	}
	_, err := d.tlsConfig()
	return err
}

// Check asks Synology whether it accepts the credentials for a name, and changes
// nothing: the DDNS service is told that the name is in use (a heartbeat, as DSM
// sends it all the time), and DSM is logged in to and asked whether it has the
// name in a zone of DNS Server or as a DDNS hostname. As everywhere, a login that
// DSM refused before is not tried again.
func (p *Provider) Check(ctx context.Context, name string) error {
	b, err := p.open()
	if err != nil {
		return err
	}
	return b.check(ctx, dns.CanonicalName(name))
}

func (b *serviceBackend) check(ctx context.Context, fqdn string) error {
	o, err := parseOwner(fqdn)
	if err != nil {
		return err
	}
	return b.service.pulse(ctx, o.hostname)
}

func (b *dsmBackend) check(ctx context.Context, fqdn string) error {
	zones, err := listZones(ctx, b.api)
	var missing *missingAPIError
	if err != nil && !errors.As(err, &missing) {
		return err
	}
	for _, z := range zones {
		if dns.IsSubDomain(z.name(), fqdn) {
			return nil
		}
	}
	// Without the package DNS Server it is this that needs the login.
	if w, err := openDDNS(ctx, b.api, fqdn); err != nil || w != nil {
		return err
	}
	return fmt.Errorf("DSM has %s neither in a zone of the package DNS Server nor as a DDNS hostname", strings.TrimSuffix(fqdn, "."))
}

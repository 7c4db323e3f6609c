package ddnsipv6

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/net/idna"
)

// Domain is a name and the device that it stands for: this host, unless there
// is a suffix or a MAC address.
type Domain struct {
	// Name is the full domain name, such as "nas.example.com". Required.
	Name string `json:"name,omitempty"`

	// Zone is the DNS zone that holds the name, such as "example.com".
	// Default: asked for by DNS.
	Zone string `json:"zone,omitempty"`

	// Suffix is the end of the address of another device, such as "::1:2". It
	// follows the prefix of this host's address.
	Suffix string `json:"suffix,omitempty"`

	// MAC is the hardware address of another device that makes its IPv6
	// address of it (EUI-64). The network's prefix must have 64 bits.
	MAC string `json:"mac,omitempty"`
}

// target is a Domain as the rest of the package uses it.
type target struct {
	// fqdn and zone are in lower case and end with a dot; zone is empty where
	// it has to be asked for.
	fqdn, zone string
	device     Device
}

// name is the fully qualified name as users write it.
func (t target) name() string { return strings.TrimSuffix(t.fqdn, ".") }

func (d *Domain) target() (t target, err error) {
	if t.fqdn, err = domainName("domain", d.Name); err != nil {
		return target{}, err
	}
	if d.Zone != "" {
		if t.zone, err = domainName("zone", d.Zone); err != nil {
			return target{}, fmt.Errorf("domain %s: %w", t.name(), err)
		}
		// By labels: notexample.com is not in example.com.
		if !dns.IsSubDomain(t.zone, t.fqdn) {
			return target{}, fmt.Errorf("domain %s is not in zone %s", t.name(), strings.TrimSuffix(t.zone, "."))
		}
	} else if dns.CountLabel(t.fqdn) < 2 {
		return target{}, fmt.Errorf("domain %s is no full name, such as %s.example.com, and has no zone", t.name(), t.name())
	}
	if t.device, err = d.device(); err != nil {
		return target{}, fmt.Errorf("domain %s: %w", t.name(), err)
	}
	return t, nil
}

func (d *Domain) device() (Device, error) {
	switch {
	case d.Suffix != "" && d.MAC != "":
		return Device{}, fmt.Errorf("suffix and mac exclude each other")
	case d.Suffix != "":
		suffix, err := replaced(d.Suffix)
		if err != nil {
			return Device{}, fmt.Errorf("suffix: %w", err)
		}
		return DeviceWithSuffix(suffix)
	case d.MAC != "":
		mac, err := replaced(d.MAC)
		if err != nil {
			return Device{}, fmt.Errorf("mac: %w", err)
		}
		return DeviceWithMAC(mac)
	}
	return Device{}, nil
}

// domainName returns a name as it is in DNS: ASCII, in lower case, with a dot
// at the end. option is what it is called in errors.
func domainName(option, written string) (string, error) {
	if written == "" {
		return "", fmt.Errorf("%s is empty", option)
	}
	value, err := replaced(written)
	if err != nil {
		return "", fmt.Errorf("%s: %w", option, err)
	}
	ascii, err := idna.Punycode.ToASCII(strings.ToLower(value))
	if err != nil {
		return "", fmt.Errorf("%s %q is not a domain name: %w", option, value, err)
	}
	fqdn := dns.Fqdn(ascii)
	labels, ok := dns.IsDomainName(fqdn)
	if !ok || labels == 0 || strings.ContainsFunc(fqdn, notInNames) || strings.Contains(strings.TrimPrefix(fqdn, "*."), "*") {
		return "", fmt.Errorf("%s %q is not a domain name", option, value)
	}
	return fqdn, nil
}

// notInNames tells what no name of a host has: with it something else was
// meant, a URL or a port.
func notInNames(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.*", r)
}

// prefixes parses the prefixes of an option.
func prefixes(option string, written []string) ([]netip.Prefix, error) {
	values, err := replacedAll(option, written)
	if err != nil {
		return nil, err
	}
	var list []netip.Prefix
	for _, value := range values {
		p, err := parsePrefix(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", option, err)
		}
		list = append(list, p)
	}
	return list, nil
}

// replacedAll is replaced for the values of an option.
func replacedAll(option string, written []string) ([]string, error) {
	var values []string
	for _, w := range written {
		value, err := replaced(w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", option, err)
		}
		values = append(values, value)
	}
	return values, nil
}

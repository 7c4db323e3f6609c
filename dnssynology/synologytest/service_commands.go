package synologytest

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
)

// command is one of the service's. Its fields do not include "_".
type command struct {
	methods            []string
	required, optional []string
	do                 func(s *Service, form url.Values) (code string)
}

// commands by the name that the field "_" has.
func commands() map[string]command {
	setAddresses := command{
		methods:  []string{http.MethodPost},
		required: []string{"hostname", "myds_id", "auth_key", "api_key", "serial", "mac"},
		optional: []string{"ipv4", "ipv6"},
		do:       (*Service).setAddresses,
	}
	txt := func(do func(*Service, url.Values) string) command {
		return command{
			methods:  []string{http.MethodGet},
			required: []string{"hostname", "myds_id", "auth_key", "serial", "txt"},
			do:       do,
		}
	}
	// Unknown: the fields of a heartbeat, and its method. It cannot do without a
	// name and without what the other commands have in common.
	heartbeat := func(do func(*Service, url.Values) string) command {
		return command{
			methods:  []string{http.MethodGet, http.MethodPost},
			required: []string{"hostname", "myds_id", "auth_key", "serial"},
			optional: []string{"api_key", "mac"},
			do:       do,
		}
	}
	return map[string]command{
		"hostname/create":    setAddresses,
		"hostname/update":    setAddresses,
		"letsencrypt/create": txt((*Service).createTXT),
		"letsencrypt/delete": txt((*Service).deleteTXT),
		"heartbeat/pulse":    heartbeat((*Service).pulse),
		"heartbeat/stop":     heartbeat(func(*Service, url.Values) string { return good }),
	}
}

// setAddresses changes the addresses that are given. Unknown: whether the family
// that is not given really keeps its address.
func (s *Service) setAddresses(form url.Values) (code string) {
	var given addresses
	for _, f := range []struct {
		name  string
		is    func(netip.Addr) bool
		value *string
	}{
		{"ipv4", netip.Addr.Is4, &given.a},
		{"ipv6", func(addr netip.Addr) bool { return addr.Is6() && !addr.Is4In6() && addr.Zone() == "" }, &given.aaaa},
	} {
		if !form.Has(f.name) {
			continue
		}
		addr, err := netip.ParseAddr(form.Get(f.name))
		if err != nil || !f.is(addr) || addr.IsUnspecified() {
			s.t.Errorf("synologytest: %s is %q", f.name, form.Get(f.name))
			return badparam
		}
		*f.value = addr.String()
	}
	if given == (addresses{}) {
		s.t.Errorf("synologytest: neither ipv4 nor ipv6")
		return badparam
	}
	s.history.change(func(c contents) {
		addrs := c.addresses[s.Hostname]
		if given.a != "" {
			addrs.a = given.a
		}
		if given.aaaa != "" {
			addrs.aaaa = given.aaaa
		}
		c.addresses[s.Hostname] = addrs
	})
	return good
}

// challengeName is where the TXT values of a hostname are.
func challengeName(hostname string) string { return "_acme-challenge." + hostname }

// createTXT adds a value; to have it already is no error.
func (s *Service) createTXT(form url.Values) (code string) {
	name, value := challengeName(form.Get("hostname")), form.Get("txt")
	if len(value) > 255 {
		// Unknown: what the service does with a value that no challenge has.
		return badparam
	}
	s.history.change(func(c contents) {
		switch {
		case s.oneTXTValue:
			c.txt[name] = []string{value}
		case !slices.Contains(c.txt[name], value):
			c.txt[name] = append(c.txt[name], value)
		}
	})
	return good
}

// deleteTXT removes a value. Unknown: what the service says to one that is not
// there. Here that is fine, because a client that repeats a request whose answer
// was lost must not fail.
func (s *Service) deleteTXT(form url.Values) (code string) {
	name, value := challengeName(form.Get("hostname")), form.Get("txt")
	s.history.change(func(c contents) {
		c.txt[name] = slices.DeleteFunc(c.txt[name], func(v string) bool { return v == value })
		if len(c.txt[name]) == 0 {
			delete(c.txt, name)
		}
	})
	return good
}

func (s *Service) pulse(url.Values) (code string) {
	s.heartbeats++
	return good
}

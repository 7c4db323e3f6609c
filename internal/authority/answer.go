package authority

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// RcodeError is the error code that a server answered with.
type RcodeError int

// Error names the code.
func (e RcodeError) Error() string {
	name, ok := dns.RcodeToString[int(e)]
	if !ok {
		name = fmt.Sprintf("RCODE %d", int(e))
	}
	return "answered " + name
}

// AliasError tells that a name is an alias of Target.
type AliasError struct{ Target string }

// Error names the target.
func (e *AliasError) Error() string {
	return fmt.Sprintf("it is an alias (CNAME) of %s, and has no address of its own", e.Target)
}

// Successful tells whether a name's records, or their absence, were answered. The
// error is a [RcodeError].
func Successful(r *dns.Msg) error {
	if r.Rcode == dns.RcodeSuccess || r.Rcode == dns.RcodeNameError {
		return nil
	}
	return RcodeError(r.Rcode)
}

// authoritative is Successful for an answer that no cache gave, and that is no
// referral to other servers.
func authoritative(r *dns.Msg) error {
	if err := Successful(r); err != nil {
		return err
	}
	if !r.Authoritative {
		return errors.New("it is not authoritative")
	}
	return nil
}

// AddressesOf returns the values of the address records of fqdn itself that are in
// an answer, and of the type that was asked for, sorted and without duplicates. For
// an alias that is an [*AliasError].
func AddressesOf(r *dns.Msg, fqdn string) ([]netip.Addr, error) {
	var list []netip.Addr
	for _, record := range r.Answer {
		if dns.CanonicalName(record.Header().Name) != dns.CanonicalName(fqdn) {
			continue
		}
		if rr, ok := record.(*dns.CNAME); ok {
			return nil, &AliasError{rr.Target}
		}
		if len(r.Question) != 1 || record.Header().Rrtype != r.Question[0].Qtype {
			continue // some servers add the other family
		}
		if addr, ok := addressOf(record); ok {
			list = append(list, addr)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list), nil
}

// addressOf returns the address of an address record.
func addressOf(record dns.RR) (netip.Addr, bool) {
	switch rr := record.(type) {
	case *dns.AAAA:
		addr, ok := netip.AddrFromSlice(rr.AAAA)
		return addr.Unmap(), ok
	case *dns.A:
		addr, ok := netip.AddrFromSlice(rr.A)
		return addr.Unmap(), ok
	}
	return netip.Addr{}, false
}

// serverFailures are the reasons why several servers gave no answer, in the order in
// which they were asked.
type serverFailures []error

func (f *serverFailures) add(server string, err error) {
	*f = append(*f, fmt.Errorf("%s: %w", server, err))
}

// Error joins the reasons into one line.
func (f serverFailures) Error() string {
	texts := make([]string, len(f))
	for i, err := range f {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the reasons, for [errors.Is].
func (f serverFailures) Unwrap() []error { return f }

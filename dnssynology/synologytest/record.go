package synologytest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// record is one of the package DNS Server, as it lists it.
type record struct {
	owner, ttl, kind, info string
}

// kinds are the types that records can have. Unknown: whether the package knows
// HTTPS and SVCB.
var kinds = []string{"A", "AAAA", "CAA", "CNAME", "HTTPS", "MX", "NS", "PTR", "SRV", "SVCB", "TXT"}

// full is the whole record in one line.
func (r record) full() string {
	return strings.Join([]string{r.owner, r.ttl, r.kind, r.info}, "\t")
}

// item is the record as an API's value.
func (r record) item() map[string]any {
	return map[string]any{
		"rr_owner": r.owner, "rr_ttl": r.ttl, "rr_type": r.kind, "rr_info": r.info, "full_record": r.full(),
	}
}

// checkForm finds what no client should send.
func (r record) checkForm(domain string) error {
	switch seconds, err := strconv.ParseUint(r.ttl, 10, 31); {
	case !slices.Contains(kinds, r.kind):
		return fmt.Errorf("rr_type is %q", r.kind)
	case err != nil || strconv.FormatUint(seconds, 10) != r.ttl:
		return fmt.Errorf("rr_ttl is %q", r.ttl)
	case !dns.IsFqdn(r.owner) || !dns.IsSubDomain(dns.Fqdn(domain), r.owner):
		return fmt.Errorf("rr_owner %q is not a name in %s with a final dot", r.owner, domain)
	case strings.ContainsAny(r.owner+r.info, "\t\r\n"):
		return fmt.Errorf("tabs or line breaks in a record")
	case r.kind == "TXT" && len(r.info) > 1 && strings.HasPrefix(r.info, `"`) && strings.HasSuffix(r.info, `"`):
		return fmt.Errorf("quotes around a TXT value")
	}
	return nil
}

var errRelative = errors.New("a name in rr_info has no final dot")

// parse finds whether the record could be one of a zone file, without names
// relative to the zone.
func (r record) parse() error {
	const origin = "relative.invalid."
	parser := dns.NewZoneParser(strings.NewReader(r.owner+" "+r.ttl+" IN "+r.kind+" "+r.info+"\n"), origin, "")
	rr, ok := parser.Next()
	if err := parser.Err(); err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("no record")
	}
	if strings.Contains(rr.String(), origin) {
		return errRelative
	}
	if _, more := parser.Next(); more {
		return fmt.Errorf("more than one record")
	}
	return nil
}

// quote is how a TXT value is listed. Unknown: what happens to quotes and
// backslashes in it, and to values of more than 255 bytes. Here they become what a
// zone file needs.
func quote(value string) string {
	pieces := characterStrings(value)
	for i, piece := range pieces {
		pieces[i] = `"` + piece + `"`
	}
	return strings.Join(pieces, " ")
}

// parseLine reads a line of a zone file.
func parseLine(domain, line string) (record, error) {
	parser := dns.NewZoneParser(strings.NewReader(line+"\n"), dns.Fqdn(domain), "")
	parser.SetDefaultTTL(86400)
	rr, ok := parser.Next()
	if err := parser.Err(); err != nil {
		return record{}, err
	}
	if !ok {
		return record{}, fmt.Errorf("no record")
	}
	header := rr.Header()
	return record{
		owner: header.Name,
		ttl:   strconv.FormatUint(uint64(header.Ttl), 10),
		kind:  dns.TypeToString[header.Rrtype],
		info:  strings.TrimPrefix(rr.String(), header.String()),
	}, nil
}

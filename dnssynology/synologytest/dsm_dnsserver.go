package synologytest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// DNSZone is a zone of the package DNS Server.
type DNSZone struct {
	Name     string // zone_name; default: Domain
	Domain   string // domain_name, without final dot
	Type     string // zone_type; default: "master"
	Disabled bool
	ReadOnly bool
}

// WithZone adds a master zone. Its records are lines of a zone file, in which
// owners may be relative to the zone.
func WithZone(name string, records ...string) DSMOption {
	return WithDNSZone(DNSZone{Domain: name}, records...)
}

// WithDNSZone is WithZone for other kinds of zones.
func WithDNSZone(about DNSZone, records ...string) DSMOption {
	return func(d *DSM) {
		about.Domain = strings.TrimSuffix(about.Domain, ".")
		if about.Name == "" {
			about.Name = about.Domain
		}
		if about.Type == "" {
			about.Type = "master"
		}
		z := &zone{DNSZone: about}
		for _, line := range records {
			r, err := parseLine(about.Domain, line)
			if err != nil {
				d.t.Fatalf("synologytest: record %q: %v", line, err)
			}
			z.records = append(z.records, r)
		}
		d.zones = append(d.zones, z)
	}
}

// zone is one with its records, in the order in which they came.
type zone struct {
	DNSZone
	records []record
}

// Records returns the full_record of each of a zone's records, sorted.
func (d *DSM) Records(domain string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []string
	for _, z := range d.zones {
		if z.Domain == key(domain) {
			for _, r := range z.records {
				list = append(list, r.full())
			}
		}
	}
	slices.Sort(list)
	return list
}

// codeDNSServer is what the package refuses with. Unknown: the real codes.
const codeDNSServer = 10001

var dnsServerAPIs = map[string]api{
	"SYNO.DNSServer.Zone": {min: 1, max: 1, methods: map[string]method{
		"list": {nil, (*DSM).listZones},
	}},
	"SYNO.DNSServer.Zone.Record": {min: 1, max: 1, methods: map[string]method{
		"list": {zoneParams(nil), (*DSM).listRecords},
		"create": {zoneParams(map[string]kind{
			"rr_owner": isString, "rr_type": isString, "rr_ttl": isString, "rr_info": isString,
		}), (*DSM).createRecord},
		"delete": {zoneParams(map[string]kind{"items": isObjects}), (*DSM).deleteRecords},
	}},
}

// zoneParams adds the two names that every call has.
func zoneParams(others map[string]kind) map[string]kind {
	params := map[string]kind{"zone_name": isString, "domain_name": isString}
	maps.Copy(params, others)
	return params
}

func (d *DSM) listZones(*call) (any, *apiError) {
	items := []any{}
	for _, z := range d.zones {
		items = append(items, map[string]any{
			"zone_name": z.Name, "domain_name": z.Domain, "domain_type": "forward",
			"zone_type": z.Type, "zone_enable": !z.Disabled, "is_readonly": z.ReadOnly,
		})
	}
	return map[string]any{"items": items, "total": len(items)}, nil
}

// find returns the zone that a call is about.
func (d *DSM) find(c *call) (*zone, *apiError) {
	for _, z := range d.zones {
		if z.Name == c.text("zone_name") && z.Domain == c.text("domain_name") {
			return z, nil
		}
	}
	return nil, &apiError{Code: codeDNSServer}
}

// findWritable is find for calls that change a zone.
func (d *DSM) findWritable(c *call) (*zone, *apiError) {
	z, failure := d.find(c)
	if failure == nil && (z.Type != "master" || z.ReadOnly) {
		return nil, &apiError{Code: codeDNSServer}
	}
	return z, failure
}

func (d *DSM) listRecords(c *call) (any, *apiError) {
	z, failure := d.find(c)
	if failure != nil {
		return nil, failure
	}
	items := []any{}
	for _, r := range z.records {
		items = append(items, r.item())
	}
	return map[string]any{"items": items, "total": len(items)}, nil
}

func (d *DSM) createRecord(c *call) (any, *apiError) {
	z, failure := d.findWritable(c)
	if failure != nil {
		return nil, failure
	}
	r := record{c.text("rr_owner"), c.text("rr_ttl"), c.text("rr_type"), c.text("rr_info")}
	if err := r.checkForm(z.Domain); err != nil {
		return nil, d.mistake(c, codeDNSServer, err.Error())
	}
	if r.kind == "TXT" {
		r.info = quote(r.info)
	}
	err := r.parse()
	if errors.Is(err, errRelative) {
		return nil, d.mistake(c, codeDNSServer, err.Error())
	}
	if err != nil || z.conflicts(r) {
		return nil, &apiError{Code: codeDNSServer}
	}
	z.records = append(z.records, r)
	return nil, nil
}

// conflicts reports whether a record is there already, or cannot stand beside the
// others of its name (RFC 1034, section 3.6.2). Unknown: whether DSM looks at that.
func (z *zone) conflicts(r record) bool {
	for _, other := range z.records {
		if !strings.EqualFold(other.owner, r.owner) {
			continue
		}
		if other.kind == r.kind && other.info == r.info {
			return true
		}
		if other.kind == "CNAME" || r.kind == "CNAME" {
			return true
		}
	}
	return false
}

// deleteRecords removes all items or none. Unknown: whether DSM does it like that.
func (d *DSM) deleteRecords(c *call) (any, *apiError) {
	z, failure := d.findWritable(c)
	if failure != nil {
		return nil, failure
	}
	rest := slices.Clone(z.records)
	items, _ := c.params["items"].([]any)
	if len(items) == 0 {
		return nil, d.mistake(c, codeDNSServer, "no items")
	}
	for n, item := range items {
		fields, _ := item.(map[string]any)
		if err := z.checkItem(fields); err != nil {
			return nil, d.mistake(c, codeDNSServer, fmt.Sprintf("item %d %v", n, err))
		}
		i := slices.IndexFunc(rest, func(r record) bool { return maps.Equal(r.item(), fields) })
		if i < 0 || rest[i].kind == "SOA" {
			return nil, &apiError{Code: codeDNSServer}
		}
		rest = slices.Delete(rest, i, i+1)
	}
	z.records = rest
	return nil, nil
}

// checkItem finds what can't be due to another program's having been faster.
func (z *zone) checkItem(fields map[string]any) error {
	for name := range (record{}).item() {
		if _, ok := fields[name].(string); !ok {
			return fmt.Errorf("has no string %s", name)
		}
	}
	if len(fields) != len((record{}).item()) {
		return fmt.Errorf("has other fields than a listed one")
	}
	r := record{fields["rr_owner"].(string), fields["rr_ttl"].(string), fields["rr_type"].(string), fields["rr_info"].(string)}
	if full := fields["full_record"].(string); full != r.full() {
		return fmt.Errorf("has full_record %s instead of %s", strconv.Quote(full), strconv.Quote(r.full()))
	}
	return nil
}

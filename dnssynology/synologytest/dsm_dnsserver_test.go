package synologytest

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
)

const (
	listRecords   = "SYNO.DNSServer.Zone.Record 1 list"
	createRecord  = "SYNO.DNSServer.Zone.Record 1 create"
	deleteRecords = "SYNO.DNSServer.Zone.Record 1 delete"
)

// inZone are the parameters of a call about a zone.
func inZone(name, domain string, more ...string) []string {
	return append([]string{"zone_name", strconv.Quote(name), "domain_name", strconv.Quote(domain)}, more...)
}

// creating are the parameters of a create in example.com.
func creating(owner, ttl, kind, info string) []string {
	text, _ := json.Marshal(info)
	return inZone("example.com", "example.com", "rr_owner", strconv.Quote(owner), "rr_ttl", strconv.Quote(ttl),
		"rr_type", strconv.Quote(kind), "rr_info", string(text))
}

// deleting are the parameters of a delete in example.com.
func deleting(t *testing.T, items ...map[string]any) []string {
	t.Helper()
	text, err := json.Marshal(items)
	if err != nil {
		t.Fatal(err)
	}
	return inZone("example.com", "example.com", "items", string(text))
}

// items are the records of example.com as they are listed.
func (c *client) items(t *testing.T) []map[string]any {
	t.Helper()
	data, code := c.call(t, listRecords, inZone("example.com", "example.com")...)
	var list struct {
		Items []map[string]any
		Total int
	}
	if err := json.Unmarshal([]byte(data), &list); err != nil || code != 0 || list.Total != len(list.Items) {
		t.Fatalf("code %d, error %v: %s", code, err, data)
	}
	return list.Items
}

func TestZoneRecords(t *testing.T) {
	c, r := loggedIn(t, WithZone("example.com", "@ 3600 IN NS ns.example.com.", `txt 60 TXT "a b"`, "www AAAA 2001:db8::1"))
	c.want(t, "", 0, createRecord, creating("x.example.com.", "60", "TXT", "value")...)
	c.want(t, "", 0, createRecord, creating("x.example.com.", "60", "TXT", `say "hi"`)...)
	want := []string{
		"example.com.\t3600\tNS\tns.example.com.",
		"txt.example.com.\t60\tTXT\t\"a b\"",
		"www.example.com.\t86400\tAAAA\t2001:db8::1",
		"x.example.com.\t60\tTXT\t\"say \\\"hi\\\"\"",
		"x.example.com.\t60\tTXT\t\"value\"",
	}
	equal(t, "records", c.Records("example.com"), want...)
	items := c.items(t)
	if item := items[3]; item["rr_owner"] != "x.example.com." || item["rr_type"] != "TXT" || item["rr_ttl"] != "60" ||
		item["rr_info"] != `"value"` || item["full_record"] != want[4] {
		t.Errorf("item %q", item)
	}

	c.want(t, "", 0, deleteRecords, deleting(t, items[3], items[4])...)
	equal(t, "records", c.Records("example.com"), want[:3]...)
	// All or nothing, and nothing twice.
	c.want(t, "", codeDNSServer, deleteRecords, deleting(t, items[0], items[3])...)
	c.want(t, "", codeDNSServer, deleteRecords, deleting(t, items[0], items[0])...)
	equal(t, "records", c.Records("example.com"), want[:3]...)
	equal(t, "errors", r.take())
}

// TestRecordTypes has a record of each type that libdns's own test suite uses.
func TestRecordTypes(t *testing.T) {
	c, r := loggedIn(t, WithZone("example.com"))
	var want []string
	for _, record := range [][2]string{
		{"A", "192.0.2.1"}, {"A", "192.0.2.2"}, {"AAAA", "2001:db8::1"},
		{"CAA", `128 issue "letsencrypt.org"`},
		{"HTTPS", `1 target.example.com. alpn="h2,h3" ipv4hint="192.0.2.1,192.0.2.2" ipv6hint="2001:db8::1" port="443"`},
		{"MX", "10 mx.example.com."}, {"NS", "ns1.example.com."},
		{"SRV", "10 20 443 service.example.com."}, {"SVCB", `1 . alpn="dot"`},
	} {
		c.want(t, "", 0, createRecord, creating("x.example.com.", "300", record[0], record[1])...)
		want = append(want, "x.example.com.\t300\t"+record[0]+"\t"+record[1])
	}
	c.want(t, "", 0, createRecord, creating("alias.example.com.", "300", "CNAME", "example.com.")...)
	want = append(want, "alias.example.com.\t300\tCNAME\texample.com.")
	slices.Sort(want)
	equal(t, "records", c.Records("example.com"), want...)
	c.want(t, "", 0, deleteRecords, deleting(t, c.items(t)...)...)
	equal(t, "records", c.Records("example.com"))
	equal(t, "errors", r.take())
}

// TestRecordRefused sends what a client may without a mistake of its own.
func TestRecordRefused(t *testing.T) {
	c, r := loggedIn(t, WithZone("example.com", "alias 60 CNAME example.com.", "a 60 A 192.0.2.1"))
	for _, record := range [][3]string{
		{"a.example.com.", "A", "192.0.2.1"}, // there already
		{"a.example.com.", "CNAME", "example.com."},
		{"alias.example.com.", "A", "192.0.2.1"},
		{"b.example.com.", "A", "2001:db8::1"},
		{"b.example.com.", "A", "192.0.2.1 192.0.2.2"},
		{"b.example.com.", "MX", "mail.example.com."},
	} {
		c.want(t, "", codeDNSServer, createRecord, creating(record[0], "60", record[1], record[2])...)
	}
	equal(t, "errors", r.take())
	if list := c.Records("example.com"); len(list) != 2 {
		t.Errorf("records %q", list)
	}
}

// TestRecordStrict sends what no client should.
func TestRecordStrict(t *testing.T) {
	c, r := loggedIn(t, WithZone("example.com", `txt 60 TXT "v"`))
	changed := func(name string, value any) map[string]any {
		item := c.items(t)[0]
		if value == nil {
			delete(item, name)
		} else {
			item[name] = value
		}
		return item
	}
	for _, test := range []struct {
		name, call string
		params     []string
	}{
		{"relative owner", createRecord, creating("x", "60", "A", "192.0.2.1")},
		{"no final dot", createRecord, creating("x.example.com", "60", "A", "192.0.2.1")},
		{"another zone", createRecord, creating("x.example.org.", "60", "A", "192.0.2.1")},
		{"type", createRecord, creating("x.example.com.", "60", "SOA", "x. x. 1 1 1 1 1")},
		{"ttl", createRecord, creating("x.example.com.", "1m0s", "A", "192.0.2.1")},
		{"quotes", createRecord, creating("x.example.com.", "60", "TXT", `"v"`)},
		{"relative target", createRecord, creating("x.example.com.", "60", "CNAME", "www")},
		{"line break", createRecord, creating("x.example.com.", "60", "TXT", "a\nb")},
		{"no items", deleteRecords, deleting(t)},
		{"spaces for tabs", deleteRecords, deleting(t, changed("full_record", `txt.example.com. 60 TXT "v"`))},
		{"no full_record", deleteRecords, deleting(t, changed("full_record", nil))},
		{"unquoted info", deleteRecords, deleting(t, changed("rr_info", "v"))},
		{"ttl as a number", deleteRecords, deleting(t, changed("rr_ttl", 60))},
		{"more than was listed", deleteRecords, deleting(t, changed("zone_name", "example.com"))},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, code := c.call(t, test.call, test.params...); code != codeDNSServer && code != codeBadParam {
				t.Errorf("code %d", code)
			}
			if list := r.take(); len(list) != 1 {
				t.Errorf("got errors %q, want one", list)
			}
		})
	}
	equal(t, "records", c.Records("example.com"), "txt.example.com.\t60\tTXT\t\"v\"")
}

// TestZoneKinds has zones that a client must tell apart.
func TestZoneKinds(t *testing.T) {
	c, r := loggedIn(t,
		WithDNSZone(DNSZone{Name: "inside", Domain: "example.com."}, "a 60 A 192.0.2.1"),
		WithDNSZone(DNSZone{Domain: "example.net", Type: "slave"}),
		WithDNSZone(DNSZone{Domain: "example.org", ReadOnly: true, Disabled: true}),
	)
	c.want(t, "", codeDNSServer, listRecords, inZone("example.com", "example.com")...)
	if _, code := c.call(t, listRecords, inZone("inside", "example.com")...); code != 0 {
		t.Errorf("code %d", code)
	}
	for _, domain := range []string{"example.net", "example.org"} {
		params := inZone(domain, domain, "rr_owner", strconv.Quote(domain+"."), "rr_ttl", `"60"`, "rr_type", `"A"`, "rr_info", `"192.0.2.1"`)
		c.want(t, "", codeDNSServer, createRecord, params...)
	}
	equal(t, "errors", r.take())
}

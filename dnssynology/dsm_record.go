package dnssynology

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/libdns/libdns"
)

// defaultTTL is that of records without one, in seconds. For TTL 0, libdns has any
// time below a second.
const defaultTTL = 300

// zoneRecord is a record of a zone in DNS Server.
type zoneRecord struct {
	owner string // in lower case, with final dot
	kind  string
	ttl   uint32 // seconds
	data  string // in one spelling; of TXT the text itself

	info   string          // as DSM lists it
	listed json.RawMessage // the whole item; nil if it is not from a list
}

// key is the RRset that the record is in.
func (r *zoneRecord) key() string { return r.owner + " " + r.kind }

// same tells whether DSM can't tell the records apart.
func (r *zoneRecord) same(o *zoneRecord) bool {
	return r.key() == o.key() && r.ttl == o.ttl && r.data == o.data
}

// newZoneRecord makes a record out of libdns's.
func newZoneRecord(record libdns.Record, zone string) (*zoneRecord, error) {
	rr := record.RR()
	owner, err := ownerOf(rr, zone)
	if err != nil {
		return nil, err
	}
	r := &zoneRecord{owner: owner, kind: strings.ToUpper(rr.Type), ttl: defaultTTL}
	if err := checkType(r.kind); err != nil {
		return nil, fmt.Errorf("%s: %w", owner, err)
	}
	if rr.TTL != 0 {
		seconds := int64(rr.TTL / time.Second)
		if seconds < 0 || seconds > 1<<31-1 { // RFC 2181, section 8
			return nil, fmt.Errorf("%s %s: the TTL is %s", owner, r.kind, rr.TTL)
		}
		r.ttl = uint32(seconds)
	}
	if caa, ok := record.(libdns.CAA); ok { // its RR has Go's quoting
		rr.Data = fmt.Sprintf(`%d %s "%s"`, caa.Flags, caa.Tag, escapeText(caa.Value))
	}
	if r.data, err = spell(r.kind, rr.Data, zone); err != nil {
		return nil, fmt.Errorf("%s %s: %w", owner, r.kind, err)
	}
	return r, nil
}

// spell returns data in one spelling, that of a zone file with full names. Text is
// left as it is.
func spell(kind, data, zone string) (string, error) {
	fields := strings.Fields(data)
	numbers, want := 0, 1 // fields that are numbers, before a name
	switch kind {
	case "TXT":
		return data, nil
	case "A", "AAAA":
		addr, err := netip.ParseAddr(data)
		if err != nil || addr.Zone() != "" || addr.Is4() != (kind == "A") || addr.Is4In6() {
			return "", fmt.Errorf("%q is no address for it", data)
		}
		return addr.String(), nil
	case "CAA":
		return spellCAA(data)
	case "CNAME", "NS":
	case "MX":
		numbers, want = 1, 2
	case "SRV":
		numbers, want = 3, 4
	default:
		return data, nil
	}
	if len(fields) != want {
		return "", fmt.Errorf("%q has %d fields instead of %d", data, len(fields), want)
	}
	for i, field := range fields[:numbers] {
		n, err := strconv.ParseUint(field, 10, 16)
		if err != nil {
			return "", fmt.Errorf("%q is no number up to 65535", field)
		}
		fields[i] = strconv.FormatUint(n, 10)
	}
	target, err := fullTarget(fields[numbers], zone)
	fields[numbers] = target
	return strings.Join(fields, " "), err
}

// fullTarget returns a name that data points to. Without its final dot, one of a
// single label is relative to the zone, and others are complete: that is how they
// are most likely meant, here and in DSM's lists.
func fullTarget(name, zone string) (string, error) {
	name = strings.ToLower(name)
	switch {
	case name == ".":
		return name, nil // no such service, RFC 2782 and 7505
	case name == "@":
		return zone, nil
	case strings.HasSuffix(name, "."):
	case strings.Contains(name, "."):
		name += "."
	default:
		name += "." + zone
	}
	return name, checkName(name)
}

// spellCAA reads 'flags tag "value"'.
func spellCAA(data string) (string, error) {
	flags, rest, _ := strings.Cut(strings.TrimSpace(data), " ")
	tag, value, found := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseUint(flags, 10, 8)
	if err != nil || !found || tag == "" || strings.ContainsFunc(tag, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) {
		return "", fmt.Errorf(`%q is not of the form: flags tag "value"`, data)
	}
	text, err := parseText(strings.TrimSpace(value))
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`%d %s "%s"`, n, strings.ToLower(tag), escapeText(text)), nil
}

// libdns returns the record as libdns's, of the type's own struct where there is
// one.
func (r *zoneRecord) libdns(zone string) libdns.Record {
	rr := libdns.RR{Name: relativeTo(r.owner, zone), TTL: time.Duration(r.ttl) * time.Second, Type: r.kind, Data: r.data}
	if r.kind == "CAA" {
		fields := strings.SplitN(r.data, " ", 3)
		flags, _ := strconv.ParseUint(fields[0], 10, 8)
		if value, err := parseText(fields[len(fields)-1]); err == nil && len(fields) == 3 {
			return libdns.CAA{Name: rr.Name, TTL: rr.TTL, Flags: uint8(flags), Tag: fields[1], Value: value}
		}
	}
	// An SRV record without underscores has no struct that it fits in.
	if parsed, err := rr.Parse(); err == nil && (r.kind != "SRV" || parsed.RR() == rr) {
		return parsed
	}
	return rr
}

// parseListed reads an item of DSM's list: {rr_owner, rr_type, rr_ttl, rr_info}.
func parseListed(item json.RawMessage, zone string) (*zoneRecord, error) {
	var fields struct {
		Owner string          `json:"rr_owner"`
		Type  string          `json:"rr_type"`
		TTL   json.RawMessage `json:"rr_ttl"` // a string, or a number
		Info  *string         `json:"rr_info"`
	}
	if err := json.Unmarshal(item, &fields); err != nil || fields.Owner == "" || fields.Type == "" || fields.Info == nil {
		return nil, errors.New("DSM lists a record in a form that is not known")
	}
	owner := strings.ToLower(fields.Owner)
	bare := strings.TrimSuffix(zone, ".")
	switch {
	case owner == "@":
		owner = zone
	case strings.HasSuffix(owner, "."):
	case owner == bare || strings.HasSuffix(owner, "."+bare):
		owner += "."
	default:
		owner += "." + zone
	}
	ttl, err := strconv.ParseUint(strings.Trim(string(fields.TTL), `"`), 10, 32)
	if err != nil && len(fields.TTL) > 0 && string(fields.TTL) != `""` {
		return nil, fmt.Errorf("DSM lists %s with a TTL that is no number", owner)
	}
	r := &zoneRecord{owner: owner, kind: strings.ToUpper(fields.Type), ttl: uint32(ttl), info: *fields.Info, listed: item}
	read := func(info string) (string, error) { return spell(r.kind, info, zone) }
	if r.kind == "TXT" {
		read = parseText
	}
	r.data = r.info // what makes no sense is DSM's all the same, and may stay
	if data, err := read(r.info); err == nil {
		r.data = data
	}
	return r, nil
}

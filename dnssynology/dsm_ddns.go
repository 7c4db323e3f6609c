package dnssynology

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/libdns/libdns"
)

const (
	ddnsAPI = "SYNO.Core.DDNS.Record"

	// ddnsProvider is Synology's own DDNS service among those that DSM knows, and
	// what stands for a password there.
	ddnsProvider = "Synology"
)

// ddnsEntry is a record of DSM's DDNS client.
type ddnsEntry struct {
	ID        string `json:"id"`
	Provider  string `json:"provider"`
	Hostname  string `json:"hostname"`
	Username  string `json:"username"`
	Enable    bool   `json:"enable"`
	Heartbeat bool   `json:"heartbeat"`
	Net       string `json:"net"`  // which addresses are set by hand: DEFAULT, MANUAL_V4, MANUAL_V6, MANUAL
	IPv4      string `json:"ip"`   // 0.0.0.0 for none
	IPv6      string `json:"ipv6"` // 0:0:0:0:0:0:0:0 for none
}

// name returns the hostname in lower case, with final dot.
func (e *ddnsEntry) name() string { return strings.ToLower(strings.TrimSuffix(e.Hostname, ".")) + "." }

// address returns that of a type, A or AAAA; not valid where there is none.
func (e *ddnsEntry) address(kind string) netip.Addr {
	text := e.IPv4
	if kind == "AAAA" {
		text = e.IPv6
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.IsUnspecified() || addr.Is4() != (kind == "A") {
		return netip.Addr{}
	}
	return addr
}

// setAddress sets the address of a type by hand, or removes it if addr is not
// valid. The other type is left to DSM if it was.
func (e *ddnsEntry) setAddress(kind string, addr netip.Addr) {
	mine, other := "MANUAL_V4", "MANUAL_V6"
	text := "0.0.0.0"
	if kind == "AAAA" {
		mine, other = other, mine
		text = "0:0:0:0:0:0:0:0"
	}
	if addr.IsValid() {
		text = addr.String()
	}
	if kind == "A" {
		e.IPv4 = text
	} else {
		e.IPv6 = text
	}
	switch e.Net {
	case "MANUAL", mine:
	case other:
		e.Net = "MANUAL"
	default:
		e.Net = mine
	}
}

// ddnsWriter holds the addresses of the NAS's hostnames in a zone: the hostname
// itself, or the suffix that it is below.
type ddnsWriter struct {
	api  *webAPI
	zone string
}

func (w *ddnsWriter) lockName() string { return "ddns" }

// openDDNS returns a writer if DSM has a hostname in the zone, nil if not.
func openDDNS(ctx context.Context, api *webAPI, zone string) (writer, error) {
	w := &ddnsWriter{api, zone}
	entries, err := w.list(ctx)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	return w, nil
}

// list returns the entries in the zone.
func (w *ddnsWriter) list(ctx context.Context) ([]*ddnsEntry, error) {
	var data json.RawMessage
	if err := w.api.call(ctx, ddnsAPI, "list", nil, &data); err != nil {
		return nil, err
	}
	return parseDDNS(data, w.zone)
}

// parseDDNS reads the entries in a zone: {"records": [{"id": …}, …]}.
func parseDDNS(data []byte, zone string) ([]*ddnsEntry, error) {
	var list struct {
		Records *[]*ddnsEntry `json:"records"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s list: the reply's data is not as known: %w", ddnsAPI, err)
	}
	if list.Records == nil || slices.Contains(*list.Records, nil) {
		return nil, fmt.Errorf("%s list: the reply has no records", ddnsAPI)
	}
	return slices.DeleteFunc(*list.Records, func(e *ddnsEntry) bool {
		return e.name() != zone && !strings.HasSuffix(e.name(), "."+zone)
	}), nil
}

// get returns the addresses as DSM knows them. Their TTL is not known, and 0.
func (w *ddnsWriter) get(ctx context.Context) ([]libdns.Record, error) {
	entries, err := w.list(ctx)
	if err != nil {
		return nil, err
	}
	records := []libdns.Record{}
	for _, e := range entries {
		for _, kind := range []string{"A", "AAAA"} {
			if addr := e.address(kind); addr.IsValid() {
				records = append(records, libdns.Address{Name: relativeTo(e.name(), w.zone), IP: addr})
			}
		}
	}
	return records, nil
}

// ddnsChange is what one record asks for.
type ddnsChange struct {
	entry *ddnsEntry
	kind  string     // A or AAAA
	addr  netip.Addr // not valid where it is removed
}

// change reads a record that is to be written.
func (w *ddnsWriter) change(entries []*ddnsEntry, record libdns.Record) (c ddnsChange, err error) {
	rr := record.RR()
	owner, err := ownerOf(rr, w.zone)
	if err != nil {
		return c, err
	}
	kind := strings.ToUpper(rr.Type)
	if kind != "A" && kind != "AAAA" {
		return c, fmt.Errorf("%s %s: DSM's DDNS client has A and AAAA records only: %s", owner, kind, insteadOf(kind))
	}
	i := slices.IndexFunc(entries, func(e *ddnsEntry) bool { return e.name() == owner })
	if i < 0 {
		return c, fmt.Errorf("%s is not a hostname of DSM's DDNS client; names below a hostname always have its addresses", owner)
	}
	if err := entries[i].writable(); err != nil {
		return c, err
	}
	c = ddnsChange{entry: entries[i], kind: kind}
	c.addr, err = netip.ParseAddr(rr.Data)
	if err != nil || c.addr.Is4() != (kind == "A") || c.addr.Zone() != "" || c.addr.Is4In6() || c.addr.IsUnspecified() {
		return c, fmt.Errorf("%s %s: %q is no address for it", owner, kind, rr.Data)
	}
	return c, nil
}

// writable returns why an entry can't be changed, or nil.
func (e *ddnsEntry) writable() error {
	switch {
	case !strings.EqualFold(e.Provider, ddnsProvider):
		return fmt.Errorf("%s belongs to the DDNS service %q, whose password DSM wants for every change: use that service's own provider", e.name(), e.Provider)
	case !e.Enable:
		return fmt.Errorf("%s is switched off in DSM: enable it in Control Panel > External Access > DDNS", e.name())
	}
	return nil
}

// matches returns the addresses that a record to be removed stands for: none where
// there is no such record, all of them where its type or its data is empty.
func (w *ddnsWriter) matches(entries []*ddnsEntry, record libdns.Record) (found []ddnsChange, err error) {
	rr := record.RR()
	owner, err := ownerOf(rr, w.zone)
	if err != nil {
		return nil, err
	}
	addr, _ := netip.ParseAddr(rr.Data) // what is none equals no address
	for _, e := range entries {
		for _, kind := range []string{"A", "AAAA"} {
			old := e.address(kind)
			if e.name() != owner || !old.IsValid() || rr.Type != "" && !strings.EqualFold(rr.Type, kind) || rr.Data != "" && addr != old {
				continue
			}
			if err := e.writable(); err != nil {
				return nil, err
			}
			found = append(found, ddnsChange{e, kind, old})
		}
	}
	return found, nil
}

// record returns what a change is about, as libdns has it.
func (w *ddnsWriter) record(c ddnsChange) libdns.Record {
	return libdns.Address{Name: relativeTo(c.entry.name(), w.zone), IP: c.addr}
}

// insteadOf says how to get a record of a type to a name of Synology's.
func insteadOf(kind string) string {
	if kind == "TXT" {
		return "TXT records for ACME are written through the DDNS service, without dsm and with credentials_file"
	}
	return "Synology's names have no other ones; use a domain of your own for them"
}

func (w *ddnsWriter) add(ctx context.Context, records []libdns.Record) ([]libdns.Record, error) {
	return w.write(ctx, records, true)
}

func (w *ddnsWriter) set(ctx context.Context, records []libdns.Record) ([]libdns.Record, error) {
	return w.write(ctx, records, false)
}

// write sets addresses, of which a hostname has one of each type. keep refuses to
// replace one.
func (w *ddnsWriter) write(ctx context.Context, records []libdns.Record, keep bool) ([]libdns.Record, error) {
	entries, err := w.list(ctx)
	if err != nil {
		return nil, libdns.AtomicErr(err)
	}
	given := map[string]netip.Addr{}
	var changes []ddnsChange
	var written []libdns.Record
	for _, record := range records {
		c, err := w.change(entries, record)
		if err != nil {
			return nil, libdns.AtomicErr(err)
		}
		old, key := c.entry.address(c.kind), c.entry.name()+" "+c.kind
		if keep {
			given[key] = old
		}
		if other := given[key]; other.IsValid() && other != c.addr {
			return nil, libdns.AtomicErr(fmt.Errorf("%s: a hostname of DSM's DDNS client has one address of a type, not %s and %s: set it instead of adding one", key, other, c.addr))
		}
		given[key] = c.addr
		written = append(written, w.record(c))
		if old != c.addr {
			c.entry.setAddress(c.kind, c.addr)
			changes = append(changes, c)
		}
	}
	if err := w.save(ctx, changes); err != nil {
		return w.done(ctx, changes, func(c ddnsChange, now netip.Addr) bool { return now == c.addr }), err
	}
	return written, nil
}

func (w *ddnsWriter) remove(ctx context.Context, records []libdns.Record) ([]libdns.Record, error) {
	entries, err := w.list(ctx)
	if err != nil {
		return nil, libdns.AtomicErr(err)
	}
	var changes []ddnsChange
	var removed []libdns.Record
	for _, record := range records {
		found, err := w.matches(entries, record)
		if err != nil {
			return nil, libdns.AtomicErr(err)
		}
		for _, c := range found {
			c.entry.setAddress(c.kind, netip.Addr{})
			changes, removed = append(changes, c), append(removed, w.record(c))
		}
	}
	if err := w.save(ctx, changes); err != nil {
		return w.done(ctx, changes, func(c ddnsChange, now netip.Addr) bool { return now != c.addr }), err
	}
	return removed, nil
}

// done returns which changes DSM has made although saving them failed: it is asked,
// also if the caller's time is over. None where it doesn't tell.
func (w *ddnsWriter) done(ctx context.Context, changes []ddnsChange, is func(ddnsChange, netip.Addr) bool) (records []libdns.Record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	entries, err := w.list(ctx)
	if err != nil {
		return nil
	}
	for _, c := range changes {
		i := slices.IndexFunc(entries, func(e *ddnsEntry) bool { return e.ID == c.entry.ID })
		if i >= 0 && is(c, entries[i].address(c.kind)) {
			records = append(records, w.record(c))
		}
	}
	return records
}

// save writes the entries of changes, and looks whether DSM has the addresses then.
func (w *ddnsWriter) save(ctx context.Context, changes []ddnsChange) error {
	var entries []*ddnsEntry
	for _, c := range changes {
		if !slices.Contains(entries, c.entry) {
			entries = append(entries, c.entry)
		}
	}
	for _, e := range entries {
		err := w.api.call(ctx, ddnsAPI, "set", map[string]any{
			"id": e.ID, "enable": e.Enable, "provider": ddnsProvider, "hostname": e.Hostname, "username": e.Username,
			"net": e.Net, "ip": e.IPv4, "ipv6": e.IPv6, "heartbeat": e.Heartbeat, "passwd": ddnsProvider,
		}, nil)
		if err != nil {
			return fmt.Errorf("setting the addresses of %s: %w", e.name(), err)
		}
	}
	if len(entries) == 0 {
		return nil
	}
	now, err := w.list(ctx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		i := slices.IndexFunc(now, func(o *ddnsEntry) bool { return o.ID == e.ID })
		if i < 0 {
			return errors.New(e.name() + " has gone from DSM's DDNS client")
		}
		for _, kind := range []string{"A", "AAAA"} {
			manual := e.Net == "MANUAL" || e.Net == map[string]string{"A": "MANUAL_V4", "AAAA": "MANUAL_V6"}[kind]
			if manual && now[i].address(kind) != e.address(kind) {
				return fmt.Errorf("DSM took the %s of %s, but doesn't list it as it was sent", kind, e.name())
			}
		}
	}
	return nil
}

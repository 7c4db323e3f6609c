package dnssynology

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/libdns/libdns"
)

// dsmBackend writes through a NAS: the zones of its DNS Server package, and the
// addresses of its own DDNS hostname.
//
// What a call changes it changes as a whole where it can: if something fails, what
// was there is put back, and the error is a [libdns.AtomicErr] that says "the zone
// is as it was" once DSM has listed it so.
type dsmBackend struct{ api *webAPI }

// newDSMBackend checks the settings. Nothing is asked yet.
func newDSMBackend(d *DSM) (backend, error) {
	api, err := newWebAPI(d)
	if err != nil {
		return nil, err
	}
	return &dsmBackend{api}, nil
}

// writer is what can hold records.
type writer interface {
	get(ctx context.Context) ([]libdns.Record, error)
	add(ctx context.Context, records []libdns.Record) ([]libdns.Record, error)
	set(ctx context.Context, records []libdns.Record) ([]libdns.Record, error)
	remove(ctx context.Context, records []libdns.Record) ([]libdns.Record, error)
	lockName() string
}

// undoTimeout bounds putting back what was there, which also happens if the
// caller's time is over.
const undoTimeout = 15 * time.Second

// open finds out what holds the records of a zone.
func (b *dsmBackend) open(ctx context.Context, zone string) (writer, error) {
	name, err := zoneName(zone)
	if err != nil {
		return nil, err
	}
	zones, err := listZones(ctx, b.api)
	var missing *missingAPIError
	if err != nil && !errors.As(err, &missing) {
		return nil, err
	}
	for _, z := range zones {
		if z.name() == name {
			return &zoneWriter{api: b.api, zone: z}, nil
		}
	}
	w, err := openDDNS(ctx, b.api, name)
	if err != nil || w != nil {
		return w, err
	}
	names := make([]string, 0, len(zones))
	for _, z := range zones {
		names = append(names, z.name())
	}
	has := "which is not installed"
	if missing == nil {
		has = "which has: " + strings.Join(names, " ")
	}
	return nil, fmt.Errorf("zone %s: DSM has it neither in the package DNS Server, %s, nor as a DDNS hostname of Synology's: create it there, or use the provider of who serves the zone", name, has)
}

func (b *dsmBackend) get(ctx context.Context, zone string) ([]libdns.Record, error) {
	w, err := b.open(ctx, zone)
	if err != nil {
		return nil, err
	}
	return w.get(ctx)
}

func (b *dsmBackend) add(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return b.write(ctx, zone, records, writer.add)
}

func (b *dsmBackend) set(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return b.write(ctx, zone, records, writer.set)
}

func (b *dsmBackend) remove(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return b.write(ctx, zone, records, writer.remove)
}

// write serialises the writers of a zone, of all instances in this process.
func (b *dsmBackend) write(ctx context.Context, zone string, records []libdns.Record,
	do func(writer, context.Context, []libdns.Record) ([]libdns.Record, error),
) ([]libdns.Record, error) {
	w, err := b.open(ctx, zone)
	if err != nil {
		return nil, libdns.AtomicErr(err)
	}
	if len(records) == 0 {
		return nil, nil
	}
	unlock, err := processLocks.lock(ctx, b.api.url+" "+w.lockName())
	if err != nil {
		return nil, libdns.AtomicErr(err)
	}
	defer unlock()
	return do(w, ctx, records)
}

func (b *dsmBackend) zones(ctx context.Context) ([]libdns.Zone, error) {
	found, err := listZones(ctx, b.api)
	if err != nil {
		return nil, err
	}
	zones := make([]libdns.Zone, 0, len(found))
	for _, z := range found {
		zones = append(zones, libdns.Zone{Name: z.name()})
	}
	return zones, nil
}

func (b *dsmBackend) close(ctx context.Context) error { return b.api.close(ctx) }

// zoneName returns a zone's name in lower case, with its final dot.
func zoneName(zone string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(zone, ".")) + "."
	if err := checkName(name); err != nil {
		return "", fmt.Errorf("zone %q: %w", zone, err)
	}
	return name, nil
}

// checkName refuses what can't stand for a name in a zone file. Names have their
// final dot.
func checkName(name string) error {
	if len(name) > 254 {
		return errors.New("the name is too long")
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("a label of the name has %d characters", len(label))
		}
		if strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_*/", r)
		}) {
			return fmt.Errorf("the label %q has characters other than letters, digits, hyphens and underscores", label)
		}
	}
	return nil
}

// ownerOf returns the full name of a record, in lower case.
func ownerOf(rr libdns.RR, zone string) (string, error) {
	if rr.Name == "" {
		return "", errors.New(`a record has no name; the zone's own is "@"`)
	}
	owner := strings.ToLower(libdns.AbsoluteName(rr.Name, zone))
	if owner != zone && !strings.HasSuffix(owner, "."+zone) {
		return "", fmt.Errorf("%s is not in the zone %s", owner, zone)
	}
	if err := checkName(owner); err != nil {
		return "", fmt.Errorf("record %q: %w", rr.Name, err)
	}
	return owner, nil
}

// relativeTo returns an owner as libdns has it.
func relativeTo(owner, zone string) string {
	if owner == zone {
		return "@"
	}
	return strings.TrimSuffix(owner, "."+zone)
}

// writable are the types that records of a zone can have, in the order in which
// libdns knows them.
var writable = []string{"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}

func checkType(kind string) error {
	switch {
	case slices.Contains(writable, kind):
		return nil
	case kind == "HTTPS" || kind == "SVCB":
		return fmt.Errorf("whether DNS Server takes %s records is not known, so that they are not written: enter it in DSM, or serve the zone elsewhere", kind)
	}
	return fmt.Errorf("records of type %q are not written; DNS Server takes %s", kind, strings.Join(writable, ", "))
}

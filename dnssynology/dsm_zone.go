package dnssynology

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/libdns/libdns"
)

const (
	zoneAPI   = "SYNO.DNSServer.Zone"
	recordAPI = "SYNO.DNSServer.Zone.Record"
)

// dnsZone is a zone of DNS Server, as DSM lists it.
type dnsZone struct {
	ZoneName   string `json:"zone_name"`
	DomainName string `json:"domain_name"`
	ZoneType   string `json:"zone_type"` // such as master
	ReadOnly   bool   `json:"is_readonly"`
}

// name returns the zone's name in lower case, with final dot.
func (z dnsZone) name() string { return strings.ToLower(strings.TrimSuffix(z.DomainName, ".")) + "." }

// listing is a list in a reply. Without items it is no list, rather than an empty
// one.
type listing[T any] struct {
	Items *[]T `json:"items"`
	Total *int `json:"total"`
}

func (l listing[T]) all() ([]T, error) {
	switch {
	case l.Items == nil:
		return nil, errors.New("the reply has no items")
	case l.Total != nil && *l.Total > len(*l.Items):
		return nil, fmt.Errorf("the reply has %d items of %d only", len(*l.Items), *l.Total)
	}
	return *l.Items, nil
}

// listZones returns the zones of DNS Server.
func listZones(ctx context.Context, api *webAPI) ([]dnsZone, error) {
	var list listing[dnsZone]
	if err := api.call(ctx, zoneAPI, "list", nil, &list); err != nil {
		return nil, err
	}
	zones, err := list.all()
	if err != nil {
		return nil, fmt.Errorf("%s list: %w", zoneAPI, err)
	}
	for _, z := range zones {
		if z.DomainName == "" {
			return nil, fmt.Errorf("%s list: a zone has no name", zoneAPI)
		}
	}
	return zones, nil
}

// zoneWriter holds the records of one zone.
type zoneWriter struct {
	api  *webAPI
	zone dnsZone
}

func (w *zoneWriter) lockName() string { return w.zone.name() }

// params adds the zone to a call's parameters. DSM wants both names.
func (w *zoneWriter) params(others map[string]any) map[string]any {
	p := map[string]any{"zone_name": w.zone.ZoneName, "domain_name": w.zone.DomainName}
	for name, value := range others {
		p[name] = value
	}
	return p
}

// list returns the zone's records without its SOA, which nobody may change here.
func (w *zoneWriter) list(ctx context.Context) ([]*zoneRecord, error) {
	var list listing[json.RawMessage]
	if err := w.api.call(ctx, recordAPI, "list", w.params(nil), &list); err != nil {
		return nil, err
	}
	items, err := list.all()
	if err != nil {
		return nil, fmt.Errorf("%s list: %w", recordAPI, err)
	}
	records := make([]*zoneRecord, 0, len(items))
	for _, item := range items {
		r, err := parseListed(item, w.zone.name())
		if err != nil {
			return nil, err
		}
		if r.kind != "SOA" {
			records = append(records, r)
		}
	}
	return records, nil
}

// create adds a record. If DSM makes something else of a text, that is removed
// again. before is what the zone had.
func (w *zoneWriter) create(ctx context.Context, r *zoneRecord, before []*zoneRecord) error {
	forms := []string{r.data}
	if r.kind == "TXT" {
		forms = textForms(r.data)
	}
	for _, info := range forms {
		err := w.api.call(ctx, recordAPI, "create", w.params(map[string]any{
			"rr_owner": r.owner, "rr_type": r.kind, "rr_ttl": strconv.FormatUint(uint64(r.ttl), 10), "rr_info": info,
		}), nil)
		if err != nil {
			return fmt.Errorf("creating %s %s: %w", r.owner, r.kind, err)
		}
		if len(forms) == 1 && (r.kind != "TXT" || info == r.data) {
			return nil // what it became is looked at in the end
		}
		now, err := w.list(ctx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(now, r.same) {
			return nil
		}
		stray := slices.DeleteFunc(without(now, before), func(s *zoneRecord) bool { return s.key() != r.key() })
		if err := w.delete(ctx, stray); err != nil {
			return err
		}
	}
	return fmt.Errorf("creating %s %s: DSM doesn't store this text as it is: quotes, backslashes, control characters and more than %d bytes may be too much for it", r.owner, r.kind, maxString)
}

// delete removes records, each exactly as DSM listed it, and looks whether they
// have gone. DSM's own page and the programs that were seen differ in where the
// zone's names belong: beside the items, or in each of them too.
func (w *zoneWriter) delete(ctx context.Context, records []*zoneRecord) error {
	if len(records) == 0 {
		return nil
	}
	var refused *APIError
	err := w.api.call(ctx, recordAPI, "delete", w.params(map[string]any{"items": itemsOf(records, nil)}), nil)
	if err != nil && (!errors.As(err, &refused) || refused.Code != 114 && refused.Code != 120) {
		return fmt.Errorf("deleting from %s: %w", w.zone.name(), err)
	}
	if err == nil {
		left, err := w.left(ctx, records)
		if err != nil || len(left) == 0 {
			return err
		}
		records = left
	}
	if err := w.api.call(ctx, recordAPI, "delete", map[string]any{"items": itemsOf(records, w.params(nil))}, nil); err != nil {
		return fmt.Errorf("deleting from %s: %w", w.zone.name(), err)
	}
	left, err := w.left(ctx, records)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("deleting from %s: DSM didn't refuse it, but still lists %s %s", w.zone.name(), left[0].owner, left[0].kind)
	}
	return err
}

// left returns those of the records that the zone still has. Of several that are
// alike all must have gone, since DSM can't tell them apart.
func (w *zoneWriter) left(ctx context.Context, records []*zoneRecord) ([]*zoneRecord, error) {
	now, err := w.list(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(now, func(r *zoneRecord) bool {
		return !slices.ContainsFunc(records, func(d *zoneRecord) bool { return string(d.listed) == string(r.listed) })
	}), nil
}

// itemsOf returns the records as they were listed, with further fields if wanted.
func itemsOf(records []*zoneRecord, fields map[string]any) []json.RawMessage {
	items := make([]json.RawMessage, 0, len(records))
	for _, r := range records {
		item := r.listed
		all := map[string]any{}
		if fields != nil && json.Unmarshal(item, &all) == nil {
			for name, value := range fields {
				all[name] = value
			}
			if more, err := json.Marshal(all); err == nil {
				item = more
			}
		}
		items = append(items, item)
	}
	return items
}

// without returns the records that others have no like of.
func without(records, others []*zoneRecord) []*zoneRecord {
	return slices.DeleteFunc(slices.Clone(records), func(r *zoneRecord) bool { return slices.ContainsFunc(others, r.same) })
}

// get returns all records but the SOA. Those of types that libdns doesn't know are
// a [libdns.RR]. DSM keeps no DNSSEC records among them.
func (w *zoneWriter) get(ctx context.Context) ([]libdns.Record, error) {
	list, err := w.list(ctx)
	if err != nil {
		return nil, err
	}
	return w.libdns(list), nil
}

func (w *zoneWriter) libdns(list []*zoneRecord) []libdns.Record {
	records := make([]libdns.Record, 0, len(list))
	for _, r := range list {
		records = append(records, r.libdns(w.zone.name()))
	}
	return records
}

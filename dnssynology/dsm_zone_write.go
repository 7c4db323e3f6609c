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

// checkWritable says why a zone can't be written to.
func (w *zoneWriter) checkWritable() error {
	if w.zone.ReadOnly || w.zone.ZoneType != "" && w.zone.ZoneType != "master" {
		return fmt.Errorf("zone %s is not this NAS's to change (type %s): write to its primary server", w.zone.name(), w.zone.ZoneType)
	}
	return nil
}

// wanted reads records, each once.
func (w *zoneWriter) wanted(records []libdns.Record) ([]*zoneRecord, error) {
	if err := w.checkWritable(); err != nil {
		return nil, err
	}
	var list []*zoneRecord
	for _, record := range records {
		r, err := newZoneRecord(record, w.zone.name())
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(list, r.same) {
			list = append(list, r)
		}
	}
	return list, nil
}

// add creates the records. One that the zone has already, TTL included, is as good
// as created. It is all of them or none, as far as DSM lets it be so.
func (w *zoneWriter) add(ctx context.Context, records []libdns.Record) ([]libdns.Record, error) {
	wanted, err := w.wanted(records)
	if err != nil {
		return nil, libdns.AtomicErr(err)
	}
	before, err := w.list(ctx)
	if err != nil {
		return nil, libdns.AtomicErr(err)
	}
	err = w.createAll(ctx, without(wanted, before), before)
	if err == nil {
		err = w.confirm(ctx, wanted)
	}
	if err != nil {
		return nil, w.undo(ctx, before, wanted, err)
	}
	return w.libdns(wanted), nil
}

func (w *zoneWriter) createAll(ctx context.Context, records, before []*zoneRecord) error {
	for _, r := range records {
		if err := w.create(ctx, r, before); err != nil {
			return err
		}
	}
	return nil
}

// set makes the records the only ones of their RRsets: first the new ones are
// created, then the old ones deleted, so that no RRset is ever empty, but for those
// where DSM can't have both: a CNAME, and a record whose TTL is all that changes.
func (w *zoneWriter) set(ctx context.Context, records []libdns.Record) ([]libdns.Record, error) {
	wanted, err := w.wanted(records)
	if err != nil {
		return nil, libdns.AtomicErr(err)
	}
	before, err := w.list(ctx)
	if err != nil {
		return nil, libdns.AtomicErr(err)
	}
	p := planSet(before, wanted)
	steps := []func() error{
		func() error { return w.createAll(ctx, p.create, before) },
		func() error { return w.delete(ctx, p.makeRoom) },
		func() error { return w.createAll(ctx, p.createThen, before) },
		func() error { return w.delete(ctx, p.remove) },
		func() error { return w.confirm(ctx, wanted) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, w.undo(ctx, before, wanted, err)
		}
	}
	return w.libdns(wanted), nil
}

// setPlan is what to do, in this order.
type setPlan struct{ create, makeRoom, createThen, remove []*zoneRecord }

// planSet compares what there is with what is wanted.
func planSet(before, wanted []*zoneRecord) setPlan {
	var p setPlan
	old := slices.DeleteFunc(without(before, wanted), func(r *zoneRecord) bool {
		return !slices.ContainsFunc(wanted, func(o *zoneRecord) bool { return r.key() == o.key() })
	})
	inTheWay := func(r, o *zoneRecord) bool {
		return r.key() == o.key() && (r.kind == "CNAME" || r.data == o.data)
	}
	for _, r := range without(wanted, before) {
		if slices.ContainsFunc(old, func(o *zoneRecord) bool { return inTheWay(r, o) }) {
			p.createThen = append(p.createThen, r)
		} else {
			p.create = append(p.create, r)
		}
	}
	for _, o := range old {
		if slices.ContainsFunc(p.createThen, func(r *zoneRecord) bool { return inTheWay(r, o) }) {
			p.makeRoom = append(p.makeRoom, o)
		} else {
			p.remove = append(p.remove, o)
		}
	}
	return p
}

// confirm looks whether the zone has the records.
func (w *zoneWriter) confirm(ctx context.Context, records []*zoneRecord) error {
	now, err := w.list(ctx)
	if err != nil {
		return err
	}
	if missing := without(records, now); len(missing) > 0 {
		return fmt.Errorf("DSM took %s %s, but doesn't list it as it was sent", missing[0].owner, missing[0].kind)
	}
	return nil
}

// undo puts the RRsets of the records back to what they were, and returns the
// cause, which says whether that was possible.
func (w *zoneWriter) undo(ctx context.Context, before, records []*zoneRecord, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	elsewhere := func(r *zoneRecord) bool {
		return !slices.ContainsFunc(records, func(o *zoneRecord) bool { return r.key() == o.key() })
	}
	before = slices.DeleteFunc(slices.Clone(before), elsewhere)
	var failure error
	for range 3 { // what can't stand beside something new comes back in the second round
		now, err := w.list(ctx)
		if err != nil {
			return fmt.Errorf("%w; the zone may have changed, since it can't be read: %w", cause, err)
		}
		now = slices.DeleteFunc(now, elsewhere)
		gone, added := without(before, now), without(now, before)
		if len(gone)+len(added) == 0 {
			return libdns.AtomicErr(fmt.Errorf("%w; the zone is as it was", cause))
		}
		failure = errors.Join(w.createAll(ctx, gone, now), w.delete(ctx, added))
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("%w; the zone has changed, and could not be put back: %w", cause, failure)
}

// remove deletes what matches the records, in one call.
func (w *zoneWriter) remove(ctx context.Context, records []libdns.Record) ([]libdns.Record, error) {
	if err := w.checkWritable(); err != nil {
		return nil, libdns.AtomicErr(err)
	}
	before, err := w.list(ctx)
	if err != nil {
		return nil, libdns.AtomicErr(err)
	}
	var found []*zoneRecord
	for _, record := range records {
		matches, err := w.matcher(record.RR(), record)
		if err != nil {
			return nil, libdns.AtomicErr(err)
		}
		for _, r := range before {
			if matches(r) && !slices.Contains(found, r) {
				found = append(found, r)
			}
		}
	}
	apexNS := func(r *zoneRecord) bool { return r.owner == w.zone.name() && r.kind == "NS" }
	if slices.ContainsFunc(found, apexNS) && !slices.ContainsFunc(without(before, found), apexNS) {
		return nil, libdns.AtomicErr(fmt.Errorf("%s would have no NS record any more: set the new ones instead", w.zone.name()))
	}
	if err := w.delete(ctx, found); err != nil {
		return nil, w.undo(ctx, before, found, err)
	}
	return w.libdns(found), nil
}

// matcher returns what finds the records that one without some fields stands for.
func (w *zoneWriter) matcher(rr libdns.RR, record libdns.Record) (func(*zoneRecord) bool, error) {
	zone := w.zone.name()
	owner, err := ownerOf(rr, zone)
	if err != nil {
		return nil, err
	}
	if caa, ok := record.(libdns.CAA); ok && rr.Data != "" {
		rr.Data = fmt.Sprintf(`%d %s "%s"`, caa.Flags, caa.Tag, escapeText(caa.Value))
	}
	return func(r *zoneRecord) bool {
		if r.owner != owner || rr.Type != "" && !strings.EqualFold(rr.Type, r.kind) ||
			rr.TTL != 0 && rr.TTL.Truncate(time.Second) != time.Duration(r.ttl)*time.Second {
			return false
		}
		data, err := spell(r.kind, rr.Data, zone)
		return rr.Data == "" || rr.Data == r.info || err == nil && data == r.data
	}, nil
}

package dnssynology

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/libdns/libdns"
	"github.com/miekg/dns"
	"go.uber.org/zap"
)

// remove deletes TXT values of challenges. What isn't there is no error. No
// command is known that deletes an address: one that is there is an error.
// TTLs are not compared, since it is the service that chooses them.
func (b *serviceBackend) remove(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	type target struct {
		owner
		libdns.RR
	}
	var targets []target
	for _, record := range records {
		rr := record.RR()
		o, err := parseOwner(libdns.AbsoluteName(rr.Name, zone))
		if err == nil && rr.Type != "" {
			err = o.supports(rr.Type)
		}
		if err != nil {
			return nil, err
		}
		targets = append(targets, target{o, rr})
	}
	var done []libdns.Record
	for _, t := range targets {
		b.use(t.hostname) //nolint:contextcheck // the heartbeat outlives the call
		if t.place != atChallenge {
			if err := b.keepsNoAddress(ctx, t.owner, t.RR); err != nil {
				return done, err
			}
			continue
		}
		values, err := b.removeTXT(ctx, t.hostname, t.Data)
		for _, value := range values {
			done = append(done, libdns.TXT{Name: t.Name, TTL: t.TTL, Text: value})
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// keepsNoAddress returns an error if the name has an address that is to be deleted.
func (b *serviceBackend) keepsNoAddress(ctx context.Context, o owner, rr libdns.RR) error {
	for _, rrtype := range o.types() {
		if rr.Type != "" && rr.Type != dns.TypeToString[rrtype] {
			continue
		}
		answers, err := b.server.records(ctx, o.fqdn(), rrtype)
		if err != nil {
			return err
		}
		for _, a := range answers {
			if rr.Data == "" || sameAddress(rr.Data, a.value) {
				return fmt.Errorf("deleting %s of %s: the DDNS service is not known to delete addresses; set another one, or delete the hostname in Control Panel > External Access > DDNS on the NAS", a.value, o.hostname)
			}
		}
	}
	return nil
}

// sameAddress compares addresses, however they are spelled.
func sameAddress(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX == nil && errY == nil && x == y
}

// removeTXT deletes a value of a challenge, or all if it is empty, and gives the
// hostname to the next challenge. It returns those that it has deleted.
func (b *serviceBackend) removeTXT(ctx context.Context, hostname, value string) ([]string, error) {
	shown, unseen := b.challengeValues(ctx, hostname)
	held, _, isHeld := b.holds.held(b.holdName(hostname))
	values := []string{value}
	if value == "" {
		if unseen != nil {
			return nil, unseen
		}
		values = shown
		if isHeld && !slices.Contains(shown, held) {
			values = append(values, held)
		}
	}
	var done []string
	for _, v := range values {
		isOurs := isHeld && v == held
		if !isOurs && unseen == nil && !slices.Contains(shown, v) {
			continue
		}
		deleted, err := b.deleteTXT(ctx, hostname, v)
		if err != nil {
			return done, err
		}
		if deleted {
			done = append(done, v)
		}
	}
	return done, nil
}

// deleteTXT deletes one value, unless somebody else in this process needs it. A
// failure does not keep the hostname from the next challenge, which begins with
// deleting what it finds.
func (b *serviceBackend) deleteTXT(ctx context.Context, hostname, value string) (deleted bool, err error) {
	name := b.holdName(hostname)
	if !b.holds.leave(name, value, b) {
		return false, nil
	}
	defer b.holds.release(name, value)
	err = b.service.txt(ctx, b.service.deleteTXT, hostname, value)
	var answered *ServiceError
	if errors.As(err, &answered) {
		// What the service says of a value that isn't there is not known.
		if shown, unseen := b.challengeValues(ctx, hostname); unseen == nil && !slices.Contains(shown, value) {
			b.logger.Debug("the DDNS service refused to delete a TXT value, which isn't there", zap.String("name", hostname), zap.Error(err))
			return false, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("deleting TXT of %s%s: %w", challengeLabel, strings.TrimSuffix(hostname, "."), err)
	}
	return true, nil
}

func (b *serviceBackend) challengeValues(ctx context.Context, hostname string) ([]string, error) {
	answers, err := b.server.records(ctx, challengeLabel+hostname+".", dns.TypeTXT)
	values := make([]string, len(answers))
	for i, a := range answers {
		values[i] = a.value
	}
	return values, err
}

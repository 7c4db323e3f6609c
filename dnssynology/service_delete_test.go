package dnssynology

import (
	"errors"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
	"github.com/miekg/dns"
)

func TestServiceTXTDeletions(t *testing.T) {
	const name = "_acme-challenge.example.synology.me"
	t.Run("refused where nothing is", func(t *testing.T) {
		fake := synologytest.NewService(t)
		b := newTestBackend(t, fake)
		if _, err := b.add(t.Context(), testZone, txt("v")); err != nil {
			t.Fatal(err)
		}
		fake.SetTXT(name)
		fake.Fail("badparam", 1)
		if done, err := b.remove(t.Context(), testZone, txt("v")); err != nil || len(done) != 0 {
			t.Errorf("%v, %v", done, err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		fake := synologytest.NewService(t)
		fake.SetTXT(name, "v")
		fake.Fail("badauth", 1)
		b := newTestBackend(t, fake)
		var answered *ServiceError
		if _, err := b.remove(t.Context(), testZone, txt("v")); !errors.As(err, &answered) {
			t.Error(err)
		}
	})
	t.Run("not looked for where DNS is silent", func(t *testing.T) {
		fake := synologytest.NewService(t)
		fake.SetTXT(name, "v")
		fake.FailDNS(dns.RcodeRefused, 1)
		b := newTestBackend(t, fake)
		if done, err := b.remove(t.Context(), testZone, txt("v")); err != nil || len(done) != 1 {
			t.Errorf("%v, %v", done, err)
		}
	})
	t.Run("of a value that another provider needs", func(t *testing.T) {
		fake := synologytest.NewService(t)
		a, b := newTestBackend(t, fake), newTestBackend(t, fake)
		for _, p := range []*serviceBackend{a, b} {
			if _, err := p.add(t.Context(), testZone, txt("v")); err != nil {
				t.Fatal(err)
			}
		}
		for i, p := range []*serviceBackend{a, b} {
			if done, err := p.remove(t.Context(), testZone, txt("v")); err != nil || len(done) != i || len(fake.TXT(name)) != 1-i {
				t.Errorf("%v, %v; %q", done, err, fake.TXT(name))
			}
		}
	})
}

package ddnsipv6

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
	"github.com/libdns/rfc2136"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// rfc2136Module makes a Caddy module of libdns's provider for RFC 2136.
type rfc2136Module struct{ rfc2136.Provider }

func (*rfc2136Module) CaddyModule() caddy.ModuleInfo {
	return info("dns.providers.rfc2136", func() caddy.Module { return new(rfc2136Module) })
}

// rfc2136Blind is the same without the means to read.
type rfc2136Blind struct {
	Key     string `json:"key,omitempty"`
	KeyAlg  string `json:"key_alg,omitempty"`
	KeyName string `json:"key_name,omitempty"`
	Server  string `json:"server,omitempty"`
}

func (*rfc2136Blind) CaddyModule() caddy.ModuleInfo {
	return info("dns.providers.rfc2136_blind", func() caddy.Module { return new(rfc2136Blind) })
}

func (p *rfc2136Blind) provider() *rfc2136.Provider {
	return &rfc2136.Provider{Key: p.Key, KeyAlg: p.KeyAlg, KeyName: p.KeyName, Server: p.Server}
}

func (p *rfc2136Blind) SetRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.provider().SetRecords(ctx, zone, records)
}

func (p *rfc2136Blind) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return p.provider().DeleteRecords(ctx, zone, records)
}

func init() {
	caddy.RegisterModule(new(rfc2136Module))
	caddy.RegisterModule(new(rfc2136Blind))
}

// TestBIND: with a real authoritative server the records are what dig says, also
// where the server can't be read but by DNS.
func TestBIND(t *testing.T) {
	for _, test := range []struct {
		name, provider string
		refuseTransfer bool
	}{
		{name: "read by AXFR", provider: "rfc2136"},
		{name: "AXFR refused", provider: "rfc2136", refuseTransfer: true},
		{name: "no way to read", provider: "rfc2136_blind"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bind := testenv.StartNamed(t, testenv.Zone{Name: "example.com.", RefuseTransfer: test.refuseTransfer, Records: []string{
				"nas 300 IN AAAA 2600:db8:9::1", "nas 300 IN AAAA 2600:db8:9::2", "nas 300 IN A 192.0.2.1", "nas 300 IN TXT hello",
				"xnas 300 IN AAAA 2600:db8:9::3",
			}})
			id, _, source := newFakes(t)
			source.set(nil, stable(first))
			provider, err := json.Marshal(map[string]string{"name": test.provider, "server": bind.Address, "key_name": bind.KeyName, "key_alg": bind.KeyAlg, "key": bind.Key})
			if err != nil {
				t.Fatal(err)
			}
			// Without a zone: it is found by DNS.
			config := fmt.Sprintf(`{"policies": [{"domains": [{"name": "nas.example.com"}, {"name": "printer.example.com", "suffix": "::5"}],
				"provider": %s, "sources": [{"source": "fake", "id": %q}], "resolvers": [%q], "on_missing": "remove"}]}`, provider, id, bind.Address)
			app := startWith(t, bind, config)
			await := func(nas, printer string) {
				t.Helper()
				testenv.Eventually(t, nas, func() error {
					if diff := cmp.Diff([][]string{{nas}, {printer}}, [][]string{bind.Dig(t, "nas.example.com", "AAAA"), bind.Dig(t, "printer.example.com", "AAAA")}); diff != "" {
						return errors.New(diff)
					}
					return nil
				})
			}
			await(first, "2600:db8:1::5")
			source.set(nil, stable(second))
			await(second, "2600:db8:2::5")

			// Somebody edits one record and adds to the other.
			p := &rfc2136.Provider{KeyName: bind.KeyName, KeyAlg: bind.KeyAlg, Key: bind.Key, Server: bind.Address}
			if _, err := p.SetRecords(t.Context(), "example.com.", []libdns.Record{libdns.RR{Name: "nas", Type: "AAAA", Data: third}}); err != nil {
				t.Fatal(err)
			}
			if _, err := p.AppendRecords(t.Context(), "example.com.", []libdns.Record{libdns.RR{Name: "printer", Type: "AAAA", Data: third}}); err != nil {
				t.Fatal(err)
			}
			// Where only DNS can tell, what was written a moment ago may be
			// on its way: it takes another look to be sure.
			testenv.Eventually(t, "the end of errors", func() error {
				if err := app.update(t.Context()); err != nil {
					return err
				}
				for _, n := range app.Status().Policies[0].Names {
					if n.LastError != "" {
						return errors.New(n.LastError)
					}
				}
				return nil
			})
			await(second, "2600:db8:2::5")
			if got := bind.Dig(t, "xnas.example.com", "AAAA"); !slices.Equal(got, []string{"2600:db8:9::3"}) {
				t.Errorf("another name has %v", got)
			}
			if got := slices.Concat(bind.Dig(t, "nas.example.com", "A"), bind.Dig(t, "nas.example.com", "TXT")); !slices.Equal(got, []string{"192.0.2.1", `"hello"`}) {
				t.Errorf("other types are %v", got)
			}
		})
	}
}

// TestServerDown: while the server is away the error is reported, and the record
// is right when it is back.
func TestServerDown(t *testing.T) {
	testenv.Time(t) // the first tries come after 5 s or more
	bind := testenv.StartNamed(t, testenv.Zone{Name: "example.com."})
	id, _, source := newFakes(t)
	source.set(nil, stable(first))
	bind.Stop()
	provider := fmt.Sprintf(`{"name": "rfc2136", "server": %q, "key_name": %q, "key_alg": %q, "key": %q}`, bind.Address, bind.KeyName, bind.KeyAlg, bind.Key)
	config := fmt.Sprintf(`{"policies": [{"domains": [{"name": "nas.example.com", "zone": "example.com"}], "provider": %s, "sources": [{"source": "fake", "id": %q}]}]}`, provider, id)
	app := startWith(t, bind, config)
	testenv.Eventually(t, "a failure", func() error {
		if nas(app).Failures == 0 {
			return errors.New("none yet")
		}
		return nil
	})
	bind.Start(t)
	testenv.Eventually(t, "the record", func() error {
		if got := bind.Dig(t, "nas.example.com", "AAAA"); !slices.Equal(got, []string{first}) {
			return fmt.Errorf("nas has %v", got)
		}
		return nil
	})
	if s := nas(app); s.LastError != "" || s.Confirmed != first {
		t.Errorf("status: %+v", s)
	}
}

// startWith runs a config until the test ends; the authoritative servers are
// those at the port of bind.
func startWith(t *testing.T, bind *testenv.Named, config string) *App {
	t.Helper()
	testenv.Storage(t)
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{ID: json.RawMessage(config)}})
	if err != nil {
		t.Fatal(err)
	}
	module, err := ctx.App(ID)
	if err != nil {
		t.Fatal(err)
	}
	app := module.(*App)
	app.Policies[0].authority.Port = bind.Port
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := app.Stop(); err != nil {
			t.Error(err)
		}
	})
	return app
}

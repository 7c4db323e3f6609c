package nasregistry_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2"

	_ "github.com/caddy-nas/caddy-nas-registry"
	"github.com/caddy-nas/caddy-nas-registry/dnssynology"
	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestSynologyName: ddns_ipv6 publishes and moves the address of one of
// Synology's free names, through the service, and through DSM.
func TestSynologyName(t *testing.T) {
	const first, second = "2600:db8:1::10", "2600:db8:2::10"
	service := synologytest.NewService(t)
	credentials := filepath.Join(t.TempDir(), "synology.json")
	content, err := json.Marshal(dnssynology.Credentials{
		MyDSID: service.MyDSID, AuthKey: service.AuthKey, APIKey: service.APIKey, Serial: service.Serial, MAC: service.MAC,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(credentials, content, 0o600); err != nil {
		t.Fatal(err)
	}
	dsm := synologytest.NewDSM(t, synologytest.WithDDNS("example.synology.me"))
	t.Setenv("DSM_PASSWORD", dsm.Password)
	for _, test := range []struct {
		name, provider string
		has            func() []string
	}{
		{"service", fmt.Sprintf(`{"name": "synology", "credentials_file": %q, "endpoint": %q, "nameserver": %q}`, credentials, service.URL, service.DNS),
			func() []string { return service.Addresses(service.Hostname) }},
		{"dsm", fmt.Sprintf(`{"name": "synology", "dsm": {"url": %q, "account": %q, "password": "{env.DSM_PASSWORD}", "ca_file": %q}}`, dsm.URL, dsm.Account, dsm.CAFile),
			func() []string { _, ipv6 := dsm.DDNS(); return []string{ipv6} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			testenv.Storage(t)
			t.Cleanup(func() {
				if err := caddy.Stop(); err != nil {
					t.Error(err)
				}
			})
			for _, address := range []string{first, second} {
				config := fmt.Sprintf(`{"admin": {"disabled": true, "config": {"persist": false}}, "apps": {"ddns_ipv6": {"policies": [{
					"domains": [{"name": "example.synology.me", "zone": "synology.me"}], "provider": %s,
					"sources": [{"source": "static", "addresses": [%q]}]}]}}}`, test.provider, address)
				if err := caddy.Load([]byte(config), true); err != nil {
					t.Fatal(err)
				}
				testenv.Eventually(t, address, func() error {
					if got := test.has(); !slices.Equal(got, []string{address}) {
						return fmt.Errorf("the name has %v", got)
					}
					return nil
				})
			}
		})
	}
}

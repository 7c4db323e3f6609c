package libdnstest

import (
	"context"
	"testing"

	"github.com/libdns/libdns/libdnstest"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology"
	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
)

func TestSuite(t *testing.T) {
	fake := synologytest.NewDSM(t, synologytest.WithZone("example.com",
		"@ 86400 IN NS ns.example.com.", "ns 86400 IN A 192.0.2.53"))
	p := &dnssynology.Provider{DSM: &dnssynology.DSM{
		URL: fake.URL, Account: fake.Account, Password: fake.Password, CAFile: fake.CAFile,
	}}
	t.Cleanup(func() {
		if err := p.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	suite := libdnstest.NewTestSuite(p, "example.com.")
	// Whether the package DNS Server takes them is not known: they are refused.
	suite.SkipRRTypes = map[string]bool{"HTTPS": true, "SVCB": true}
	suite.RunTests(t)
	if fake.Logins() != 1 {
		t.Errorf("%d logins", fake.Logins())
	}
}

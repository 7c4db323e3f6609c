package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/libdns/libdns"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
)

func init() {
	caddy.RegisterModule(new(readableProvider))
	caddy.RegisterModule(new(writeOnly))
}

// readableProvider is a provider that can be read, and says in its error what it should not.
type readableProvider struct {
	APIToken string `json:"api_token,omitempty"`
	Zone     string `json:"zone,omitempty"`
}

func (*readableProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.doctor_readable", New: func() caddy.Module { return new(readableProvider) }}
}

func (r *readableProvider) GetRecords(_ context.Context, zone string) ([]libdns.Record, error) {
	if zone != r.Zone {
		return nil, errors.New("403 for token " + r.APIToken)
	}
	return make([]libdns.Record, 3), nil
}

// writeOnly is a provider that can't be read.
type writeOnly struct{}

func (*writeOnly) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.doctor_write_only", New: func() caddy.Module { return new(writeOnly) }}
}

func TestProvider(t *testing.T) {
	for _, test := range []struct {
		name, provider string
		status         Status
		advice, seen   string
	}{
		{name: "accepted", provider: `{"name":"doctor_readable","zone":"example.org.","api_token":"s3cr3t-t0ken"}`, status: OK, seen: "the zone has 3 records"},
		{name: "refused", provider: `{"name":"doctor_readable","zone":"example.net.","api_token":"s3cr3t-t0ken"}`, status: Wrong, advice: "mostly the credentials", seen: "403 for token …"},
		{name: "not to be asked", provider: `{"name":"doctor_write_only"}`, status: Unknown, advice: "docker compose logs", seen: "without a change"},
		{name: "none", provider: `{"name":"doctor_none"}`, status: Wrong, advice: "settings", seen: "doctor_none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := withProvider(test.provider)
			p.zone = "example.org."
			finding := lookProvider(t.Context(), p)
			expectFinding(t, finding, test.status, test.advice, test.seen)
			if strings.Contains(strings.Join(finding.Seen, " "), "s3cr3t") {
				t.Error("a secret is shown")
			}
		})
	}
	p := withProvider(`{"name":"doctor_readable"}`)
	if f := lookProvider(t.Context(), p); f.cause != "dns" {
		t.Errorf("without a zone: %+v", f)
	}
}

func TestProviderSynology(t *testing.T) {
	s := synologytest.NewService(t)
	p := publicPatient()
	p.setup.policies = []json.RawMessage{fmt.Appendf(nil, `{"domains":[{"name":%q},{"name":"other.synology.me"}],`+
		`"provider":{"name":"synology","credentials_file":%q,"endpoint":%q,"nameserver":%q}}`, s.Hostname, s.CredentialsFile(), s.URL, s.DNS)}
	p.setup.names = []string{s.Hostname}
	expectFinding(t, lookProvider(t.Context(), p), OK, "", "accepted")
	p.setup.names = []string{"other.synology.me"}
	expectFinding(t, lookProvider(t.Context(), p), Wrong, "mostly the credentials", "synology")
	for _, r := range s.Requests() {
		if r.Command != "heartbeat/pulse" {
			t.Errorf("it sent %s", r.Command)
		}
	}
}

// A login that DSM refused is not repeated, since it blocks a host after some.
func TestProviderDSM(t *testing.T) {
	d := synologytest.NewDSM(t)
	p := withProvider(fmt.Sprintf(`{"name":"synology","dsm":{"url":%q,"account":%q,"password_file":%q,"ca_file":%q}}`,
		d.URL, d.Account, written(t, "wrong", 0o600), d.CAFile))
	p.setup.parsed.StorageRaw = fmt.Appendf(nil, `{"module":"file_system","root":%q}`, t.TempDir())
	for range 3 {
		expectFinding(t, lookProvider(t.Context(), p), Wrong, "mostly the credentials", "refused")
	}
	if n := d.FailedLogins(); n != 1 {
		t.Errorf("%d logins failed", n)
	}
}

// A provider of other names, or of the domain that a certificate's challenges are
// delegated to, is not asked for the zone of the registry's.
func TestProviderOfOthers(t *testing.T) {
	p := withProvider(`{"name":"doctor_readable","zone":"example.org.","api_token":"one"}`)
	p.zone = "example.org."
	p.setup.policies = append(p.setup.policies,
		[]byte(`{"domains":[{"name":"printer.example.net"}],"provider":{"name":"doctor_readable","zone":"example.net.","api_token":"two"}}`))
	expectFinding(t, lookProvider(t.Context(), p), OK, "", "the zone has 3 records")
	p.setup.issuers = []json.RawMessage{[]byte(`{"module":"acme","challenges":{"dns":{"override_domain":"acme.example.net",` +
		`"provider":{"name":"doctor_readable","zone":"example.net.","api_token":"two"}}}}`)}
	expectFinding(t, lookProvider(t.Context(), p), Unknown, "docker compose logs", "for another domain, acme.example.net")
}

package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/certificates"
)

// noAdmin stands for an admin endpoint that is not asked.
var noAdmin = new(http.Client)

// adminWith is an admin endpoint with a list of certificates; nil: it has none, as
// that of another program.
func adminWith(t *testing.T, list *certificates.List) *http.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if list == nil || r.URL.Path != certificates.Path {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(list)
	}))
	t.Cleanup(server.Close)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// acmePatient has a real ACME server, and a storage without an account.
func acmePatient(t *testing.T, pebble *testenv.Pebble) *patient {
	t.Helper()
	p := publicPatient()
	p.setup.issuers = []json.RawMessage{fmt.Appendf(nil, `{"module":"acme","ca":%q,"trusted_roots_pem_files":[%q]}`, pebble.Directory, pebble.RootFile)}
	p.setup.parsed.StorageRaw = fmt.Appendf(nil, `{"module":"file_system","root":%q}`, t.TempDir())
	p.admin = adminWith(t, &certificates.List{})
	p.zone = "example.org."
	return p
}

func storageRoot(t *testing.T, p *patient) string {
	t.Helper()
	var storage struct {
		Root string `json:"root"`
	}
	if err := json.Unmarshal(p.setup.parsed.StorageRaw, &storage); err != nil {
		t.Fatal(err)
	}
	return storage.Root
}

func TestACME(t *testing.T) {
	pebble := testenv.StartPebble(t, "127.0.0.1:1", 3600)
	now := time.Now()
	failed := certificates.Certificate{Name: "nas.example.org", Failed: &certificates.Failure{At: now, Count: 2, Error: "HTTP 429 urn:ietf:params:acme:error:rateLimited"}}
	for _, test := range []struct {
		name   string
		change func(t *testing.T, p *patient)
		status Status
		advice string
		seen   []string
	}{
		{name: "well, without an account", status: OK, seen: []string{"can be reached", "no account there yet", "has not asked"}},
		{
			name: "an account", status: OK, seen: []string{"has an account"},
			change: func(t *testing.T, p *patient) {
				issuer := certmagic.ACMEIssuer{CA: pebble.Directory}
				dir := filepath.Join(storageRoot(t, p), "acme", certmagic.StorageKeys.Safe(issuer.IssuerKey()), "users", "default")
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "a certificate", status: OK, seen: []string{"got a certificate from ca"},
			change: func(t *testing.T, p *patient) {
				p.admin = adminWith(t, &certificates.List{Certificates: []certificates.Certificate{{Name: "nas.example.org", Obtained: &now, Issuer: "ca"}}})
			},
		},
		{
			name: "a failure", status: Wrong, advice: "asked too often", seen: []string{"rateLimited", "2 times"},
			change: func(t *testing.T, p *patient) {
				p.admin = adminWith(t, &certificates.List{Certificates: []certificates.Certificate{failed}})
			},
		},
		{
			name: "another name's failure", status: OK,
			change: func(t *testing.T, p *patient) {
				other := failed
				other.Name = "other.example.org"
				p.admin = adminWith(t, &certificates.List{Certificates: []certificates.Certificate{other}})
			},
		},
		{
			name: "an admin endpoint without the list", status: Unknown, advice: "docker compose logs caddy", seen: []string{"404"},
			change: func(t *testing.T, p *patient) { p.admin = adminWith(t, nil) },
		},
		{
			name: "nobody there", status: Wrong, advice: "reaches the internet", seen: []string{"connection refused"},
			change: func(t *testing.T, p *patient) {
				p.setup.issuers = []json.RawMessage{fmt.Appendf(nil, `{"module":"acme","ca":"https://localhost:%d/dir"}`, testenv.FreePort(t))}
			},
		},
		{
			name: "a spare authority is away", status: OK, seen: []string{"connection refused", "only where the one before fails"},
			change: func(t *testing.T, p *patient) {
				p.setup.issuers = append(p.setup.issuers, fmt.Appendf(nil, `{"module":"acme","ca":"https://localhost:%d/dir"}`, testenv.FreePort(t)))
			},
		},
		{
			name: "not an authority", status: Wrong, advice: "Correct the authority's URL", seen: []string{"404 Not Found"},
			change: func(_ *testing.T, p *patient) {
				p.setup.issuers = []json.RawMessage{fmt.Appendf(nil, `{"module":"acme","ca":"%s/wrong","trusted_roots_pem_files":[%q]}`, pebble.Directory, pebble.RootFile)}
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := acmePatient(t, pebble)
			if test.change != nil {
				test.change(t, p)
			}
			expectFinding(t, lookACME(t.Context(), p), test.status, test.advice, test.seen...)
			if p.acmeFailed != (test.status == Wrong) {
				t.Errorf("acmeFailed is %v", p.acmeFailed)
			}
		})
	}
}

// A failure of what other checks found to be broken is theirs; TLS hangs on it all the
// same.
func TestACMECause(t *testing.T) {
	pebble := testenv.StartPebble(t, "127.0.0.1:1", 3600)
	list := &certificates.List{Certificates: []certificates.Certificate{{Name: "nas.example.org", Failed: &certificates.Failure{Error: "403"}}}}
	for _, test := range []struct {
		name, want string
		change     func(*patient)
	}{
		{"credentials", "credentials", func(p *patient) { p.refused = "credentials" }},
		{"name servers", "dns", func(p *patient) { p.zone = "" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := acmePatient(t, pebble)
			p.admin = adminWith(t, list)
			test.change(p)
			if finding := lookACME(t.Context(), p); finding.cause != test.want || !p.acmeFailed {
				t.Errorf("got %+v, acmeFailed %v", finding, p.acmeFailed)
			}
		})
	}
}

func TestHasACME(t *testing.T) {
	for _, test := range []struct {
		name, site        string
		issuers, managers []json.RawMessage
		certificates      string
		want              bool
	}{
		{name: "files", site: "nas.example.org", certificates: `{"load_files":[{"certificate":"/c.pem","key":"/k.pem"}]}`},
		{name: "Caddy's own choice", site: "nas.example.org", want: true},
		{name: "of a private name", site: "nas.lan"},
		{name: "a source of certificates", site: "nas.example.org", managers: []json.RawMessage{[]byte(`{"via":"synology"}`)}},
		{name: "ACME of a private name", site: "nas.lan", issuers: []json.RawMessage{[]byte(`{"module":"acme","ca":"https://ca.lan/dir"}`)}, want: true},
		{name: "Caddy's own authority", site: "nas.example.org", issuers: []json.RawMessage{[]byte(`{"module":"internal"}`)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := fmt.Appendf(nil, `{"certificates":%s}`, cmp.Or(test.certificates, "null"))
			p := &patient{setup: &setup{
				names: []string{test.site}, issuers: test.issuers, managers: test.managers,
				parsed: &caddy.Config{AppsRaw: caddy.ModuleMap{"tls": app}},
			}}
			if got := p.hasACME(); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

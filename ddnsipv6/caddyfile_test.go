package ddnsipv6

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// UnmarshalCaddyfile lets the fakes be named in Caddyfiles.
func (m *fakeModule) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // module name
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		value := &m.ID
		if d.Val() == "api_token" {
			value = &m.APIToken
		}
		if !d.AllArgs(value) {
			return d.ArgErr()
		}
	}
	return nil
}

// TestAdapt holds a Caddyfile for every option, and more bad ones, against what
// must become of them.
func TestAdapt(t *testing.T) { testenv.Adapt(t) }

// TestAdaptedIsValid: what the good ones become is loaded as strict JSON, and
// is valid.
func TestAdaptedIsValid(t *testing.T) {
	testenv.Storage(t)
	t.Setenv("CAMERA", "camera.example.com")
	t.Setenv("TOKEN", "s3cr3t-t0ken")
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	valid := 0
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "bad_") {
			continue
		}
		valid++
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, adapted, _ := strings.Cut(string(content), "----------\n")
		var config caddy.Config
		if err := caddy.StrictUnmarshalJSON([]byte(adapted), &config); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := caddy.Validate(&config); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if valid < 5 {
		t.Errorf("only %d good ones", valid)
	}
}

// TestBadConfig: configs that are refused, whichever way they were written, and
// what their authors are told.
func TestBadConfig(t *testing.T) {
	testenv.Storage(t)
	t.Setenv("EMPTY", "")
	const good = `"domains": [{"name": "nas.example.com"}], "provider": {"name": "fake"}`
	tests := []struct{ name, policies, want string }{
		{"no domain", `{"provider": {"name": "fake"}}`, "policy 1 (provider fake): no domain is listed"},
		{"null policy", `null`, "policy 1 is null"},
		{"null domain", `{"domains": [null], "provider": {"name": "fake"}}`, "domain is empty"},
		{"no provider", `{"domains": [{"name": "nas.example.com"}]}`, "policy 1: no provider is set"},
		{"empty name", `{"domains": [{}], "provider": {"name": "fake"}}`, "domain is empty"},
		{"no zone", `{"domains": [{"name": "nas"}], "provider": {"name": "fake"}}`, "domain nas is no full name, such as nas.example.com, and has no zone"},
		{"not a name", `{"domains": [{"name": "https://nas.example.com:5002"}], "provider": {"name": "fake"}}`, `domain "https://nas.example.com:5002" is not a domain name`},
		{"star in the middle", `{"domains": [{"name": "a.*.example.com"}], "provider": {"name": "fake"}}`, `domain "a.*.example.com" is not a domain name`},
		{"outside of the zone", `{"domains": [{"name": "notexample.com", "zone": "example.com"}], "provider": {"name": "fake"}}`,
			"domain notexample.com is not in zone example.com"},
		{"IPv4 suffix", `{"domains": [{"name": "nas.example.com", "suffix": "192.0.2.1"}], "provider": {"name": "fake"}}`, `domain nas.example.com: suffix "192.0.2.1" is an IPv4 address`},
		{"bad MAC", `{"domains": [{"name": "nas.example.com", "mac": "00:11"}], "provider": {"name": "fake"}}`, `mac "00:11" is not a MAC address`},
		{"suffix and MAC", `{"domains": [{"name": "nas.example.com", "suffix": "::1", "mac": "00:11:32:aa:bb:cc"}], "provider": {"name": "fake"}}`, "suffix and mac exclude each other"},
		{"unknown placeholder", `{"domains": [{"name": "nas.{nobody}"}], "provider": {"name": "fake"}}`, "domain: unrecognized placeholder {nobody}"},
		{"empty placeholder", `{"domains": [{"name": "nas.{env.EMPTY}"}], "provider": {"name": "fake"}}`, "domain: evaluated placeholder {env.EMPTY} is empty"},
		{"negative interval", `{` + good + `, "verify_interval": "-1h"}`, "verify_interval is -1h0m0s; it must be at least 1s"},
		{"interval below a second", `{` + good + `, "verify_interval": "999ms"}`, "verify_interval is 999ms; it must be at least 1s"},
		{"negative keepalive", `{` + good + `, "keepalive": "-1h"}`, "keepalive is -1h0m0s"},
		{"negative TTL", `{` + good + `, "ttl": -5}`, "ttl is -5ns"},
		{"on_missing", `{` + good + `, "on_missing": "panic"}`, `on_missing is "panic"; it must be keep or remove`},
		{"include", `{` + good + `, "include": ["10.0.0.0/8"]}`, `include: prefix "10.0.0.0/8" is not one of IPv6 addresses`},
		{"exclude", `{` + good + `, "exclude": ["2600:db8::1/64"]}`, `did you mean 2600:db8::/64?`},
		{"provider that can't set", `{"domains": [{"name": "nas.example.com"}], "provider": {"name": "fake_no_setter"}}`,
			"provider fake_no_setter can't set records (*ddnsipv6.noSetter has no SetRecords)"},
		{"remove without deletions", `{"domains": [{"name": "nas.example.com"}], "provider": {"name": "fake_no_deleter"}, "on_missing": "remove"}`,
			"provider fake_no_deleter can't delete records, which on_missing remove needs"},
		{"a name twice", `{"domains": [{"name": "nas.example.com"}, {"name": "NAS.example.com."}], "provider": {"name": "fake"}}`,
			"policy 1 (provider fake) lists nas.example.com twice"},
		{"two policies, one name", `{` + good + `}, {"domains": [{"name": "a.example.com"}, {"name": "nas.example.com"}], "provider": {"name": "fake_no_deleter"}}`,
			"nas.example.com is managed by policy 1 (provider fake) and by policy 2 (provider fake_no_deleter); a name belongs to one"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := caddy.Validate(&caddy.Config{AppsRaw: caddy.ModuleMap{ID: json.RawMessage(`{"policies": [` + test.policies + `]}`)}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// TestDomainNames: names as users write them, and as they are in DNS.
func TestDomainNames(t *testing.T) {
	t.Setenv("NAME", "nas")
	for _, test := range []struct {
		domain    Domain
		want      string
		wantZone  string
		wantError bool
	}{
		{domain: Domain{Name: "NAS.Example.COM"}, want: "nas.example.com."},
		{domain: Domain{Name: "{env.NAME}.example.com.", Zone: "example.com."}, want: "nas.example.com.", wantZone: "example.com."},
		{domain: Domain{Name: "bücher.example.com"}, want: "xn--bcher-kva.example.com."},
		{domain: Domain{Name: "*.example.com", Zone: "Example.com"}, want: "*.example.com.", wantZone: "example.com."},
		{domain: Domain{Name: "example.com", Zone: "example.com"}, want: "example.com.", wantZone: "example.com."},
		{domain: Domain{Name: "lan", Zone: "lan"}, want: "lan.", wantZone: "lan."},
		{domain: Domain{Name: "a..example.com"}, wantError: true},
		{domain: Domain{Name: strings.Repeat("a", 64) + ".example.com"}, wantError: true},
		{domain: Domain{Name: "nas example.com"}, wantError: true},
		{domain: Domain{Name: "."}, wantError: true},
		{domain: Domain{Name: "example.com", Zone: "nas.example.com"}, wantError: true},
	} {
		got, err := test.domain.target()
		if got.fqdn != test.want || got.zone != test.wantZone || (err != nil) != test.wantError {
			t.Errorf("%+v: %q in %q, %v", test.domain, got.fqdn, got.zone, err)
		}
	}
}

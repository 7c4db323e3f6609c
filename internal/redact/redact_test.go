package redact

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestText(t *testing.T) {
	provider := map[string]any{"name": "example", "api_token": "s3cr3t-t0ken", "dsm": map[string]any{"password": "pass/word"}, "zone_key": "abc"}
	for _, test := range []struct{ name, in, want string }{
		{"nothing", "zone example.org.: 403 Forbidden", "zone example.org.: 403 Forbidden"},
		{"a secret", "bearer s3cr3t-t0ken refused", "bearer … refused"},
		{"escaped", "GET /login/pass%2Fword", "GET /login/…"},
		{"nested", "login with pass/word", "login with …"},
		{"user of a URL", "https://me:other@api.example/x", "https://…api.example/x"},
		{"query of a URL", `Get "https://api.example/x?token=other": EOF`, `Get "https://api.example/x…": EOF`},
		{"too short to be hidden", "abc", "abc"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Text(test.in, SecretsOf(provider)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestLiteralSecrets finds secrets that are written into a config.
func TestLiteralSecrets(t *testing.T) {
	for config, want := range map[string][]string{
		`{"name": "cloudflare", "api_token": "abc"}`:                            {"api_token"},
		`{"name": "cloudflare", "api_token": "{env.TOKEN}"}`:                    nil,
		`{"name": "rfc2136", "key_name": "a", "key_alg": "b", "key": "c"}`:      {"key"},
		`{"name": "x", "dsm": {"password": "p", "password_file": "/run/p"}}`:    {"dsm.password"},
		`{"name": "x", "accounts": [{"secret": "p"}], "credentials_file": "f"}`: {"accounts.secret"},
		`{"name": "x", "dsm": {"password": "p"}, "api_token": "literal"}`:       {"api_token", "dsm.password"},
	} {
		if diff := cmp.Diff(want, LiteralSecrets(json.RawMessage(config))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", config, diff)
		}
	}
}

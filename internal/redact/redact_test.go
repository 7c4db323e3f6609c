package redact

import (
	"encoding/json"
	"slices"
	"testing"
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

func TestLiteralSecrets(t *testing.T) {
	config := json.RawMessage(`{"name":"x","api_token":"literal","auth_key":"{env.KEY}","dsm":{"password":"literal"},"zone":"example.org"}`)
	if got := LiteralSecrets(config); !slices.Equal(got, []string{"api_token", "dsm.password"}) {
		t.Errorf("got %q", got)
	}
}

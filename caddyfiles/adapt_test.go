package caddyfiles_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/caddy-dns/cloudflare" // the provider in any-dns.Caddyfile
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	_ "github.com/caddy-nas/caddy-nas-registry"
	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestValid: each shipped Caddyfile is formatted, adapts without a warning, and
// its config is valid.
func TestValid(t *testing.T) {
	files, err := filepath.Glob("*.Caddyfile")
	if err != nil || len(files) < 3 {
		t.Fatalf("found only %v: %v", files, err)
	}
	testenv.Storage(t)
	t.Setenv("REGISTRY_DATA", t.TempDir())
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(strings.Repeat("x", 40)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DNS_TOKEN_FILE", token)
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if string(caddyfile.Format(content)) != string(content) {
				t.Error("is not formatted: caddy fmt --overwrite " + file)
			}
			adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(content, nil)
			if err != nil || len(warnings) > 0 {
				t.Fatalf("adapting: %v %v", err, warnings)
			}
			var config caddy.Config
			if err := caddy.StrictUnmarshalJSON(adapted, &config); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&config); err != nil {
				t.Errorf("validating: %v", err)
			}
		})
	}
}

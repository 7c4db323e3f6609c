package dnssynology

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestAdapt holds a Caddyfile for every option, and more bad ones, against what
// must become of them.
func TestAdapt(t *testing.T) { testenv.Adapt(t) }

// TestAdaptedIsValid: what the good ones become is loaded as strict JSON, and
// refused for what is missing on this machine at most.
func TestAdaptedIsValid(t *testing.T) {
	testenv.Storage(t)
	t.Setenv("AUTH_KEY", "s3cr3t-auth")
	t.Setenv("DEVICE", "s3cr3t-device")
	t.Setenv("PASSWORD", "s3cr3t-password")
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	valid := 0
	for _, file := range files {
		if strings.HasPrefix(filepath.Base(file), "bad_") {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, adapted, _ := strings.Cut(string(content), "----------\n")
		key := filepath.Join(t.TempDir(), "api_key")
		if err := os.WriteFile(key, []byte("s3cr3t-api"), 0o600); err != nil {
			t.Fatal(err)
		}
		adapted = strings.ReplaceAll(adapted, "/run/secrets/api_key", key)
		var config caddy.Config
		if err := caddy.StrictUnmarshalJSON([]byte(adapted), &config); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := caddy.Validate(&config); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		valid++
	}
	if valid < 5 {
		t.Errorf("only %d good ones", valid)
	}
}

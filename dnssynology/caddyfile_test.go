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

// TestBadConfig: what can be known to be wrong is refused when the config is
// loaded, and not when the first certificate is due.
func TestBadConfig(t *testing.T) {
	testenv.Storage(t)
	const key = `"myds_id": "1", "auth_key": "s3cr3t-auth", "serial": "2"`
	tests := []struct{ name, provider, want string }{
		{"nothing", `{}`, "myds_id, auth_key, serial"},
		{"plain http", `{` + key + `, "endpoint": "http://ddns.example.com/main.php"}`, "endpoint"},
		{"another method", `{` + key + `, "commands": {"create_txt": "PUT letsencrypt/create"}}`, "commands.create_txt"},
		{"name server", `{` + key + `, "nameserver": ":::"}`, "nameserver"},
		{"short heartbeat", `{` + key + `, "heartbeat": "1s"}`, "heartbeat is 1s"},
		{"dsm and credentials", `{` + key + `, "dsm": {"url": "https://nas.lan:5001", "account": "a", "password": "p"}}`, "dsm excludes the settings of the DDNS service"},
		{"dsm and heartbeat", `{"heartbeat": "1h", "dsm": {"url": "https://nas.lan:5001", "account": "a", "password": "p"}}`, "dsm excludes the settings of the DDNS service"},
		{"dsm by http", `{"dsm": {"url": "http://nas.lan:5000", "account": "a", "password": "p"}}`, "http"},
		{"dsm without a password", `{"dsm": {"url": "https://nas.lan:5001", "account": "a"}}`, "the password is missing"},
		{"dsm, two ways of trust", `{"dsm": {"url": "https://nas.lan:5001", "account": "a", "password": "p", "ca_file": "/f", "fingerprint": "` + strings.Repeat("00", 32) + `"}}`, "exclude each other"},
		{"part of a password", `{"dsm": {"url": "https://nas.lan:5001", "account": "a", "password": "aa{s3cr3t}bb"}}`, "password: a placeholder is unknown or empty"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			provider := strings.Replace(test.provider, "{", `{"name": "synology",`, 1)
			provider = strings.Replace(provider, ",}", "}", 1)
			config := caddy.Config{AppsRaw: caddy.ModuleMap{"tls": []byte(`{"automation": {"policies": [{"issuers": [{"module": "acme", "challenges": {"dns": {"provider": ` + provider + `}}}]}]}}`)}}
			err := caddy.Validate(&config)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("a secret shows: %v", err)
			}
		})
	}
}

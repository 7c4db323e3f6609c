package nasregistry_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// awaitNames waits until every name of the status is as check wants it.
func awaitNames(t *testing.T, socket, what string, check func(name, lastError, confirmed string) error) {
	t.Helper()
	testenv.Eventually(t, what, func() error {
		_, body := testenv.Admin(t, socket, http.MethodGet, "/ddns_ipv6/status")
		var status struct {
			Policies []struct {
				Names []struct{ Name, Confirmed, LastError string }
			}
		}
		if err := json.Unmarshal([]byte(strings.ReplaceAll(body, "last_error", "LastError")), &status); err != nil {
			return err
		}
		for _, p := range status.Policies {
			for _, n := range p.Names {
				if err := check(n.Name, n.LastError, n.Confirmed); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// TestSynologySecrets: a canary for each secret, over all that is done with the
// service and with DSM while it works and while it fails in many ways, shows in no
// log at Debug level, no error, metric or status, and not in the config.
func TestSynologySecrets(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "admin.sock")
	service := synologytest.NewService(t)
	dsm := synologytest.NewDSM(t, synologytest.WithOTP(), synologytest.WithDDNS("nas.synology.me"), synologytest.WithZone("home.example"))
	t.Setenv("SYNOLOGY_OTP", dsm.OTPSecretCode)
	t.Setenv("SYNOLOGY_PASSWORD", dsm.Password)
	t.Setenv("SYNOLOGY_AUTH_KEY", service.AuthKey)
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(dsm.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	load := func(address string) {
		t.Helper()
		config := fmt.Sprintf(`{
			"admin": {"listen": "unix/%[1]s", "config": {"persist": false}},
			"storage": {"module": "file_system", "root": "%[2]s/storage"},
			"logging": {"logs": {"default": {"writer": {"output": "file", "filename": "%[2]s/caddy.log"}, "level": "DEBUG"}}},
			"apps": {"tls": {"automation": {"policies": [{"get_certificate": [
				{"via": "synology", "dsm": {"url": "%[8]s", "account": "%[9]s", "password": "{env.SYNOLOGY_PASSWORD}", "otp_code": "{env.SYNOLOGY_OTP}", "device_name": "caddy", "ca_file": "%[11]s"}}]}]}},
			"ddns_ipv6": {"policies": [
				{"domains": [{"name": "%[3]s", "zone": "synology.me"}], "sources": [{"source": "static", "addresses": ["%[4]s"]}],
				 "provider": {"name": "synology", "credentials_file": "%[5]s", "auth_key": "{env.SYNOLOGY_AUTH_KEY}", "endpoint": "%[6]s", "nameserver": "%[7]s"}},
				{"domains": [{"name": "nas.synology.me", "zone": "synology.me"}, {"name": "nas.home.example", "zone": "home.example"}],
				 "sources": [{"source": "static", "addresses": ["%[4]s"]}],
				 "provider": {"name": "synology", "dsm": {"url": "%[8]s", "account": "%[9]s", "password_file": "%[10]s", "otp_code": "{env.SYNOLOGY_OTP}", "device_name": "caddy", "ca_file": "%[11]s"}}}
			]}}}`, socket, dir, service.Hostname, address, service.CredentialsFile(), service.URL, service.DNS, dsm.URL, dsm.Account, password, dsm.CAFile)
		if err := caddy.Load([]byte(config), true); err != nil {
			t.Fatal(err)
		}
	}
	var seen strings.Builder
	look := func() {
		for _, path := range []string{"/config/", "/metrics", "/ddns_ipv6/status"} {
			_, body := testenv.Admin(t, socket, http.MethodGet, path)
			seen.WriteString(body)
		}
	}
	load("2600:db8:1::10")
	awaitNames(t, socket, "the addresses", func(name, lastError, confirmed string) error {
		if confirmed != "2600:db8:1::10" {
			return fmt.Errorf("%s: %s", name, lastError)
		}
		return nil
	})
	look()
	for i, fail := range []func(){
		func() { service.Fail("badauth", 1); dsm.ExpireSessions(); dsm.Busy(105, 1) },
		func() {
			service.Break("<html>log in, please</html>", 200, 1)
			dsm.Break("<html>log in, please</html>", 200, 1)
		},
		func() { service.Break(`{"code":`, 200, 1); dsm.Break(`{"success":fal`, 500, 1) },
		func() { service.Fail("apikey_not_found", 1); dsm.ExpireSessions(); dsm.FailLogin(400, 1) },
	} {
		fail()
		load(fmt.Sprintf("2600:db8:%x::10", 2+i))
		awaitNames(t, socket, "an error of each", func(name, lastError, confirmed string) error {
			if lastError == "" && confirmed != fmt.Sprintf("2600:db8:%x::10", 2+i) {
				return errors.New(name + " is not done")
			}
			return nil
		})
		look()
	}
	if code, body := testenv.Admin(t, socket, http.MethodPost, "/synology/retry-login"); code != http.StatusOK {
		t.Errorf("letting the login be tried again: %d %s", code, body)
	}
	log, err := os.ReadFile(filepath.Join(dir, "caddy.log"))
	if err != nil {
		t.Fatal(err)
	}
	seen.Write(log)
	for _, secret := range append(dsm.Secrets(), service.Secrets()...) {
		if at := strings.Index(seen.String(), secret); at >= 0 {
			t.Errorf("the secret %s shows: …%s…", secret, seen.String()[max(0, at-200):min(seen.Len(), at+100)])
		}
	}
	for _, expected := range []string{"record updated", "badauth", "<html>", "apikey_not_found", "invoking subscribed handler"} {
		if !strings.Contains(seen.String(), expected) {
			t.Errorf("the log lacks %s", expected)
		}
	}
}

// TestWrongPasswords: ten wrong configs in a row lead to three failed logins in
// all, and DSM's block is never reached.
func TestWrongPasswords(t *testing.T) {
	dir := t.TempDir()
	dsm := synologytest.NewDSM(t, synologytest.WithDDNS("nas.synology.me"))
	socket := filepath.Join(dir, "admin.sock")
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	for i := range 10 {
		config := fmt.Sprintf(`{
			"admin": {"listen": "unix/%[1]s", "config": {"persist": false}},
			"storage": {"module": "file_system", "root": "%[2]s/storage"},
			"apps": {"ddns_ipv6": {"policies": [{"domains": [{"name": "nas.synology.me", "zone": "synology.me"}],
				"sources": [{"source": "static", "addresses": ["2600:db8:1::10"]}],
				"provider": {"name": "synology", "dsm": {"url": "%[3]s", "account": "%[4]s", "password": "wrong %[5]d", "ca_file": "%[6]s"}}}]}}}`,
			socket, dir, dsm.URL, dsm.Account, i, dsm.CAFile)
		if err := caddy.Load([]byte(config), true); err != nil {
			t.Fatal(err)
		}
		// It waits until the update is done, or has failed.
		if code, body := testenv.Admin(t, socket, http.MethodPost, "/ddns_ipv6/update"); code != http.StatusOK || !strings.Contains(body, "last_error") {
			t.Errorf("update: %d %s", code, body)
		}
	}
	if n := dsm.FailedLogins(); n != 3 || dsm.Blocked() {
		t.Errorf("%d failed logins, blocked: %t", n, dsm.Blocked())
	}
}

// TestCorrectedPassword: a password that was refused and is then corrected in its
// file is used after a reload, though the config is the same to the letter.
func TestCorrectedPassword(t *testing.T) {
	dir := t.TempDir()
	dsm := synologytest.NewDSM(t)
	password := filepath.Join(dir, "password")
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	load := func(content string) {
		t.Helper()
		if err := os.WriteFile(password, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		config := fmt.Sprintf(`{"admin": {"disabled": true, "config": {"persist": false}}, "storage": {"module": "file_system", "root": "%[1]s/storage"},
			"apps": {"tls": {"automation": {"policies": [{"get_certificate": [{"via": "synology", "poll_interval": "1s",
				"dsm": {"url": "%[2]s", "account": "%[3]s", "password": "{file.%[4]s}", "ca_file": "%[5]s"}}]}]}}}}`, dir, dsm.URL, dsm.Account, password, dsm.CAFile)
		if err := caddy.Load([]byte(config), true); err != nil {
			t.Fatal(err)
		}
	}
	load("wrong")
	testenv.Eventually(t, "a refused login", func() error {
		if dsm.FailedLogins() == 0 {
			return errors.New("none yet")
		}
		return nil
	})
	load(dsm.Password)
	testenv.Eventually(t, "a login", func() error {
		if dsm.Sessions() == 0 {
			return errors.New("none yet")
		}
		return nil
	})
	if n := dsm.FailedLogins(); n != 1 {
		t.Errorf("%d failed logins", n)
	}
}

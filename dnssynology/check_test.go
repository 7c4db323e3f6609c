package dnssynology

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
)

// TestCheckService: the service accepts what is right, refuses what is not, and
// nothing is changed.
func TestCheckService(t *testing.T) {
	s := synologytest.NewService(t)
	good := Credentials{MyDSID: s.MyDSID, AuthKey: s.AuthKey, APIKey: s.APIKey, Serial: s.Serial, MAC: s.MAC}
	bad := good
	bad.AuthKey = "another"
	for _, test := range []struct {
		name        string
		credentials Credentials
		host        string
		err         string
	}{
		{name: "right", credentials: good, host: s.Hostname + "."},
		{name: "another key", credentials: bad, host: s.Hostname, err: "heartbeat"},
		{name: "another's name", credentials: good, host: "example.org", err: "example.org"},
		{name: "nothing", host: s.Hostname, err: "need myds_id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &Provider{Credentials: test.credentials, Service: Service{Endpoint: s.URL, NameServer: s.DNS}}
			defer p.Close(t.Context())
			err := p.Check(t.Context(), test.host)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %v, want %q", err, test.err)
			}
		})
	}
	for _, r := range s.Requests() {
		if r.Command != "heartbeat/pulse" {
			t.Errorf("it sent %s", r.Command)
		}
	}
}

func TestCheckDSM(t *testing.T) {
	d := synologytest.NewDSM(t)
	check := func(password, name string) error {
		p := &Provider{DSM: &DSM{URL: d.URL, Account: d.Account, Password: password, CAFile: d.CAFile}}
		defer p.Close(t.Context())
		return p.Check(t.Context(), name)
	}
	if err := check(d.Password, "nas.example.org"); err == nil || !strings.Contains(err.Error(), "DSM has nas.example.org neither") || d.Logins() != 1 {
		t.Errorf("%d logins; got %v", d.Logins(), err)
	}
	for range 2 {
		if err := check("wrong", "nas.example.org"); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("got %v", err)
		}
	}
	if n := d.FailedLogins(); n != 1 {
		t.Errorf("a refused login was tried %d times", n)
	}
}

func TestCheckCredentials(t *testing.T) {
	s, d := synologytest.NewService(t), synologytest.NewDSM(t)
	file := s.CredentialsFile()
	open := filepath.Join(t.TempDir(), "open")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		provider *Provider
		err      string
	}{
		{"file", &Provider{CredentialsFile: file}, ""},
		{"open file", &Provider{CredentialsFile: open}, "accessible to others"},
		{"missing file", &Provider{CredentialsFile: "/nowhere"}, "no such file"},
		{"DSM", &Provider{DSM: &DSM{URL: d.URL, Account: "a", Password: "b", CAFile: d.CAFile}}, ""},
		{"open password", &Provider{DSM: &DSM{URL: d.URL, Account: "a", PasswordFile: open}}, "mode 0644"},
		{"missing authority", &Provider{DSM: &DSM{URL: d.URL, Account: "a", Password: "b", CAFile: "/nowhere"}}, "ca_file"},
		{"no authority", &Provider{DSM: &DSM{URL: d.URL, Account: "a", Password: "b", CAFile: file}}, "no certificate"},
		{"no password", &Provider{DSM: &DSM{URL: d.URL, Account: "a"}}, "password is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.provider.CheckCredentials()
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %v, want %q", err, test.err)
			}
		})
	}
	if len(s.Requests()) > 0 || len(d.Requests()) > 0 {
		t.Error("it has sent a request")
	}
}

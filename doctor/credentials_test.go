package doctor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
)

// withProvider is a patient whose name is kept by a provider.
func withProvider(provider string) *patient {
	p := publicPatient()
	p.setup.policies = []json.RawMessage{fmt.Appendf(nil, `{"domains":[{"name":"nas.example.org"}],"provider":%s}`, provider)}
	return p
}

func written(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestCredentials(t *testing.T) {
	const token = "s3cr3t-t0ken"
	t.Setenv("DOCTOR_TOKEN", token)
	t.Setenv("DOCTOR_EMPTY", "")
	service, dsm := synologytest.NewService(t), synologytest.NewDSM(t)
	content, err := os.ReadFile(service.CredentialsFile())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, provider string
		status         Status
		advice         string
		seen           []string
	}{
		{name: "variable", provider: `{"name":"x","api_token":"{env.DOCTOR_TOKEN}"}`, status: OK, seen: []string{"x (for ddns_ipv6)", "DOCTOR_TOKEN is set"}},
		{name: "missing variable", provider: `{"name":"x","api_token":"{env.DOCTOR_NONE}"}`, status: Wrong, advice: "Set DOCTOR_NONE", seen: []string{"DOCTOR_NONE is not set here"}},
		{name: "empty variable", provider: `{"name":"x","api_token":"{env.DOCTOR_EMPTY}"}`, status: Wrong, advice: "Set DOCTOR_EMPTY"},
		{name: "file", provider: fmt.Sprintf(`{"name":"x","api_token":"{file.%s}"}`, written(t, token+"\n", 0o600)), status: OK, seen: []string{"can be read"}},
		{name: "file that others may read", provider: fmt.Sprintf(`{"name":"x","api_token":"{file.%s}"}`, written(t, token, 0o644)), status: OK, seen: []string{"mode 0644", "chmod 600"}},
		{name: "empty file", provider: fmt.Sprintf(`{"name":"x","api_token":"{file.%s}"}`, written(t, "\n", 0o600)), status: Wrong, advice: "Write the token", seen: []string{"is empty"}},
		{name: "missing file", provider: `{"name":"x","api_token":"{file./nowhere/token}"}`, status: Wrong, advice: "Put the file there", seen: []string{"/nowhere/token"}},
		{name: "folder", provider: fmt.Sprintf(`{"name":"x","key_file":%q}`, t.TempDir()), status: Wrong, advice: "Correct", seen: []string{"no regular file"}},
		{name: "literal", provider: `{"name":"x","api_token":"` + token + `"}`, status: OK, seen: []string{"api_token is written into the config itself"}},
		{name: "Synology", provider: fmt.Sprintf(`{"name":"synology","credentials_file":%q,"heartbeat":"1h"}`, service.CredentialsFile()), status: OK, seen: []string{"by its owner only"}},
		{name: "Synology, open", provider: fmt.Sprintf(`{"name":"synology","credentials_file":%q}`, written(t, string(content), 0o644)), status: Wrong, advice: "Correct", seen: []string{"accessible to others (mode 0644)"}},
		{name: "Synology, missing", provider: `{"name":"synology","credentials_file":"/nowhere/synology.json"}`, status: Wrong, advice: "Put the file there", seen: []string{"/nowhere/synology.json"}},
		{name: "Synology, garbled", provider: fmt.Sprintf(`{"name":"synology","credentials_file":%q}`, written(t, token, 0o600)), status: Wrong, advice: "Correct", seen: []string{"credentials.sh"}},
		{name: "Synology, incomplete", provider: fmt.Sprintf(`{"name":"synology","credentials_file":%q}`, written(t, `{"serial":"1"}`, 0o600)), status: Wrong, advice: "Correct", seen: []string{"need myds_id, auth_key"}},
		{name: "DSM", provider: fmt.Sprintf(`{"name":"synology","dsm":{"url":%q,"account":"a","password_file":%q,"ca_file":%q}}`, dsm.URL, written(t, token, 0o600), dsm.CAFile), status: OK, seen: []string{"can be read"}},
		{name: "DSM, open password", provider: fmt.Sprintf(`{"name":"synology","dsm":{"url":%q,"account":"a","password_file":%q}}`, dsm.URL, written(t, token, 0o640)), status: Wrong, advice: "Correct", seen: []string{"mode 0640"}},
		{name: "DSM, missing authority", provider: fmt.Sprintf(`{"name":"synology","dsm":{"url":%q,"account":"a","password":"{env.DOCTOR_TOKEN}","ca_file":"/nowhere/ca.pem"}}`, dsm.URL), status: Wrong, advice: "Put the file there", seen: []string{"/nowhere/ca.pem"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := withProvider(test.provider)
			if !p.hasCredentials() {
				t.Fatal("it has no credentials")
			}
			finding := lookCredentials(t.Context(), p)
			expectFinding(t, finding, test.status, test.advice, test.seen...)
			if (p.refused == "credentials") != (test.status == Wrong) {
				t.Errorf("refused is %q", p.refused)
			}
			for _, secret := range append(service.Secrets(), token) {
				if strings.Contains(finding.Advice+strings.Join(finding.Seen, " "), secret) {
					t.Error("a secret is shown")
				}
			}
		})
	}
	if len(service.Requests()) > 0 || len(dsm.Requests()) > 0 {
		t.Error("a request was sent")
	}
}

// DSM as a source of certificates has a password, too.
func TestCredentialsOfManager(t *testing.T) {
	p := publicPatient()
	p.setup.managers = []json.RawMessage{fmt.Appendf(nil, `{"via":"synology","dsm":{"url":"https://nas.lan:5001","account":"a","password_file":%q}}`,
		written(t, "secret", 0o604))}
	if !p.hasCredentials() {
		t.Fatal("it has no credentials")
	}
	expectFinding(t, lookCredentials(t.Context(), p), Wrong, "Correct", "synology (for the certificate)", "mode 0604")
}

// The user that Caddy runs as must be able to read the file; whether it can is not
// known to another.
func TestUnreadable(t *testing.T) {
	finding := unreadable("x", "/auth/token", &os.PathError{Op: "open", Path: "/auth/token", Err: os.ErrPermission})
	if os.Geteuid() == 0 {
		expectFinding(t, finding, Wrong, "sudo chown 0:0", "/auth/token")
	} else {
		expectFinding(t, finding, Unknown, "docker compose exec", "/auth/token")
	}
}

func TestHolders(t *testing.T) {
	p := withProvider(`{"name":"x","api_token":"{env.A}"}`)
	p.setup.issuers = []json.RawMessage{
		[]byte(`{"module":"acme","challenges":{"dns":{"provider":{"name":"x","api_token":"{env.A}"}}}}`), // the same
		[]byte(`{"module":"acme","challenges":{"dns":{"provider":{"name":"y"}}}}`),
		[]byte(`{"module":"internal"}`),
	}
	p.setup.managers = []json.RawMessage{[]byte(`{"via":"synology","archive":"/certificates"}`)}
	var got []string
	for _, h := range p.setup.holders() {
		got = append(got, h.name)
	}
	if strings.Join(got, " ") != "x y synology" {
		t.Errorf("got %q", got)
	}
	if p.mayLogin() {
		t.Error("it may log in without being told so")
	}
	p.options.Login = true
	if !p.mayLogin() {
		t.Error("it may not log in")
	}
	p.setup.policies, p.setup.issuers = nil, nil
	if p.mayLogin() || p.hasCredentials() {
		t.Error("a folder has credentials, or a provider")
	}
}

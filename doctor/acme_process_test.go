package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
	_ "github.com/caddy-nas/caddy-nas-registry/registryproxy" // the directive
)

// TestACMEOfCaddy asks a real Caddy how it fared with a real ACME server: one that
// looks for the TXT record where it is, and one that looks elsewhere. It is a process
// of its own, since Caddy 2.11.9 has a data race while it obtains certificates.
func TestACMEOfCaddy(t *testing.T) {
	program := testenv.BuildCaddy(t)
	service, elsewhere := synologytest.NewService(t), synologytest.NewService(t)
	for _, test := range []struct {
		name   string
		dns    string // where the ACME server looks
		status Status
		advice string
		seen   []string
	}{
		{name: "obtained", dns: service.DNS, status: OK, seen: []string{"can be reached", "has an account", "Caddy got a certificate from localhost"}},
		{name: "failed", dns: elsewhere.DNS, status: Wrong, advice: "next try", seen: []string{"can be reached", "has an account", "Caddy failed to get a certificate", "TXT"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			pebble := testenv.StartPebble(t, test.dns, 3600)
			dir := t.TempDir()
			socket, file := filepath.Join(dir, "admin.sock"), filepath.Join(dir, "Caddyfile")
			content := fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	auto_https disable_redirects
	storage file_system %s
}
https://%s:%d {
	bind 127.0.0.1
	tls {
		issuer acme {
			dir %s
			trusted_roots %s
			resolvers %s
			dns synology {
				credentials_file %s
				endpoint %s
				nameserver %s
			}
		}
	}
	registry_proxy {
		to 127.0.0.1:1
		htpasswd %s
	}
}
`, socket, dir, service.Hostname, testenv.FreePort(t), pebble.Directory, pebble.RootFile, service.DNS, service.CredentialsFile(), service.URL, service.DNS,
				testenv.Users(t, "alice", "secret"))
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			var output testenv.Output
			cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "run", "--config", file) // ended in Cleanup
			cmd.Stdout, cmd.Stderr = &output, &output
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Signal(os.Interrupt)
				_ = cmd.Wait()
				if t.Failed() {
					t.Logf("Caddy's log:\n%s", output.Log())
				}
			})
			s, err := readSetup(file)
			if err != nil {
				t.Fatal(err)
			}
			admin, err := adminClient(s.admin)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(admin.CloseIdleConnections)
			p := &patient{setup: s, admin: admin, zone: "synology.me."}
			var finding Finding
			testenv.Eventually(t, "the end of Caddy's first try", func() error {
				finding = lookACME(t.Context(), p)
				if all := strings.Join(finding.Seen, "\n"); !strings.Contains(all, test.seen[2]) {
					return errors.New(all)
				}
				return nil
			})
			expectFinding(t, finding, test.status, test.advice, test.seen...)
			for _, secret := range service.Secrets() {
				if strings.Contains(strings.Join(finding.Seen, " "), secret) {
					t.Error("a secret is shown")
				}
			}
		})
	}
}

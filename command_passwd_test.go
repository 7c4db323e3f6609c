package nasregistry

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/creack/pty"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// passwdCommand runs registry-passwd with args, and returns what it prints.
func passwdCommand(in io.Reader, args ...string) (string, error) {
	cmd := &cobra.Command{Use: "registry-passwd", SilenceUsage: true}
	caddycmd.Commands()["registry-passwd"].CobraFunc(cmd)
	var out bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetIn(in)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.Execute()
	return out.String(), err
}

func TestPasswd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	if out, err := passwdCommand(strings.NewReader("first\nsecond\n"), "--file", file, "--cost", "4", "alice"); err != nil || !strings.Contains(out, "alice") || strings.Contains(out, "first") {
		t.Fatalf("%v %q", err, out)
	}
	checkPassword(t, file, "alice", "first")
	if out, err := passwdCommand(strings.NewReader("windows\r\n"), "-f", file, "--cost", "4", "bob"); err != nil {
		t.Fatalf("%v %q", err, out)
	}
	checkPassword(t, file, "bob", "windows")
	checkPassword(t, file, "alice", "first")
	if out, err := passwdCommand(nil, "--file", file, "--delete", "alice"); err != nil {
		t.Fatalf("%v %q", err, out)
	}
	if content, err := os.ReadFile(file); err != nil || strings.Contains(string(content), "alice") {
		t.Errorf("alice is still there: %s %v", content, err)
	}
}

func TestPasswdDefaultCost(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	if out, err := passwdCommand(strings.NewReader("x"), "--file", file, "alice"); err != nil {
		t.Fatalf("%v %q", err, out)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, hash, _ := strings.Cut(strings.TrimSpace(string(content)), ":")
	if cost, err := bcrypt.Cost([]byte(hash)); err != nil || cost != 10 {
		t.Errorf("cost %d %v, want 10", cost, err)
	}
}

func TestPasswdErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	for _, tc := range []struct {
		name, in, says string
		args           []string
	}{
		{"no user", "x\n", "accepts 1 arg", nil},
		{"two users", "x\n", "accepts 1 arg", []string{"alice", "bob"}},
		{"bad name", "x\n", "colon", []string{"a:b"}},
		{"no password", "", "password is empty", []string{"alice"}},
		{"empty password", "\n", "password is empty", []string{"alice"}},
		{"cost", "x\n", "between 4 and 16", []string{"--cost", "99", "alice"}},
		{"cost and delete", "", "exclude each other", []string{"--cost", "5", "--delete", "alice"}},
		{"delete from a missing file", "", "no such file", []string{"--delete", "alice"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := passwdCommand(strings.NewReader(tc.in), append([]string{"--file", file}, tc.args...)...)
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %q", err, tc.says)
			}
		})
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("something was written: %v", err)
	}
}

// TestPasswdTerminal types on a terminal: nothing of it is shown, and two that
// differ change nothing.
func TestPasswdTerminal(t *testing.T) {
	for _, tc := range []struct {
		name, first, second, says string
	}{
		{"equal", "secret", "secret", ""},
		{"different", "secret", "secrat", "not the same"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			keyboard, terminal, err := pty.Open()
			if err != nil {
				t.Skipf("no pseudo-terminal: %v", err)
			}
			defer keyboard.Close()
			defer terminal.Close()
			if _, err := io.WriteString(keyboard, tc.first+"\n"+tc.second+"\n"); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "htpasswd")
			out, err := passwdCommand(terminal, "--file", file, "--cost", "4", "alice")
			if !strings.Contains(out, "Password for alice: ") || !strings.Contains(out, "Once more: ") || strings.Contains(out, "secr") {
				t.Errorf("printed %q", out)
			}
			if tc.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				checkPassword(t, file, "alice", tc.first)
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %q", err, tc.says)
			}
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Errorf("something was written: %v", err)
			}
		})
	}
}

// checkPassword makes sure that Caddy lets the user in: it is the reader of
// the file.
func checkPassword(t *testing.T, file, user, password string) {
	t.Helper()
	t.Run("login of "+user, func(t *testing.T) {
		c := testenv.NewCaddy(t)
		c.Load("registry_proxy {\nembedded " + t.TempDir() + "\nhtpasswd " + file + "\n}")
		login, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL("/v2/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		login.SetBasicAuth(user, password)
		resp, err := c.Client.Do(login)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s", resp.Status)
		}
	})
}

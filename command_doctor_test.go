package nasregistry

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/creack/pty"
	"github.com/spf13/cobra"

	"github.com/caddy-nas/caddy-nas-registry/doctor"
	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// commandEnv is set in the process that is the program caddy, to its arguments.
const commandEnv = "COMMAND_TEST_ARGUMENTS"

// TestCommand is the process of caddyProgram.
func TestCommand(t *testing.T) {
	args, there := os.LookupEnv(commandEnv)
	if !there {
		t.Skip("is run by other tests")
	}
	caddycmd.RegisterCommand(caddycmd.Command{Name: "test-exit", Short: "Exits with a status", CobraFunc: func(cmd *cobra.Command) {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			status, err := strconv.Atoi(args[0])
			if err != nil {
				return err
			}
			return exit(cmd, status)
		}
	}})
	os.Args = append([]string{"caddy"}, strings.Split(args, "\n")...)
	caddycmd.Main()
	os.Exit(0)
}

// caddyProgram is Caddy with this package's commands, as a program.
func caddyProgram(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestCommand$")
	cmd.Env = append(os.Environ(), commandEnv+"="+strings.Join(args, "\n"), "CADDYFILE=", "NO_COLOR=")
	return cmd
}

// doctorRuns runs registry-doctor to its end.
func doctorRuns(t *testing.T, in io.Reader, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := caddyProgram(t, append([]string{"registry-doctor"}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errOut
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// doctorConfig is a config whose Caddy does not run.
func doctorConfig(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "Caddyfile")
	config := "{\nadmin unix/" + filepath.Join(dir, "admin.sock") + "\nlocal_certs\nauto_https disable_redirects\n}\n" +
		"https://localhost:" + strconv.Itoa(testenv.FreePort(t)) + " {\nbind 127.0.0.1\nregistry_proxy {\nembedded " + filepath.Join(dir, "registry") +
		"\nhtpasswd " + testenv.Users(t, "alice", "right") + "\n}\n}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDoctor(t *testing.T) {
	file := doctorConfig(t)
	stdout, stderr, status := doctorRuns(t, nil, "--config", file)
	if status != 1 || stderr != "" {
		t.Errorf("status %d, on stderr %q", status, stderr)
	}
	for _, want := range []string{"This machine\n✓ Configuration\n", "\n✗ Caddy\n", "\n  → Start it with docker compose up -d", "\n? TLS\n    not looked at: mend \"Caddy\" first\n", "to be done"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for line := range strings.Lines(stdout) {
		if utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > 80 || strings.Contains(line, "\x1b") {
			t.Errorf("%q", line)
		}
	}
	if t.Failed() {
		t.Log(stdout)
	}
}

func TestDoctorJSON(t *testing.T) {
	file := doctorConfig(t)
	stdout, stderr, status := doctorRuns(t, strings.NewReader("right\nnot read\n"), "--config", file, "--user", "alice", "--json")
	var report doctor.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	if status != 1 || stderr != "" || report.Config != file || !strings.HasPrefix(stdout, "{\n  \"config\": ") {
		t.Errorf("status %d, on stderr %q: %s", status, stderr, stdout)
	}
	statuses := make(map[string]doctor.Status)
	for _, r := range report.Results {
		statuses[r.ID] = r.Status
	}
	if statuses["config"] != doctor.OK || statuses["caddy"] != doctor.Wrong || statuses["user"] != doctor.Unknown {
		t.Errorf("%v", statuses)
	}
}

// TestDoctorErrors: what is wrong with the config is a finding, and what is wrong
// with the command an error.
func TestDoctorErrors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	stdout, stderr, status := doctorRuns(t, nil, "--config", missing)
	if status != 1 || stderr != "" || !strings.Contains(stdout, "✗ Configuration") || !strings.Contains(stdout, "1 of 1 check needs something to be done.") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
	stdout, stderr, status = doctorRuns(t, nil, "--colour")
	if status != 1 || stdout != "" || stderr != "Error: unknown flag: --colour\n" {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
}

// TestDoctorNoPassword: an empty one is not tried.
func TestDoctorNoPassword(t *testing.T) {
	stdout, stderr, status := doctorRuns(t, nil, "--config", doctorConfig(t), "--user", "alice")
	if status != 1 || stdout != "" || !strings.Contains(stderr, "the password of alice is missing") {
		t.Errorf("status %d: %s%s", status, stdout, stderr)
	}
}

// TestDoctorStatus: all three statuses get through Caddy, without a word.
func TestDoctorStatus(t *testing.T) {
	for status := range 3 {
		cmd := caddyProgram(t, "test-exit", strconv.Itoa(status))
		out, err := cmd.CombinedOutput()
		if err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != status || len(out) > 0 {
			t.Errorf("got %d, want %d, printed %q", got, status, out)
		}
	}
}

// TestDoctorTerminal: on a terminal the password is asked for once, and nothing of
// it is shown; marks have colours there unless NO_COLOR is set.
func TestDoctorTerminal(t *testing.T) {
	for _, test := range []struct {
		name, env string
		colour    bool
	}{
		{"colour", "NO_COLOR=", true},
		{"no colour", "NO_COLOR=1", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			keyboard, terminal, err := pty.Open()
			if err != nil {
				t.Skipf("no pseudo-terminal: %v", err)
			}
			defer keyboard.Close()
			if _, err := io.WriteString(keyboard, "sesame\n"); err != nil {
				t.Fatal(err)
			}
			cmd := caddyProgram(t, "registry-doctor", "--config", doctorConfig(t), "--user", "alice")
			cmd.Env = append(cmd.Env, test.env)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			terminal.Close()
			shown, _ := io.ReadAll(keyboard) // ends with an error as the terminal does
			_ = cmd.Wait()
			text := string(shown)
			text = strings.Replace(text, "sesame\r\n", "", 1) // typed before the program began to hide it
			if strings.Count(text, "Password for alice: ") != 1 || strings.Contains(text, "Once more") || strings.Contains(text, "sesame") {
				t.Errorf("shown: %q", shown)
			}
			if strings.Contains(text, "\x1b[32m✓") != test.colour || cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("status %d: %q", cmd.ProcessState.ExitCode(), shown)
			}
		})
	}
}

func TestDefaultConfig(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, test := range []struct{ named, want string }{
		{"docker.Caddyfile", "/etc/caddy/docker.Caddyfile"},
		{"./docker.Caddyfile", "./docker.Caddyfile"},
		{"/srv/Caddyfile", "/srv/Caddyfile"},
		{"", "/etc/caddy/Caddyfile"},
	} {
		if got := defaultConfig(test.named); got != test.want {
			t.Errorf("%q: got %s, want %s", test.named, got, test.want)
		}
	}
	if err := os.WriteFile("Caddyfile", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := defaultConfig(""); got != "Caddyfile" {
		t.Errorf("got %s", got)
	}
}

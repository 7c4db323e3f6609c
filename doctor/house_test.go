package doctor

import (
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what every Caddy has
	"github.com/google/go-cmp/cmp"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
	_ "github.com/caddy-nas/caddy-nas-registry/registryproxy"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/htpasswd"
)

// servedSite is a real Caddy in a process of its own: it has the name of the real one,
// and obtains a certificate of its own authority.
type servedSite struct {
	t                     *testing.T
	dir, file, port       string
	admin, bind, htpasswd string
	stop                  func()
	testenv.Output
}

// runEnv is set in the process that is Caddy, to its config file.
const runEnv = "DOCTOR_TEST_RUN"

// TestRun is the process of a servedSite.
func TestRun(t *testing.T) {
	file := os.Getenv(runEnv)
	if file == "" {
		t.Skip("is run by servedSite")
	}
	os.Args = []string{"caddy", "run", "--config", file, "--adapter", "caddyfile"}
	caddycmd.Main()
}

// newServedSite writes a config. Nothing runs before start.
func newServedSite(t *testing.T) *servedSite {
	t.Helper()
	dir := t.TempDir()
	s := &servedSite{
		t: t, dir: dir, file: filepath.Join(dir, "Caddyfile"), port: strconv.Itoa(testenv.FreePort(t)),
		admin: "unix/" + filepath.Join(dir, "admin.sock"), bind: "127.0.0.1", htpasswd: filepath.Join(dir, "htpasswd"),
	}
	if err := htpasswd.Set(s.htpasswd, "alice", "canary, right", 4); err != nil {
		t.Fatal(err)
	}
	s.write("")
	return s
}

// write writes the config, with a further line in the site.
func (s *servedSite) write(line string) {
	s.t.Helper()
	config := fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https disable_redirects
	local_certs
	skip_install_trust
	storage file_system %s
}
https://localhost:%s {
	bind %s
	%s
	registry_proxy {
		embedded %s
		htpasswd %s
	}
}
`, s.admin, filepath.Join(s.dir, "storage"), s.port, s.bind, line, filepath.Join(s.dir, "registry"), s.htpasswd)
	if err := os.WriteFile(s.file, []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// start runs Caddy until stop, or the end of the test.
func (s *servedSite) start() {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	program := filepath.Join(s.dir, "caddy")
	if err := os.Symlink(self, program); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(s.t.Context(), program, "-test.run=^TestRun$")
	cmd.Env = append(os.Environ(), runEnv+"="+s.file)
	cmd.Stdout, cmd.Stderr = s, s
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	stopped := false
	s.stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	s.t.Cleanup(func() {
		s.stop()
		if s.t.Failed() {
			s.t.Logf("Caddy's log:\n%s", s.Log())
		}
	})
	p := &patient{options: Options{Config: s.file}}
	if f := lookConfig(s.t.Context(), p); f.Status != OK {
		s.t.Fatalf("%+v", f)
	}
	testenv.Eventually(s.t, "Caddy", func() error {
		_, err := p.handshake(s.t.Context(), "localhost")
		return err
	})
}

// examine makes the checks of Caddy and of what it serves.
func (s *servedSite) examine(o Options) map[string]Result {
	s.t.Helper()
	o.Config = s.file
	p := &patient{options: o}
	defer p.close()
	return s.examinePatient(p)
}

func (s *servedSite) examinePatient(p *patient) map[string]Result {
	s.t.Helper()
	ids := []string{"config", "port", "caddy", "tls", "certificate", "chain", "challenge", "users", "user"}
	these := slices.DeleteFunc(slices.Clone(checks), func(c check) bool { return !slices.Contains(ids, c.id) })
	results := make(map[string]Result)
	examine(s.t.Context(), p, these, func(r Result) { results[r.ID] = r })
	return results
}

// marksOf are the marks of results, and the causes.
func marksOf(results map[string]Result) map[string]string {
	all := make(map[string]string)
	for id, r := range results {
		all[id] = marks[r.Status].mark
		if r.Cause != "" {
			all[id] += " " + r.Cause
		}
	}
	return all
}

// allBut are the marks where nothing is wrong, but for the given.
func allBut(changes ...string) map[string]string {
	all := make(map[string]string)
	for _, id := range []string{"config", "port", "caddy", "tls", "certificate", "chain", "challenge", "users", "user"} {
		all[id] = "✓"
	}
	for i := 0; i < len(changes); i += 2 {
		all[changes[i]] = changes[i+1]
	}
	return all
}

// withoutCaddy is what hangs on it.
var withoutCaddy = []string{"caddy", "✗", "tls", "? caddy", "certificate", "? caddy", "chain", "? caddy", "challenge", "? caddy", "user", "? caddy"}

// TestHouse breaks one thing at a time, and sees that it is named, and what hangs
// on it and nothing else.
func TestHouse(t *testing.T) {
	login := Options{User: "alice", Password: "canary, right"}
	for _, test := range []struct {
		name         string
		prepare      func(*servedSite) // before Caddy starts
		breaks       func(*servedSite)
		options      Options
		marks        map[string]string
		check        string // that says
		seen, advice string
	}{
		{name: "nothing", options: login, marks: allBut(), check: "caddy", seen: "it runs the config of the file"},
		{
			name: "Caddy", breaks: func(s *servedSite) { s.stop() }, options: login,
			marks: allBut(withoutCaddy...), check: "caddy", seen: "it does not run", advice: "docker compose up -d",
		},
		{
			name: "the config that runs", breaks: func(s *servedSite) { s.write("header X-Changed yes") }, options: login,
			marks: allBut(withoutCaddy...), check: "caddy", seen: "the first difference is in /apps/http/servers/srv0/routes", advice: "caddy reload",
		},
		{
			name: "the site's program", breaks: func(s *servedSite) { s.stop(); hold(t, "otherd", "127.0.0.1:"+s.port) }, options: login,
			marks: allBut("port", "✗", "caddy", "? port", "tls", "? port", "certificate", "? port", "chain", "? port", "challenge", "? port", "user", "? port"),
			check: "port", seen: "is held by otherd", advice: "REGISTRY_PORT",
		},
		{
			name: "no admin endpoint", prepare: func(s *servedSite) { s.admin = "off" }, options: login,
			marks: allBut(), check: "caddy", seen: "has the admin endpoint off",
		},
		{
			name: "Caddy without an admin endpoint", prepare: func(s *servedSite) { s.admin = "off" }, breaks: func(s *servedSite) { s.stop() }, options: login,
			marks: allBut(withoutCaddy...), check: "caddy", seen: "it does not run", advice: "docker compose up -d",
		},
		{
			name: "admin endpoint out of reach", breaks: func(s *servedSite) { _ = os.Remove(filepath.Join(s.dir, "admin.sock")) }, options: login,
			marks: allBut(append(withoutCaddy, "caddy", "?")...), check: "caddy", seen: "admin endpoint can't be asked", advice: "Run the doctor where Caddy runs",
		},
		{ // as on the host of Caddy's container
			name: "Caddy's files out of reach, too", breaks: func(s *servedSite) { _ = os.Remove(filepath.Join(s.dir, "admin.sock")); _ = os.Remove(s.htpasswd) },
			marks: func() map[string]string {
				all := allBut(append(withoutCaddy, "caddy", "?", "users", "? caddy")...)
				delete(all, "user")
				return all
			}(),
			check: "caddy", seen: "admin endpoint can't be asked", advice: "Run the doctor where Caddy runs",
		},
		{
			name: "the authority's root", breaks: func(s *servedSite) { s.renewRoot() }, options: login,
			marks: allBut("chain", "✗"), check: "chain", seen: "does not know \"Caddy Local Authority - 20", advice: "root certificate",
		},
		{
			name: "the authority's root, gone", breaks: func(s *servedSite) { _ = os.Remove(s.root()) }, options: login,
			marks: allBut("chain", "?"), check: "chain", seen: "the root certificate of Caddy's own authority can't be read", advice: "Run the doctor as",
		},
		{
			name: "the request for a password", prepare: func(s *servedSite) { s.write("respond /v2/ 200") }, options: login,
			marks: allBut("challenge", "✗", "user", "? challenge"), check: "challenge", seen: "open to everybody", advice: "htpasswd",
		},
		{
			name: "the user's password", options: Options{User: "alice", Password: "canary, wrong"},
			marks: allBut("user", "✗"), check: "user", seen: "the password of alice is wrong", advice: "registry-passwd",
		},
		{
			name: "the user", options: Options{User: "bob", Password: "canary, right"},
			marks: allBut("user", "✗"), check: "user", seen: "there is no user bob", advice: "registry-passwd",
		},
		{
			name: "the users", breaks: func(s *servedSite) { _ = os.Remove(s.htpasswd) }, options: login,
			marks: allBut("users", "✗", "user", "? users"), check: "users", seen: "htpasswd is missing", advice: "registry-passwd",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newServedSite(t)
			if test.prepare != nil {
				test.prepare(s)
				if s.admin == "off" {
					s.write("")
				}
			}
			s.start()
			if test.breaks != nil {
				test.breaks(s)
			}
			results := s.examine(test.options)
			if diff := cmp.Diff(test.marks, marksOf(results)); diff != "" {
				t.Errorf("%s\n%s", diff, printed(results))
			}
			says(t, results[test.check].Finding, results[test.check].Status, test.seen, test.advice)
			if strings.Contains(printed(results), "$2") || strings.Contains(printed(results), "canary") {
				t.Errorf("a secret shows: %s", printed(results))
			}
		})
	}
}

func printed(results map[string]Result) string {
	var out strings.Builder
	p := NewPrinter(&out, false)
	for i := range checks {
		if r, made := results[checks[i].id]; made {
			p.Result(r)
		}
	}
	p.End()
	return out.String()
}

func (s *servedSite) root() string {
	return filepath.Join(s.dir, "storage", "pki", "authorities", "local", "root.crt")
}

// renewRoot puts another authority's root there.
func (s *servedSite) renewRoot() {
	s.t.Helper()
	if err := os.WriteFile(s.root(), pemOf(issue(s.t, nil, "Caddy Local Authority - 2020 ECC Root", nil, nil)), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// TestAdminOverTCP: the endpoint refuses requests for other hosts, and those that
// seem to come from a website.
func TestAdminOverTCP(t *testing.T) {
	s := newServedSite(t)
	s.admin = "localhost:" + strconv.Itoa(testenv.FreePort(t))
	s.write("")
	s.start()
	p := &patient{options: Options{Config: s.file}}
	defer p.close()
	results := s.examinePatient(p)
	says(t, results["caddy"].Finding, OK, "it runs the config of the file", "")
	if p.admin == nil {
		t.Fatal("no client")
	}
	if !p.setup.adminAnswers(t.Context()) {
		t.Error("it does not answer a second client")
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://whatever/config/admin", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.admin.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "localhost") {
		t.Errorf("%s %s %v", resp.Status, body, err)
	}
}

// TestHolderBySite: who may not see the names of programs knows Caddy by its answer.
func TestHolderBySite(t *testing.T) {
	s := newServedSite(t)
	s.start()
	p := &patient{options: Options{Config: s.file}}
	if f := lookConfig(t.Context(), p); f.Status != OK {
		t.Fatalf("%+v", f)
	}
	says(t, p.portByAnswer(t.Context(), nil), OK, "it answers as Caddy", "")

	// A site that Caddy runs, but has no certificate for.
	p.setup.names = []string{"other.example.com"}
	says(t, p.portByAnswer(t.Context(), nil), OK, "it speaks TLS, and Caddy is running", "")
	s.stop()
	says(t, p.portByConnection(t.Context(), fs.ErrNotExist), OK, "nobody answers", "")
}

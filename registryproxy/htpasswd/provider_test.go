package htpasswd_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
	_ "github.com/caddy-nas/caddy-nas-registry/registryproxy"
)

func site(file, more string) string {
	return "registry_proxy {\nembedded {$TESTDIR}\nhtpasswd " + file + " " + more + "\n}"
}

// login returns the status of GET /v2/ with a user name and a password.
func login(t *testing.T, c *testenv.Caddy, user, password string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL("/v2/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(user, password)
	return status(t, c, req).StatusCode
}

func status(t *testing.T, c *testenv.Caddy, req *http.Request) *http.Response {
	t.Helper()
	resp, err := c.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestLogins(t *testing.T) {
	t.Setenv("TESTDIR", t.TempDir())
	c := testenv.NewCaddy(t)
	c.Load(site(testenv.Users(t, "alice", "pass:word", "bob", "b"), ""))
	for _, tc := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"none", nil, 401},
		{"good", []string{"Basic YWxpY2U6cGFzczp3b3Jk"}, 200},
		{"scheme in lower case", []string{"basic YWxpY2U6cGFzczp3b3Jk"}, 200},
		{"wrong password", []string{"Basic YWxpY2U6eA=="}, 401},
		{"unknown user", []string{"Basic bm9ib2R5Ong="}, 401},
		{"empty user and password", []string{"Basic Og=="}, 401},
		{"no colon", []string{"Basic YWxpY2U="}, 401},
		{"not Base64", []string{"Basic !!!"}, 401},
		{"another scheme", []string{"Bearer YWxpY2U6cGFzczp3b3Jk"}, 401},
		{"empty", []string{""}, 401},
		{"two", []string{"Basic YWxpY2U6cGFzczp3b3Jk", "Basic YWxpY2U6cGFzczp3b3Jk"}, 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL("/v2/"), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header["Authorization"] = tc.headers
			resp := status(t, c, req)
			if resp.StatusCode != tc.status {
				t.Errorf("got %s, want %d", resp.Status, tc.status)
			}
			if tc.status == 401 && resp.Header.Get("Www-Authenticate") != `Basic realm="registry", charset="UTF-8"` {
				t.Errorf("WWW-Authenticate: %q", resp.Header.Get("Www-Authenticate"))
			}
			if resp.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
				t.Error("the version header is missing")
			}
		})
	}
}

// TestFileChanges: users come and go with the file; one that can't be used
// leaves those that were there.
func TestFileChanges(t *testing.T) {
	t.Setenv("TESTDIR", t.TempDir())
	path := testenv.Users(t, "alice", "a")
	c := testenv.NewCaddy(t)
	c.Load(site(path, ""))
	eventually := func(what, user, password string, want int) {
		t.Helper()
		testenv.Eventually(t, what, func() error {
			if got := login(t, c, user, password); got != want {
				return &unexpected{got}
			}
			return nil
		})
	}
	eventually("alice", "alice", "a", 200)
	eventually("no bob yet", "bob", "b", 401)
	testenv.WriteUsers(t, path, "alice", "new", "bob", "b")
	eventually("bob comes", "bob", "b", 200)
	eventually("alice's new password", "alice", "new", 200)
	eventually("alice's old password", "alice", "a", 401)

	for name, content := range map[string]string{
		"truncated": "", "half-written": "bob:$2a$04$abc", "plain": "bob:b\n", "missing": "",
	} {
		before := strings.Count(c.Log(), "its former users stay")
		if name == "missing" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, "a warning that the file is "+name, func() error {
			if got := login(t, c, "bob", "b"); got != 200 {
				t.Fatalf("file %s: bob gets %d", name, got)
			}
			if after := strings.Count(c.Log(), "its former users stay"); after != before+1 {
				return &unexpected{after - before}
			}
			return nil
		})
	}
	testenv.WriteUsers(t, path, "carol", "c")
	eventually("carol comes", "carol", "c", 200)
	eventually("bob is gone", "bob", "b", 401)
}

type unexpected struct{ got int }

func (e *unexpected) Error() string { return "got " + string(rune('0'+e.got/100)) + "xx" }

// TestBadFiles: at the start a file that can't be used is an error that names
// it, and the line.
func TestBadFiles(t *testing.T) {
	t.Setenv("TESTDIR", t.TempDir())
	dir := t.TempDir()
	for name, says := range map[string]string{
		"missing": "is missing", "empty": "line 1: the file holds no user", "plain": "line 1: the entry of user bob is not a bcrypt hash", "half-written": "line 1: the entry of user bob is a damaged bcrypt hash", "folder": "not a regular file",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			var err error
			switch name {
			case "empty":
				err = os.WriteFile(path, nil, 0o600)
			case "half-written":
				err = os.WriteFile(path, []byte("bob:$2a$10$abc"), 0o600)
			case "plain":
				err = os.WriteFile(path, []byte("bob:secret"), 0o600)
			case "folder":
				err = os.Mkdir(path, 0o700)
			}
			if err != nil {
				t.Fatal(err)
			}
			c := testenv.NewCaddy(t)
			err = c.TryLoad(site(path, ""))
			if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %q", err, says)
			}
		})
	}
}

// TestCreate: the option makes the user once, and never while a config is only
// validated. The password goes to standard error, not to the log.
func TestCreate(t *testing.T) {
	t.Setenv("TESTDIR", t.TempDir())
	path := filepath.Join(t.TempDir(), "new", "htpasswd")
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\nadmin off\n}\nhttp://localhost:0 {\n"+site(path, "{\ncreate admin\n}")+"\n}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&parsed); err != nil {
		t.Fatalf("validate: %v", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !os.IsNotExist(err) {
		t.Fatalf("validate made something: %v", err)
	}

	c := testenv.NewCaddy(t)
	printed := captureStderr(t, func() { c.Load(site(path, "{\ncreate admin\n}")) })
	found := regexp.MustCompile(`(?m)^    ([A-Z2-7]{26})$`).FindStringSubmatch(printed)
	if found == nil {
		t.Fatalf("no password on standard error: %q", printed)
	}
	if got := login(t, c, "admin", found[1]); got != 200 {
		t.Errorf("login with the password that was printed: %d", got)
	}
	if strings.Contains(c.Log(), found[1]) {
		t.Error("the password is in the log")
	}
	if again := captureStderr(t, func() { c.Load(site(path, "{\ncreate admin\n}")) }); strings.Contains(again, "Made user") {
		t.Errorf("made again: %q", again)
	}
	if got := login(t, c, "admin", found[1]); got != 200 {
		t.Errorf("login after a reload: %d", got)
	}
	// A file that is away during a reload is no new installation.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if again := captureStderr(t, func() { c.Load(site(path, "{\ncreate admin\n}")) }); strings.Contains(again, "Made user") {
		t.Errorf("made while the file was away: %q", again)
	}
	if got := login(t, c, "admin", found[1]); got != 200 {
		t.Errorf("login while the file is away: %d", got)
	}
}

// TestThrottled: who guesses is told to wait, while the user who is logged in
// already goes on.
func TestThrottled(t *testing.T) {
	t.Setenv("TESTDIR", t.TempDir())
	c := testenv.NewCaddy(t)
	c.Load(site(testenv.Users(t, "alice", "a"), ""))
	if got := login(t, c, "alice", "a"); got != 200 {
		t.Fatalf("login: %d", got)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL("/v2/"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for guess := range 11 {
		req.SetBasicAuth("alice", strings.Repeat("x", guess+1))
		resp := status(t, c, req)
		wait := resp.Header.Get("Retry-After")
		want := http.StatusUnauthorized
		if guess == 10 {
			want = http.StatusTooManyRequests
		}
		if resp.StatusCode != want || (want == http.StatusTooManyRequests) != (wait != "" && wait != "0") {
			t.Errorf("guess %d: %s, Retry-After %q, want %d", guess+1, resp.Status, wait, want)
		}
	}
	if got := login(t, c, "alice", "a"); got != 200 {
		t.Errorf("alice, who is logged in: %d", got)
	}
}

func captureStderr(t *testing.T, do func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	old := os.Stderr
	os.Stderr = w
	defer func() { os.Stderr = old }()
	do()
	w.Close()
	var out bytes.Buffer
	if _, err := out.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestEqualTime: an unknown user takes as long as a wrong password. It compares
// whole requests, so that nothing on the way can give users away.
func TestEqualTime(t *testing.T) {
	t.Setenv("TESTDIR", t.TempDir())
	path := filepath.Join(t.TempDir(), "htpasswd")
	// Cost 8: some 15 ms, well above all else that a request takes.
	hash := "$2a$08$" + strings.Repeat("N", 53)
	if err := os.WriteFile(path, []byte("alice:"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := testenv.NewCaddy(t)
	c.Load(site(path, ""))
	fastest := func(user func(i int) string) time.Duration {
		best := time.Hour
		for i := range 8 {
			start := time.Now()
			if got := login(t, c, user(i), "wrong"+string(rune('a'+i))); got != 401 {
				t.Fatalf("got %d", got)
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	known := fastest(func(int) string { return "alice" })
	unknown := fastest(func(i int) string { return "nobody" + string(rune('a'+i)) })
	// This asks for no speed, but for two amounts of work to be alike: without
	// the dummy hash the one is a tenth of the other.
	if unknown < known/2 || known < unknown/2 {
		t.Errorf("a known user takes %v, an unknown one %v", known, unknown)
	}
}

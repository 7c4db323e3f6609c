package doctor

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/htpasswd"
)

// usersFile has the user alice, whose password is "right".
func usersFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := htpasswd.Set(file, "alice", "right", 4); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestLookUsers(t *testing.T) {
	chmod := func(mode os.FileMode) func(*testing.T, string) {
		return func(t *testing.T, file string) {
			if err := os.Chmod(file, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	content := func(content string) func(*testing.T, string) {
		return func(t *testing.T, file string) {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(t *testing.T, file string) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	const slow = "bob:$2y$15$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
	for _, test := range []struct {
		name         string
		breaks       func(*testing.T, string)
		status       Status
		seen, advice string
	}{
		{"good", func(*testing.T, string) {}, OK, "1 user, bcrypt of cost 4", ""},
		{"for the group", chmod(0o660), OK, "1 user", ""},
		{"to be read by all", chmod(0o644), Wrong, "(permissions 0644)", "chmod 600"},
		{"to be written by all", chmod(0o602), Wrong, "(permissions 0602)", "chmod 600"},
		{"slow", content(slow), Wrong, "1 user, bcrypt of cost 15\nabove cost 14 a login takes seconds", "registry-passwd"},
		{"plain text", content("alice:secret\n"), Wrong, "line 1: the entry of user alice is not a bcrypt hash but plain text", "that line"},
		{"no user", content("# nobody\n"), Wrong, "the file holds no user", ""},
		{"missing", remove, Wrong, "htpasswd is missing", "registry-passwd --file"},
		{"a folder", func(t *testing.T, file string) {
			remove(t, file)
			if err := os.Mkdir(file, 0o700); err != nil {
				t.Fatal(err)
			}
		}, Wrong, "not a regular file", "registry-passwd --file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &patient{setup: &setup{htpasswd: usersFile(t)}}
			test.breaks(t, p.setup.htpasswd)
			f := lookUsers(t.Context(), p)
			if test.name == "no user" {
				test.advice = f.Advice // it is in what was seen
			}
			says(t, f, test.status, test.seen, test.advice)
		})
	}
}

func TestUsersForbidden(t *testing.T) {
	if !withoutCapabilities(t) {
		return
	}
	p := &patient{setup: &setup{htpasswd: usersFile(t)}}
	if err := os.Chmod(p.setup.htpasswd, 0); err != nil {
		t.Fatal(err)
	}
	says(t, lookUsers(t.Context(), p), Unknown, "permission denied", "CADDY_USER")
}

// TestUsersToBeMade: a Caddy that has not run yet makes them.
func TestUsersToBeMade(t *testing.T) {
	p := &patient{setup: &setup{htpasswd: filepath.Join(t.TempDir(), "htpasswd"), create: "admin"}}
	says(t, lookUsers(t.Context(), p), OK, "Caddy makes it at its start, with the user admin", "")
	p.admin = new(http.Client)
	says(t, lookUsers(t.Context(), p), Wrong, "is missing", "registry-passwd --file "+p.setup.htpasswd+" admin")
}

func TestLookUser(t *testing.T) {
	leaf := issue(t, nil, "", []string{"localhost"}, nil)
	for _, test := range []struct {
		name         string
		code         int
		status       Status
		seen, advice string
	}{
		{"accepted", 200, OK, "the login of alice is accepted", ""},
		{"refused", 401, Wrong, "the password of alice is wrong", "registry-passwd"},
		{"throttled", 429, Unknown, "too many failed logins", "Wait"},
		{"no registry", 503, Unknown, "answered by 503", "logs caddy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := startSite(t, tlsConfig(leaf), func(w http.ResponseWriter, r *http.Request) {
				if user, password, _ := r.BasicAuth(); user != "alice" || password != "tried" {
					t.Errorf("login %s %s", user, password)
				}
				w.WriteHeader(test.code)
			}, "localhost")
			p.chain, p.setup.htpasswd = chainOf(leaf), usersFile(t)
			p.options.User, p.options.Password = "alice", "tried"
			says(t, lookUser(t.Context(), p), test.status, test.seen, test.advice)
		})
	}
}

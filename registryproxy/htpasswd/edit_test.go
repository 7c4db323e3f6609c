package htpasswd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func TestSetAndDelete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := Set(path, "alice", "one", bcrypt.MinCost); err != nil {
		t.Fatal(err)
	}
	alice, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v, want 0600", info.Mode(), err)
	}
	// Whatever else is there stays, byte for byte, and in its place.
	secret := hashOfSecret(t)
	before, after := "# users of the house\r\nolder:"+secret+"\r\n", "\nlast:"+secret
	if err := os.WriteFile(path, []byte(before+string(alice)+after), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Set(path, "alice", "two", bcrypt.MinCost); err != nil {
		t.Fatal(err)
	}
	content := read(t, path)
	line, ok := strings.CutPrefix(content, before)
	line, ok2 := strings.CutSuffix(line, after)
	_, hash, _ := strings.Cut(strings.TrimSpace(line), ":")
	if !ok || !ok2 || bcrypt.CompareHashAndPassword([]byte(hash), []byte("two")) != nil {
		t.Errorf("after a new password: %q", content)
	}
	if err := Set(path, "bob", "three", bcrypt.MinCost); err != nil {
		t.Fatal(err)
	}
	if content := read(t, path); !strings.Contains(content, after+"\nbob:$2a$04$") || !strings.HasSuffix(content, "\n") {
		t.Errorf("after a new user: %q", content)
	}
	for _, user := range []string{"bob", "alice"} {
		if err := Delete(path, user); err != nil {
			t.Fatal(err)
		}
	}
	if content := read(t, path); content != before+after+"\n" {
		t.Errorf("after both are deleted: %q", content)
	}
	if err := Delete(path, "bob"); !errors.Is(err, ErrNoUser) {
		t.Errorf("deleting nobody: %v", err)
	}
	// Deleting the last users would leave a file that Caddy refuses: it would go
	// on with those it knows, the deleted one included.
	if err := os.WriteFile(path, []byte("only:"+secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Delete(path, "only"); !errors.Is(err, ErrUnusable) || read(t, path) != "only:"+secret+"\n" {
		t.Errorf("deleting the only user: %v %q", err, read(t, path))
	}
	if err := os.WriteFile(path, []byte("bad:{SHA}x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Set(path, "alice", "x", bcrypt.MinCost); !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), "line 1: the entry of user bad is not a bcrypt hash but SHA-1") {
		t.Errorf("beside a line that can't be used: %v", err)
	}
	if err := Set(path, "bad", "x", bcrypt.MinCost); err != nil {
		t.Errorf("mending that line: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("temporary files are left: %v %v", left, err)
	}
}

func TestSetErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	for _, tc := range []struct {
		name, user, password string
		cost                 int
		says                 string
	}{
		{"no name", "", "x", 4, "name is empty"},
		{"colon", "a:b", "x", 4, "colon"},
		{"comment", "#a", "x", 4, "#"},
		{"line end", "a\nb", "x", 4, "printed"},
		{"no password", "a", "", 4, "password is empty"},
		{"password too long", "a", strings.Repeat("x", 73), 4, "72 bytes"},
		{"cost too low", "a", "x", 3, "between 4 and 16"},
		{"cost too high", "a", "x", 17, "between 4 and 16"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := Set(path, tc.user, tc.password, tc.cost); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %q", err, tc.says)
			}
		})
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was written: %v", err)
	}
}

// TestSymbolicLink: a link to a file elsewhere stays a link.
func TestSymbolicLink(t *testing.T) {
	target := filepath.Join(t.TempDir(), "users")
	link := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(target, []byte("# none yet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := Set(link, "alice", "x", bcrypt.MinCost); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 || !strings.HasPrefix(read(t, target), "# none yet\nalice:") {
		t.Errorf("the link became %v (%v)", info.Mode(), err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

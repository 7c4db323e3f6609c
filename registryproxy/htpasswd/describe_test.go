package htpasswd_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/htpasswd"
)

func TestDescribe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := errors.Join(htpasswd.Set(path, "bob", "b", 6), htpasswd.Set(path, "alice", "a", 4)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	got, err := htpasswd.Describe(path)
	if err != nil {
		t.Fatal(err)
	}
	want := htpasswd.Description{Users: []string{"alice", "bob"}, MinCost: 4, MaxCost: 6, Mode: 0o640}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDescribeErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := htpasswd.Describe(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if _, err := htpasswd.Describe(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("folder: %v", err)
	}
	path := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(path, []byte("# users\nalice:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var parseErr *htpasswd.ParseError
	if _, err := htpasswd.Describe(path); !errors.As(err, &parseErr) || parseErr.Line != 2 || strings.Contains(err.Error(), "secret") {
		t.Errorf("plain text: %v", err)
	}
}

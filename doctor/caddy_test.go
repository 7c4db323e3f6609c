package doctor

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCompareConfigs(t *testing.T) {
	for _, test := range []struct{ name, file, running, where string }{
		{"same", `{"a": {"b": [1, "x"]}, "c": null}`, ` {"c":null,"a":{"b":[1,"x"]}} `, ""},
		{"value", `{"a": {"b": 1}}`, `{"a": {"b": 2}}`, "/a/b"},
		{"first of two", `{"b": 1, "a": 1}`, `{"b": 2, "a": 2}`, "/a"},
		{"missing", `{"a": {"b": 1, "c": 1}}`, `{"a": {"b": 1}}`, "/a/c"},
		{"more", `{"a": {}}`, `{"a": {"d": 1}}`, "/a/d"},
		{"element", `{"a": [{"b": 1}, {"b": 2}]}`, `{"a": [{"b": 1}, {"b": 3}]}`, "/a/1/b"},
		{"longer list", `{"a": [1]}`, `{"a": [1, 2]}`, "/a"},
		{"other type", `{"a": {"b": 1}}`, `{"a": [1]}`, "/a"},
		{"nothing runs", `{"a": 1}`, `null`, "/"},
		{"no JSON", `{"a": 1}`, `<html>`, "the whole"},
	} {
		t.Run(test.name, func(t *testing.T) {
			where, same := compareConfigs([]byte(test.file), []byte(test.running))
			if where != test.where || same != (test.where == "") {
				t.Errorf("got %q %t, want %q", where, same, test.where)
			}
		})
	}
}

// FuzzCompareConfigs: it ends, is the same both ways, and shows no value.
func FuzzCompareConfigs(f *testing.F) {
	f.Add(`{"key": "secret"}`, `{"key": "secret2"}`)
	f.Add(`[{"a": [1]}]`, `[{"a": [2]}]`)
	f.Fuzz(func(t *testing.T, a, b string) {
		where, same := compareConfigs([]byte(a), []byte(b))
		back, sameBack := compareConfigs([]byte(b), []byte(a))
		if where != back || same != sameBack || same != (where == "") {
			t.Errorf("%q %t, %q %t", where, same, back, sameBack)
		}
	})
}

// TestAdminForbidden: a socket of another user says nothing about Caddy.
func TestAdminForbidden(t *testing.T) {
	if !withoutCapabilities(t) {
		return
	}
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(socket, 0); err != nil {
		t.Fatal(err)
	}
	p := patientAt(t, "127.0.0.1:1", "localhost")
	p.setup.admin = "unix/" + socket
	says(t, lookCaddy(t.Context(), p), Unknown, "permission denied", "as the user that Caddy runs as")
}

func TestAdminClientErrors(t *testing.T) {
	for _, address := range []string{"localhost:1-2", "fd/3", "localhost:x"} {
		if _, err := adminClient(address); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

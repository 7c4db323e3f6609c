package dnssynology

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const wholeFile = `{"myds_id":"1","auth_key":"canaryA","api_key":"canaryB","serial":"S","mac":"00-11-32-AA-BB-CC"}`

func writeFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "synology.json")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestCredentials(t *testing.T) {
	fromFile := Credentials{MyDSID: "1", AuthKey: "canaryA", APIKey: "canaryB", Serial: "S", MAC: "00:11:32:aa:bb:cc"}
	for _, test := range []struct {
		name, file string
		explicit   Credentials
		want       Credentials
	}{
		{name: "file", file: wholeFile, want: fromFile},
		{name: "byte order mark", file: "\ufeff" + wholeFile, want: fromFile},
		{name: "explicit only", explicit: fromFile, want: fromFile},
		{
			name: "explicit wins", file: wholeFile, explicit: Credentials{AuthKey: "mine", MAC: "001132000001"},
			want: Credentials{MyDSID: "1", AuthKey: "mine", APIKey: "canaryB", Serial: "S", MAC: "00:11:32:00:00:01"},
		},
		{
			name: "for TXT only", explicit: Credentials{MyDSID: " 1\n", AuthKey: "a", Serial: "S"},
			want: Credentials{MyDSID: "1", AuthKey: "a", Serial: "S"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &Provider{Credentials: test.explicit}
			if test.file != "" {
				p.CredentialsFile = writeFile(t, test.file, 0o600)
			}
			got, err := p.credentials()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCredentialsErrors(t *testing.T) {
	for _, test := range []struct {
		name, file string
		mode       os.FileMode
		explicit   Credentials
		want       string
	}{
		{name: "nothing", want: "TXT records need myds_id, auth_key, serial"},
		{name: "no serial", file: `{"myds_id":"1","auth_key":"canaryA"}`, want: "TXT records need serial"},
		{name: "readable by the group", file: wholeFile, mode: 0o640, want: "chmod 600"},
		{name: "readable by all", file: wholeFile, mode: 0o604, want: "chmod 600"},
		{name: "writable by all", file: wholeFile, mode: 0o602, want: "chmod 600"},
		{name: "empty", file: " ", want: "is not a JSON object"},
		{name: "a list", file: `["canary"]`, want: "is not a JSON object"},
		{name: "null", file: `null`, want: "is not a JSON object"},
		{name: "shell", file: `auth_key=canary`, want: "is not a JSON object"},
		{name: "unknown field", file: `{"canary":"x"}`, want: "unknown field before byte 9"},
		{name: "letters' case", file: `{"Auth_Key":"canary"}`, want: "unknown field"},
		{name: "garbage", file: `{"myds_id":canary}`, want: "is not JSON"},
		{name: "a number", file: `{"myds_id":1234567}`, want: "myds_id that is not a string"},
		{name: "an object", file: `{"auth_key":{"canary":1}}`, want: "auth_key that is not a string"},
		{name: "twice", file: `{"serial":"canary","serial":"b"}`, want: "has serial twice"},
		{name: "cut", file: wholeFile[:30], want: "is not JSON"},
		{name: "no end", file: wholeFile[:len(wholeFile)-1], want: "is not JSON"},
		{name: "trailing", file: wholeFile + "canary", want: "behind its JSON object"},
		{name: "not UTF-8", file: "{\"auth_key\":\"canary\xff\"}", want: "is not UTF-8"},
		{name: "huge", file: `{"auth_key":"` + strings.Repeat("canary", 4000) + `"}`, want: "longer than"},
		{name: "line break within", file: `{"auth_key":"can\nary"}`, want: "auth_key has spaces or control characters"},
		{name: "MAC", file: strings.Replace(wholeFile, "00-11-32-AA-BB-CC", "canary", 1), want: "mac is not a MAC address"},
		{name: "long MAC", file: strings.Replace(wholeFile, "00-11-32-AA-BB-CC", "00:11:32:aa:bb:cc:dd:ee", 1), want: "mac is not a MAC address"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := &Provider{Credentials: test.explicit}
			if test.file != "" {
				p.CredentialsFile = writeFile(t, test.file, max(test.mode, 0o600))
			}
			_, err := p.credentials()
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%v; want %q", err, test.want)
			}
			if test.mode != 0 && !strings.Contains(err.Error(), p.CredentialsFile) {
				t.Errorf("%v does not name the file", err)
			}
		})
	}
}

func TestCredentialsFileKinds(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := exec.Command("mkfifo", "-m", "600", fifo).Run(); err != nil {
		t.Skip(err)
	}
	for name, want := range map[string]string{
		dir: "no regular file", fifo: "no regular file", "/dev/null": "no regular file", filepath.Join(dir, "none"): "no such file",
	} {
		_, err := (&Provider{CredentialsFile: name}).credentials()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
	}
}

// TestProviderOpensLater guards against an error that is kept for good: the file
// may be written after the first call.
func TestProviderOpensLater(t *testing.T) {
	p := &Provider{CredentialsFile: filepath.Join(t.TempDir(), "later")}
	if _, err := p.open(); err == nil {
		t.Fatal("there is no file")
	}
	if err := os.WriteFile(p.CredentialsFile, []byte(wholeFile), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := p.open()
	if err != nil {
		t.Fatal(err)
	}
	if second, err := p.open(); err != nil || second != first {
		t.Errorf("opened twice: %v", err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func FuzzParseCredentials(f *testing.F) {
	for _, seed := range []string{wholeFile, wholeFile[:20], `{}`, `{"serial":1}`, `[]`, "{\"mac\":\"\xff\"}", `{"a":"b"}`, wholeFile + wholeFile} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCredentials(data)
		if err != nil && c != (Credentials{}) {
			t.Errorf("%v with an error", c)
		}
		if err == nil && !strings.Contains(string(data), "{") {
			t.Error("no object")
		}
	})
}

package testenv

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what is adapted into the golden files")

// separator stands between a Caddyfile and what becomes of it, JSON or error.
const separator = "\n----------\n"

// Adapt holds the Caddyfiles in testdata/adapt/*.caddyfiletest against what must
// become of them. More than half of them must be bad ones: their names, and only
// theirs, begin with bad_. With the flag -update it writes what becomes of them.
func Adapt(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	bad := 0
	for _, file := range files {
		isBad := strings.HasPrefix(filepath.Base(file), "bad_")
		if isBad {
			bad++
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) { adaptFile(t, file, isBad) })
	}
	if 2*bad <= len(files) {
		t.Errorf("%d of %d cases are bad ones: more than half must be", bad, len(files))
	}
}

func adaptFile(t *testing.T, file string, isBad bool) {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	input, want, ok := strings.Cut(string(content), separator)
	if !ok && !*update {
		t.Fatalf("%s has no line of dashes", file)
	}
	got := adapt(t, input)
	if isError := !strings.HasPrefix(got, "{"); isError != isBad {
		t.Errorf("a name with bad_ is for errors, and only for those; got: %s", got)
	}
	if *update {
		if err := os.WriteFile(file, []byte(input+separator+got+"\n"), 0o600); err != nil { //nolint:gosec // a file of the test
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.TrimSpace(want), got); diff != "" {
		t.Errorf("adapted (-want +got):\n%s", diff)
	}
}

// adapt returns the JSON of a Caddyfile, or the error.
func adapt(t *testing.T, input string) string {
	t.Helper()
	adapter := caddyconfig.GetAdapter("caddyfile")
	config, warnings, err := adapter.Adapt([]byte(input+"\n"), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err.Error()
	}
	for _, w := range warnings {
		t.Errorf("warning: %s", w)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, config, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return indented.String()
}

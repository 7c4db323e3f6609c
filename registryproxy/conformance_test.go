package registryproxy_test

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestConformance runs the conformance program of the OCI distribution
// specification against the registry program directly, and against each way of
// ours: every single test must have the same result. (The program's own totals
// count groups of tests, too.)
//
// Source: https://github.com/opencontainers/distribution-spec/tree/main/conformance
func TestConformance(t *testing.T) {
	conformance := testenv.Program(t, "conformance")
	direct := testenv.StartRegistry(t, t.TempDir())
	want := runConformance(t, conformance, "http://"+direct, "", "")
	passed, all := 0, 0
	for _, statuses := range want {
		for _, status := range statuses {
			all++
			if status == "passed" {
				passed++
			}
		}
	}
	t.Logf("direct: %d of %d single tests pass", passed, all)
	if passed < 500 {
		t.Fatalf("the program does not work: only %d tests pass against the registry itself", passed)
	}

	t.Run("to", func(t *testing.T) {
		compareConformance(t, conformance, "to "+testenv.StartRegistry(t, t.TempDir()), want)
	})
	t.Run("blobs_from", func(t *testing.T) {
		dir := t.TempDir()
		compareConformance(t, conformance, "to "+testenv.StartRegistry(t, dir)+"\nblobs_from "+dir, want)
	})
	t.Run("embedded", func(t *testing.T) {
		compareConformance(t, conformance, "embedded "+t.TempDir(), want)
	})
	t.Run("docker", func(t *testing.T) {
		label := testenv.StartRegistryContainer(t).Label
		compareConformance(t, conformance, "docker {\nlabel "+label+"\n}", want)
	})
}

func compareConformance(t *testing.T, program, option string, want map[string][]string) {
	t.Helper()
	c := testenv.NewCaddy(t)
	c.Load("registry_proxy {\n" + option + "\nhtpasswd " + testenv.Users(t, "tester", "secret") + "\n}")
	got := runConformance(t, program, "https://"+c.Host, "tester", "secret",
		"SSL_CERT_FILE="+c.RootFile)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results that differ (-direct +through us):\n%s", diff)
	}
}

// runConformance returns the results of the tests by name. Several tests share
// a name, and the program runs those in no fixed order: their results are sorted.
func runConformance(t *testing.T, program, url, user, password string, env ...string) map[string][]string {
	t.Helper()
	scheme, host, _ := strings.Cut(url, "://")
	tls := "enabled"
	if scheme == "http" {
		tls = "disabled"
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"OCI_REGISTRY="+host, "OCI_TLS="+tls, "OCI_USERNAME="+user, "OCI_PASSWORD="+password,
		"OCI_REPO1=conformance/repo1", "OCI_REPO2=conformance/repo2", "OCI_RESULTS_DIR="+dir)
	cmd.Env = append(cmd.Env, env...)
	// It exits with 1 where a test fails; some do against the registry itself.
	out, err := cmd.CombinedOutput()
	content, readErr := os.ReadFile(filepath.Join(dir, "junit.xml"))
	if readErr != nil {
		t.Fatalf("conformance left no results: %v, %v\n%s", readErr, err, out)
	}
	var suites struct {
		Suites []struct {
			Cases []struct {
				Name   string `xml:"name,attr"`
				Status string `xml:"status,attr"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(content, &suites); err != nil {
		t.Fatal(err)
	}
	results := make(map[string][]string)
	for _, suite := range suites.Suites {
		for _, c := range suite.Cases {
			results[c.Name] = append(results[c.Name], c.Status)
		}
	}
	for _, statuses := range results {
		slices.Sort(statuses)
	}
	return results
}

package registryproxy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestAudit has what a user did in a log of its own, by the name that the README
// gives, and counted where Caddy's metrics are, also after a reload.
func TestAudit(t *testing.T) {
	for place, upstream := range upstreams(t) {
		t.Run(place, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "audit.log")
			c := testenv.NewCaddy(t)
			load := func(more string) {
				t.Helper()
				c.LoadEdited("metrics /metrics\nregistry_proxy {\n"+upstream+"\nhtpasswd "+testenv.Users(t, "a", "b")+"\nallow a pull,push,delete app\n"+more+"}",
					`"logs":{"default":{`,
					`"logs":{"audit":{"include":["registry.audit"],"writer":{"output":"file","filename":"`+file+`"}},"default":{"exclude":["registry.audit"],`)
			}
			load("")
			before := counted(t, c)
			get(t, c, "a:wrong", "/v2/")
			blobs := "/v2/app/blobs/"
			first := strings.TrimPrefix(pushBlob(t, c, []byte("one")), blobs)
			get(t, c, "a:b", "/v2/other/tags/list")

			// In the middle of a push, of which there is one line all the same.
			location := send(t, c, http.MethodPost, blobs+"uploads/", nil, http.StatusAccepted)
			location = send(t, c, http.MethodPatch, location, []byte("t"), http.StatusAccepted)
			load("group g a\n")
			location = send(t, c, http.MethodPatch, location, []byte("w"), http.StatusAccepted)
			second := digest.FromString("two").String()
			send(t, c, http.MethodPut, location+"&digest="+second, []byte("o"), http.StatusCreated)
			get(t, c, "a:b", blobs+second)

			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(string(content)) {
				var l struct {
					Logger, Msg, User, Digest, Repository string
					Bytes, Status                         int
				}
				if err := json.Unmarshal([]byte(line), &l); err != nil {
					t.Fatalf("%v in %s", err, line)
				}
				if l.Logger != "registry.audit" || l.User != "a" {
					t.Errorf("%s", line)
				}
				got = append(got, fmt.Sprint(l.Msg, " ", l.Repository, " ", l.Digest, " ", l.Bytes, " ", l.Status))
			}
			want := []string{
				"login refused   0 401", "push done app " + first + " 3 201", "pull refused other  0 403", "push done app " + second + " 3 201",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(c.Log(), "registry.audit") {
				t.Error("the log of all else has the audit, too")
			}
			after := counted(t, c)
			for series, more := range map[string]float64{
				`{action="login",result="refused"}`: 1, `{action="pull",result="refused"}`: 1, `{action="pull",result="done"}`: 1,
			} {
				if got := after[series] - before[series]; got != more {
					t.Errorf("%s: %v more instead of %v", series, got, more)
				}
			}
			if after[`{action="push",result="done"}`] < before[`{action="push",result="done"}`]+2 {
				t.Errorf("pushes: %v, and %v", before, after)
			}

			program := testenv.Program(t, "fail2ban-regex")
			out, err := exec.CommandContext(t.Context(), program, "--out=ip", file, "../caddyfiles/fail2ban.conf").CombinedOutput()
			if banned := strings.TrimSpace(string(out)); err != nil || banned != "127.0.0.1" && banned != "::1" {
				t.Errorf("fail2ban finds %q (%v)", banned, err)
			}
		})
	}
}

// counted returns the series of caddy_registry_requests_total, by their labels.
func counted(t *testing.T, c *testenv.Caddy) map[string]float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL("/metrics"), nil)
	if err != nil {
		t.Fatal(err)
	}
	status, _, body := do(t, c, req)
	if status != http.StatusOK {
		t.Fatalf("metrics: %d %s", status, body)
	}
	all := make(map[string]float64)
	for line := range strings.Lines(body) {
		var value float64
		series, ok := strings.CutPrefix(line, "caddy_registry_requests_total")
		labels, number, _ := strings.Cut(series, " ")
		if _, err := fmt.Sscan(number, &value); ok && err == nil {
			all[labels] = value
		}
	}
	return all
}

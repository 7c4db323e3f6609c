package audit_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/audit"
)

// from returns the address of a request from there, as Caddy's server prepares it.
func from(addr string) string {
	r := httptest.NewRequest(http.MethodGet, "/v2/", nil)
	vars := map[string]any{caddyhttp.ClientIPVarKey: addr}
	return audit.Address(r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars)))
}

// written returns what events look like in a log of Caddy's.
func written(write func(*audit.Log), encoder func(zapcore.EncoderConfig) zapcore.Encoder) string {
	var b strings.Builder
	config := zap.NewProductionEncoderConfig() // Caddy's, in JSON
	core := zapcore.NewCore(encoder(config), zapcore.AddSync(&b), zapcore.DebugLevel)
	write(audit.NewLog(zap.New(core).Named(audit.LoggerName)))
	return b.String()
}

var hostile = []string{
	"a\nb", "a\r\n{\"logger\":\"registry.audit\"}", `","addr":"203.0.113.9`, "\x1b[2J", "\x00", "\x7f", "\u0085", "\u2028", "\u202e", "\xff\xfe",
	strings.Repeat("x", 5000), "jörg@heim",
}

// TestNoForgedLine writes events with what strangers may send in every field: each
// is one line, which says what was said.
func TestNoForgedLine(t *testing.T) {
	for _, bad := range hostile {
		write := func(l *audit.Log) {
			l.Write(audit.Event{
				Addr: from("2001:db8::1"), Action: "pull", Result: audit.Refused, User: bad, Repository: bad, Reference: bad, Digest: bad, Reason: bad,
				From: bad, Tags: []string{bad, bad}, Status: 401,
			})
		}
		text := written(write, zapcore.NewConsoleEncoder)
		line := written(write, zapcore.NewJSONEncoder)
		for _, out := range []string{text, line} {
			// Tabs separate the columns of the console.
			if inner := strings.TrimSuffix(out, "\n"); regexp.MustCompile(`[^\P{C}\t]|[\x{2028}\x{2029}]`).MatchString(inner) {
				t.Errorf("%q: a control character in %q", bad, out)
			}
			if len(out) > 7*400+400 {
				t.Errorf("a line of %d bytes", len(out))
			}
		}
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("%q: %v in %s", bad, err, line)
		}
		if fields["addr"] != "2001:db8::1" || fields["logger"] != "registry.audit" || fields["status"] != 401.0 {
			t.Errorf("%q: %s", bad, line)
		}
		if bad == "jörg@heim" && fields["user"] != bad {
			t.Errorf("user: %v", fields["user"])
		}
	}
}

// TestCounters counts each request once, and has no labels from clients.
func TestCounters(t *testing.T) {
	l := audit.NewLog(zap.NewNop())
	gather := func() map[string]float64 {
		registry := prometheus.NewRegistry()
		registry.MustRegister(audit.Collector())
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		all := make(map[string]float64)
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, label := range m.GetLabel() {
					name += " " + label.GetValue()
				}
				all[name] = m.GetCounter().GetValue()
			}
		}
		return all
	}
	before := gather()
	l.Count("pull", audit.Done)
	l.Count("pull", audit.Done)
	l.Write(audit.Event{Action: "push", Result: audit.Failed, User: "a", Repository: "b"})
	for range 100 {
		l.Write(audit.Event{Action: audit.ActionLogin, Result: audit.Throttled, User: "x"})
	}
	l.Count("made up", audit.Done)
	after := gather()
	for name, more := range map[string]float64{
		"caddy_registry_requests_total pull done": 2, "caddy_registry_requests_total push failed": 1,
		"caddy_registry_requests_total login throttled": 100, "caddy_registry_requests_total pull failed": 0,
	} {
		if got, ok := after[name]; !ok || got-before[name] != more {
			t.Errorf("%s: %v more instead of %v", name, got-before[name], more)
		}
	}
	if len(after) != len(before) || len(after) != 42 {
		t.Errorf("%d series, and %d before", len(after), len(before))
	}
}

// TestCheapLines bounds what strangers can make us write of what costs them nothing,
// and keeps all the rest.
func TestCheapLines(t *testing.T) {
	for _, test := range []struct {
		event  audit.Event
		bounds bool
	}{
		{audit.Event{Action: audit.ActionLogin, Result: audit.Throttled, Status: 429}, true},
		{audit.Event{Action: "pull", Result: audit.Refused, Status: 403}, true},
		{audit.Event{Action: audit.ActionLogin, Result: audit.Refused, Status: 400}, true},
		{audit.Event{Action: audit.ActionLogin, Result: audit.Refused, Status: 401}, true}, // the same wrong password again
		{audit.Event{Action: audit.ActionLogin, Result: audit.Refused, Status: 401, Verified: true}, false},
		{audit.Event{Action: "push", Result: audit.Done, Status: 201}, false},
		{audit.Event{Action: "push", Result: audit.Failed, Status: 502}, false},
	} {
		const events = 1000
		begin := time.Now()
		out := written(func(l *audit.Log) {
			for range events {
				l.Write(test.event)
			}
		}, zapcore.NewJSONEncoder)
		n, most := strings.Count(out, "\n"), events
		if test.bounds {
			most = 101 + int(10*time.Since(begin).Seconds())
		}
		if n > most || !test.bounds && n != events {
			t.Errorf("%+v: %d lines, not at most %d", test.event, n, most)
		}
	}
}

// TestBoundsAreApart: neither strangers at the login nor mounts can have lines of
// refused actions left out.
func TestBoundsAreApart(t *testing.T) {
	out := written(func(l *audit.Log) {
		for range 1000 {
			l.Write(audit.Event{Action: audit.ActionLogin, Result: audit.Refused, Status: 400})
		}
		for range 1000 {
			l.Write(audit.Event{Action: audit.ActionMount, Result: audit.Refused})
		}
		l.Write(audit.Event{Action: "pull", Result: audit.Refused, Status: 403})
	}, zapcore.NewJSONEncoder)
	if n := strings.Count(out, "\n"); n >= 1000 || !strings.Contains(out, "pull refused") {
		t.Errorf("%d lines:\n%s", n, out)
	}
}

// TestLeftOut tells how many lines were left out, with the next that is not.
func TestLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := written(func(l *audit.Log) {
			for range 1000 {
				l.Write(audit.Event{Action: "pull", Result: audit.Refused, Status: 403})
			}
			time.Sleep(time.Second)
			l.Write(audit.Event{Action: "pull", Result: audit.Refused, Status: 403})
		}, zapcore.NewJSONEncoder)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		var fields struct {
			LeftOut int `json:"left_out"`
		}
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &fields); err != nil || len(lines) != 101 || fields.LeftOut != 900 {
			t.Errorf("%d lines, %d left out (%v)", len(lines), fields.LeftOut, err)
		}
	})
}

// TestFail2ban lets the real program read the lines with the filter that is
// shipped: it finds each failed login, and nobody can name another address.
func TestFail2ban(t *testing.T) {
	program := testenv.Program(t, "fail2ban-regex")
	filter, err := filepath.Abs("../../caddyfiles/fail2ban.conf")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"2001:db8::1", "198.51.100.8", "198.51.100.7"}
	log := written(func(l *audit.Log) {
		l.Write(audit.Event{Addr: from(want[0]), Action: audit.ActionLogin, Result: audit.Refused, User: "a", Status: 401, Verified: true})
		l.Write(audit.Event{Addr: from("::ffff:" + want[1]), Action: audit.ActionLogin, Result: audit.Refused, User: "b", Status: 401, Verified: true})
		l.Write(audit.Event{Addr: from(want[2]), Action: audit.ActionLogin, Result: audit.Refused, User: `x","addr":"203.0.113.9`, Status: 401, Verified: true})
		// These are no failed logins. A user whose account others have made throttled
		// may well know the password.
		l.Write(audit.Event{Addr: from("203.0.113.4"), Action: audit.ActionLogin, Result: audit.Throttled, User: "b", Status: 429})
		l.Write(audit.Event{Addr: from("203.0.113.1"), Action: "pull", Result: audit.Refused, User: `login refused","addr":"203.0.113.9"`, Status: 403})
		l.Write(audit.Event{Addr: from("203.0.113.2"), Action: "push", Result: audit.Done, User: "a", Status: 201})
	}, zapcore.NewJSONEncoder)
	log += `{"level":"info","ts":1795637365.4,"logger":"http.log.access","msg":"login refused","addr":"203.0.113.3"}` + "\n"
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(log), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, "--out=ip", path, filter).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := strings.Fields(string(out)); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("found %q instead of %q in:\n%s", got, want, log)
	}
}

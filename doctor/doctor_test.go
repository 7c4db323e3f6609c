package doctor

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ready is a patient whose config was read.
func ready() *patient { return &patient{setup: new(setup)} }

// saw makes a check's function of a finding.
func saw(f Finding) func(context.Context, *patient) Finding {
	return func(context.Context, *patient) Finding { return f }
}

func never(*patient) bool { return false }

func run(t *testing.T, p *patient, checks ...check) (Report, []string) {
	t.Helper()
	var told []string
	report := examine(t.Context(), p, checks, func(r Result) { told = append(told, r.ID) })
	return report, told
}

func TestExamine(t *testing.T) {
	good, bad := saw(ok("fine")), saw(wrong("Mend it.", "broken"))
	for _, test := range []struct {
		name   string
		checks []check
		want   []string
	}{
		{"all well", []check{
			{id: "a", look: good}, {id: "b", needs: []string{"a"}, look: good},
		}, []string{"a ok", "b ok"}},
		{"a need is not met", []check{
			{id: "a", title: "First", look: bad}, {id: "b", needs: []string{"a"}, look: good},
		}, []string{"a wrong", `b unknown a not looked at: mend "First" first`}},
		{"one of two needs", []check{
			{id: "a", look: good}, {id: "b", title: "Second", look: bad}, {id: "c", needs: []string{"a", "b"}, look: good},
		}, []string{"a ok", "b wrong", `c unknown b not looked at: mend "Second" first`}},
		{"the cause of a chain is its first", []check{
			{id: "a", title: "First", look: bad}, {id: "b", title: "Second", needs: []string{"a"}, look: good},
			{id: "c", needs: []string{"b"}, look: good}, {id: "d", look: saw(hangsOn("b"))},
		}, []string{
			"a wrong", `b unknown a not looked at: mend "First" first`,
			`c unknown a not looked at: mend "First" first`, `d unknown a not looked at: mend "First" first`,
		}},
		{"an unknown need", []check{
			{id: "a", title: "First", look: saw(unknown("Ask.", "forbidden"))}, {id: "b", needs: []string{"a"}, look: good},
		}, []string{"a unknown", `b unknown a not looked at: "First" is not known`}},
		{"of two needs the one that can be mended", []check{
			{id: "a", title: "First", look: saw(unknown("Ask.", "forbidden"))}, {id: "b", title: "Second", look: bad},
			{id: "c", needs: []string{"a", "b"}, look: good},
		}, []string{"a unknown", "b wrong", `c unknown b not looked at: mend "Second" first`}},
		{"a need that does not apply is met", []check{
			{id: "a", applies: never, look: bad}, {id: "b", needs: []string{"a"}, look: good},
		}, []string{"b ok"}},
		{"the cause shows while it is made", []check{
			{id: "a", title: "First", look: bad}, {id: "b", look: saw(hangsOn("a"))},
		}, []string{"a wrong", `b unknown a not looked at: mend "First" first`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			report, told := run(t, ready(), test.checks...)
			var got, ids []string
			for _, r := range report.Results {
				ids = append(ids, r.ID)
				line := r.ID + " " + string(r.Status)
				if r.Cause != "" {
					line += " " + r.Cause + " " + strings.Join(r.Seen, "|")
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(ids, told); diff != "" {
				t.Errorf("told otherwise: %s", diff)
			}
		})
	}
}

// TestOutside: outside of Caddy's container nothing is known to be wrong with what is
// only there.
func TestOutside(t *testing.T) {
	outside := check{id: "caddy", title: "Caddy", look: func(_ context.Context, p *patient) Finding {
		p.outside = true
		return unknown("Go in.", "not here")
	}}
	report, _ := run(t, ready(), outside,
		check{id: "a", inside: true, look: saw(wrong("Mend it.", "broken"))},
		check{id: "b", inside: true, look: saw(ok("fine"))},
		check{id: "c", look: saw(wrong("Mend it.", "broken"))})
	want := []Status{Unknown, Unknown, OK, Wrong}
	for i, r := range report.Results {
		if r.Status != want[i] {
			t.Errorf("%s: %+v", r.ID, r)
		}
	}
	if a := report.Results[1]; a.Cause != "caddy" || a.Advice != "" {
		t.Errorf("%+v", a)
	}
}

// TestSeenNothing: a program that reads the report finds a list.
func TestSeenNothing(t *testing.T) {
	report, _ := run(t, ready(), check{id: "a", look: saw(ok())})
	if encoded, err := json.Marshal(report); err != nil || !strings.Contains(string(encoded), `"seen":[]`) {
		t.Errorf("%s, %v", encoded, err)
	}
}

// TestPlain: nothing of a server's answer commands a terminal, not even in JSON.
func TestPlain(t *testing.T) {
	report, _ := run(t, ready(), check{id: "a", look: saw(wrong("End\u009b2J it.", "one\ntwo \x1b[2J\u009b2J\x7f"))})
	if r := report.Results[0]; r.Seen[0] != "one two ?[2J?2J?" || r.Advice != "End?2J it." {
		t.Errorf("%+v", r)
	}
}

// TestInterrupted: an examination that is cut off makes no more checks.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	report := examine(ctx, ready(), []check{
		{id: "a", look: func(context.Context, *patient) Finding { cancel(); return ok("fine") }},
		{id: "b", look: saw(ok("fine"))},
	}, func(Result) {})
	if len(report.Results) != 1 {
		t.Errorf("%d checks were made", len(report.Results))
	}
}

// TestAppliesLate: whether a check applies may depend on one before.
func TestAppliesLate(t *testing.T) {
	_, told := run(t, ready(),
		check{id: "a", look: func(_ context.Context, p *patient) Finding { p.acmeFailed = true; return ok() }},
		check{id: "b", applies: func(p *patient) bool { return p.acmeFailed }, look: saw(ok())})
	if diff := cmp.Diff([]string{"a", "b"}, told); diff != "" {
		t.Error(diff)
	}
}

// TestTimeout: no check goes on for ever, and the next one has its own time.
func TestTimeout(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := check{look: func(ctx context.Context, _ *patient) Finding {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("there is no time limit")
		}
		<-ctx.Done()
		return unknown("", ctx.Err().Error())
	}}
	if r := c.result(ctx, ready(), nil); r.Status != Unknown {
		t.Errorf("%+v", r)
	}
}

// TestBrokenConfig: of a config that can't be read nothing else is said.
func TestBrokenConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte("localhost {\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, config := range []string{file, filepath.Join(t.TempDir(), "missing")} {
		var told []string
		report := Examine(t.Context(), Options{Config: config}, func(r Result) { told = append(told, r.ID) })
		if len(report.Results) != 1 || report.Results[0].ID != "config" || report.Results[0].Status != Wrong ||
			len(told) != 1 || report.ExitStatus() != 1 || report.Config != config {
			t.Errorf("%s: %+v, told %q", config, report, told)
		}
	}
}

// TestClosers: what a check leaves open is closed in the end, the last first.
func TestClosers(t *testing.T) {
	var closed []int
	p := ready()
	for i := range 3 {
		p.closers = append(p.closers, func() { closed = append(closed, i) })
	}
	p.close()
	if diff := cmp.Diff([]int{2, 1, 0}, closed); diff != "" {
		t.Error(diff)
	}
}

func TestExitStatus(t *testing.T) {
	for _, test := range []struct {
		statuses []Status
		want     int
	}{
		{nil, 0},
		{[]Status{OK, OK}, 0},
		{[]Status{OK, Unknown, OK}, 2},
		{[]Status{Wrong, OK}, 1},
		{[]Status{Unknown, Wrong, Unknown}, 1},
	} {
		var r Report
		for _, s := range test.statuses {
			r.Results = append(r.Results, Result{Finding: Finding{Status: s}})
		}
		if got := r.ExitStatus(); got != test.want {
			t.Errorf("%v: got %d, want %d", test.statuses, got, test.want)
		}
	}
}

// TestChecks: each stands after those it needs and in the order of the steps, and
// is whole.
func TestChecks(t *testing.T) {
	var before []string
	step := 0
	for i := range checks {
		c := &checks[i]
		if c.id == "" || c.title == "" || c.look == nil || slices.Contains(before, c.id) {
			t.Errorf("check %d is not whole, or there twice: %q", i, c.id)
		}
		if c.step < step || c.step >= len(steps) {
			t.Errorf("%s is in step %d after step %d", c.id, c.step, step)
		}
		step = c.step
		for _, need := range c.needs {
			if !slices.Contains(before, need) {
				t.Errorf("%s needs %s, which does not come before", c.id, need)
			}
		}
		before = append(before, c.id)
	}
}

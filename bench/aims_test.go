package main

import (
	"errors"
	"math"
	"slices"
	"testing"
)

// given makes results of one round.
func given(values map[key]float64) *results {
	r := newResults()
	for k, v := range values {
		r.samples[k] = []float64{v}
	}
	return r
}

func TestJudge(t *testing.T) {
	pingAt := func(who string, v float64) map[key]float64 {
		return map[key]float64{{"GET /v2/, h1", rate.name, who}: v, {"GET /v2/, h1", rate.name, stockCaddy}: 100}
	}
	twice := atLeast(2, "GET /v2/, h1", rate, stockCaddy, []string{oursTCP})
	less := atMost(0.65, "GET /v2/, h1", rate, stockCaddy, []string{oursTCP})
	failed := given(pingAt(oursTCP, 300))
	failed.fail(work{name: "GET /v2/, h1"}, oursTCP, errors.New("status 502"))
	tests := []struct {
		name    string
		aim     aim
		results *results
		who     string
		want    verdict
		judged  bool
	}{
		{"above", twice, given(pingAt(oursTCP, 300)), oursTCP, verdict{value: 3, reached: true}, true},
		{"just reached", twice, given(pingAt(oursTCP, 200)), oursTCP, verdict{value: 2, reached: true}, true},
		{"below", twice, given(pingAt(oursTCP, 199)), oursTCP, verdict{value: 1.99}, true},
		{"at most, reached", less, given(pingAt(oursTCP, 65)), oursTCP, verdict{value: 0.65, reached: true}, true},
		{"at most, missed", less, given(pingAt(oursTCP, 66)), oursTCP, verdict{value: 0.66}, true},
		{"failed in one round", twice, failed, oursTCP, verdict{failed: true}, true},
		{"not about it", twice, given(pingAt(oursUnix, 300)), oursUnix, verdict{}, false},
		{"not measured", twice, given(nil), oursTCP, verdict{}, false},
		{"no peer", twice, given(map[key]float64{{"GET /v2/, h1", rate.name, oursTCP}: 1}), oursTCP, verdict{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, judged := tt.aim.judge(tt.results, tt.who)
			if got != tt.want || judged != tt.judged {
				t.Errorf("%+v, %v instead of %+v, %v", got, judged, tt.want, tt.judged)
			}
		})
	}
}

// TestAimsAreMeasured guards the names: an aim at a work that nobody does
// would never be missed. Every value of every metric is 1, but for peers.
func TestAimsAreMeasured(t *testing.T) {
	for _, s := range []scale{fullScale, quickScale} {
		all := newResults()
		for _, w := range allWorks(s) {
			for _, c := range allContestants {
				all.add(w, c.name, slices.Repeat([]float64{1}, len(w.metrics)))
			}
		}
		for _, a := range aims(s) {
			if len(a.who) == 0 || a.lo >= a.hi {
				t.Errorf("%s: nobody, or nothing, can reach it", a.what)
			}
			if !slices.ContainsFunc(allWorks(s), func(w work) bool { return w.name == a.work }) {
				t.Errorf("%s: no work is %q", a.what, a.work)
			}
			for _, who := range a.who {
				if v, judged := a.judge(all, who); !judged || math.IsInf(v.value, 0) {
					t.Errorf("%s: not judged of %s", a.what, who)
				}
			}
		}
		for _, p := range panels(s) {
			if math.IsNaN(all.median(p.work, p.metric.name, stockCaddy)) {
				t.Errorf("panel %s shows a work that nobody does", p.title)
			}
		}
	}
}

func TestOursAreContestants(t *testing.T) {
	var names, folders []string
	for _, c := range allContestants {
		if c.isOurs() {
			names = append(names, c.name)
		}
		folders = append(folders, c.folder())
	}
	if !slices.Equal(names, ours) {
		t.Errorf("ours are %v, contestants say %v", ours, names)
	}
	slices.Sort(folders)
	if len(slices.Compact(folders)) != len(allContestants) {
		t.Errorf("contestants share a folder: %v", folders)
	}
}

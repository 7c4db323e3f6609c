package ddnsipv6

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBackoff(t *testing.T) {
	tests := []struct {
		name     string
		failures int
		want     time.Duration // before the jitter
	}{
		{name: "none, which nobody asks for", want: 5 * time.Second},
		{name: "below none", failures: -1, want: 5 * time.Second},
		{name: "first", failures: 1, want: 5 * time.Second},
		{name: "second", failures: 2, want: 10 * time.Second},
		{name: "third", failures: 3, want: 20 * time.Second},
		{name: "seventh", failures: 7, want: 320 * time.Second},
		{name: "eighth: the end is reached", failures: 8, want: 10 * time.Minute},
		{name: "more than a shift can take", failures: 64, want: 10 * time.Minute},
		{name: "a year of failures", failures: 52560, want: 10 * time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			least, most := time.Hour, time.Duration(0)
			for range 1000 {
				d := backoff(test.failures)
				least, most = min(least, d), max(most, d)
			}
			if least < test.want || most > min(test.want*5/4, 10*time.Minute) {
				t.Errorf("%s to %s, want %s and up to a quarter more", least, most, test.want)
			}
			if spread := most - least; test.want < 10*time.Minute && spread < test.want/5 {
				t.Errorf("spread over %s of %s only", spread, test.want)
			}
		})
	}
	for failures := 1; failures < 8; failures++ {
		if a, b := backoff(failures), backoff(failures+1); a >= b {
			t.Errorf("%s after %d failures, %s after the next", a, failures, b)
		}
	}
}

// burstOf has changes come at the given times, and returns when a caller acts
// that does so when it is due.
func burstOf(changes []time.Duration) (acts []time.Duration) {
	start := time.Unix(1e9, 0)
	var b burst
	var due time.Time
	act := func(until time.Time) {
		if !due.IsZero() && !due.After(until) {
			acts = append(acts, due.Sub(start))
			b.acted(due)
			due = time.Time{}
		}
	}
	for _, c := range changes {
		now := start.Add(c)
		act(now)
		due = b.change(now)
		act(now)
	}
	act(start.Add(time.Hour))
	return acts
}

// series returns n times, d apart.
func series(n int, d time.Duration) (list []time.Duration) {
	for i := range n {
		list = append(list, time.Duration(i)*d)
	}
	return list
}

func TestBurst(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	tests := []struct {
		name          string
		changes, acts []time.Duration
	}{
		{name: "nothing"},
		{name: "first at once", changes: []time.Duration{0}, acts: []time.Duration{0}},
		{name: "what follows is gathered", changes: []time.Duration{0, 300 * ms, 600 * ms}, acts: []time.Duration{0, 1600 * ms}},
		{name: "a second later is still gathered", changes: []time.Duration{0, s}, acts: []time.Duration{0, 2 * s}},
		{name: "more than a second later is at once", changes: []time.Duration{0, s + 1}, acts: []time.Duration{0, s + 1}},
		{name: "after what was gathered", changes: []time.Duration{0, 500 * ms, 1600 * ms, 1700 * ms}, acts: []time.Duration{0, 1500 * ms, 1600 * ms, 2700 * ms}},
		{name: "two bursts", changes: []time.Duration{0, 900 * ms, 60 * s, 60900 * ms}, acts: []time.Duration{0, 1900 * ms, 60 * s, 61900 * ms}},
		{name: "50 changes 1.2 s apart are each at once", changes: series(50, 1200*ms), acts: series(50, 1200*ms)},
		{name: "a minute of change every 100 ms", changes: series(600, 100*ms), acts: series(7, 10*s)},
		{name: "gathered from what was written last", changes: series(16, 900*ms), acts: []time.Duration{0, 10 * s, 14500 * ms}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if d := cmp.Diff(test.acts, burstOf(test.changes)); d != "" {
				t.Error(d)
			}
		})
	}
}

// A caller that can't act yet is still told a time ten seconds after the first
// change of each burst.
func TestBurstWithoutActing(t *testing.T) {
	var b burst
	for start := time.Unix(1e9, 0); start.Before(time.Unix(1e9+100, 0)); start = start.Add(50 * time.Second) {
		for _, d := range series(30, 500*time.Millisecond) {
			now := start.Add(d)
			want := min(d+time.Second, 10*time.Second)
			if d == 0 {
				want = 0
			}
			if got := b.change(now).Sub(start); got != want {
				t.Errorf("the change after %s is due after %s, want %s", d, got, want)
			}
		}
	}
}

func TestEarlier(t *testing.T) {
	a, b, never := time.Unix(1, 0), time.Unix(2, 0), time.Time{}
	tests := []struct {
		name       string
		a, b, want time.Time
	}{
		{"first", a, b, a},
		{"second", b, a, a},
		{"same", a, a, a},
		{"first never", never, b, b},
		{"second never", a, never, a},
		{"both never", never, never, never},
	}
	for _, test := range tests {
		if got := earlier(test.a, test.b); got != test.want {
			t.Errorf("%s: %s", test.name, got)
		}
	}
}

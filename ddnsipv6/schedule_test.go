package ddnsipv6

import (
	"net/netip"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
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
		{name: "eighth: the end is reached", failures: 8, want: 8 * time.Minute},
		{name: "more than a shift can take", failures: 64, want: 8 * time.Minute},
		{name: "a year of failures", failures: 52560, want: 8 * time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			least, most := time.Hour, time.Duration(0)
			for range 1000 {
				d := backoff(test.failures)
				least, most = min(least, d), max(most, d)
			}
			if least < test.want || most > test.want*5/4 {
				t.Errorf("%s to %s, want %s and up to a quarter more", least, most, test.want)
			}
			if spread := most - least; spread < test.want/5 {
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

// TestDue holds what a name asks for against how it stands.
func TestDue(t *testing.T) {
	now := time.Unix(1e9, 0)
	ago, in := func(d time.Duration) time.Time { return now.Add(-d) }, now.Add
	ip, other := netip.MustParseAddr("2600:1::1"), netip.MustParseAddr("2600:2::1")
	// confirmed is how a name stands that was read an hour or less ago.
	confirmed := func(verified, written time.Time, with ...func(*standing)) standing {
		s := standing{confirmation: confirmation{Address: ip, Verified: verified, Written: written}}
		for _, w := range with {
			w(&s)
		}
		return s
	}
	failing := func(retryAt time.Time) func(*standing) {
		return func(s *standing) { s.Failures, s.RetryAt = 1, retryAt }
	}
	daily := &Policy{VerifyInterval: caddy.Duration(time.Hour), keepalive: 24 * time.Hour, provider: new(provider)}
	never := &Policy{VerifyInterval: caddy.Duration(time.Hour), provider: new(provider)}
	tests := []struct {
		name    string
		s       standing
		policy  *Policy // default: daily
		wanted  netip.Addr
		remove  bool
		settled time.Time
		want    duty
	}{
		{name: "nothing known yet", want: duty{}},
		{name: "no address: its records stay", s: confirmed(ago(2*time.Hour), ago(48*time.Hour)), want: duty{}},
		{name: "never published", wanted: ip, want: duty{Act: true}},
		{name: "published, and quiet", s: confirmed(ago(time.Minute), ago(time.Minute)), wanted: ip, want: duty{Next: in(59 * time.Minute)}},
		{name: "another address", s: confirmed(ago(time.Minute), ago(time.Minute)), wanted: other, settled: now, want: duty{Act: true}},
		{name: "another address in a burst", s: confirmed(ago(time.Minute), ago(time.Minute)), wanted: other, settled: in(time.Second), want: duty{Next: in(time.Second)}},
		{name: "verification is due", s: confirmed(ago(time.Hour), ago(2*time.Hour)), wanted: ip, want: duty{Act: true}},
		{name: "keepalive is due", s: confirmed(ago(time.Minute), ago(24*time.Hour)), wanted: ip, want: duty{Act: true, Keepalive: true}},
		{name: "keepalive before verification", s: confirmed(ago(time.Minute), ago(24*time.Hour-time.Minute)), wanted: ip, want: duty{Next: in(time.Minute)}},
		{name: "keepalive is off", s: confirmed(ago(time.Minute), ago(1000*time.Hour)), policy: never, wanted: ip, want: duty{Next: in(59 * time.Minute)}},
		{name: "verified, but never written", s: confirmed(ago(time.Hour), time.Time{}), wanted: ip, want: duty{Act: true}},
		{name: "a failure waits", s: confirmed(ago(2*time.Hour), ago(48*time.Hour), failing(in(time.Second))), wanted: ip, want: duty{Next: in(time.Second)}},
		{name: "a failure's time has come", s: confirmed(ago(time.Minute), ago(time.Minute), failing(now)), wanted: other, want: duty{Act: true}},
		{name: "a failed keepalive is one at the next try", s: confirmed(ago(time.Minute), ago(24*time.Hour), failing(now)), wanted: ip, want: duty{Act: true, Keepalive: true}},
		{name: "the operator asks", s: confirmed(ago(time.Minute), ago(time.Minute), failing(in(time.Hour)), func(s *standing) { s.Forced = true }), wanted: ip, want: duty{Act: true}},
		{name: "a check by DNS", s: confirmed(ago(time.Minute), ago(time.Minute), func(s *standing) { s.CheckAt = in(time.Second) }), wanted: ip, want: duty{Next: in(time.Second)}},
		{name: "uncertain", s: confirmed(ago(time.Minute), ago(time.Minute), func(s *standing) { s.Uncertain = true }), wanted: ip, want: duty{Act: true}},
		{name: "another provider", s: confirmed(ago(time.Minute), ago(time.Minute), func(s *standing) { s.Provider = "another" }), wanted: ip, want: duty{Act: true}},
		{name: "never read by this process", s: confirmed(time.Time{}, ago(time.Minute)), wanted: ip, want: duty{Act: true}},
		{name: "written with another TTL", s: confirmed(ago(time.Minute), ago(time.Minute), func(s *standing) { s.TTL = time.Hour }), policy: never, wanted: ip, want: duty{Act: true, Keepalive: true}},
		{name: "to be removed with another TTL", s: confirmed(ago(time.Minute), ago(time.Minute), func(s *standing) { s.TTL = time.Hour }), remove: true, want: duty{Act: true}},
		{name: "to be removed, and uncertain", s: standing{Uncertain: true, confirmation: confirmation{Verified: ago(time.Minute)}}, remove: true, want: duty{Act: true}},
		{name: "to be removed", s: confirmed(ago(time.Minute), ago(time.Minute)), remove: true, want: duty{Act: true}},
		{name: "removed", s: standing{confirmation: confirmation{Verified: ago(time.Minute), Written: ago(48 * time.Hour)}}, remove: true, want: duty{Next: in(59 * time.Minute)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			policy := test.policy
			if policy == nil {
				policy = daily
			}
			if got := due(&test.s, test.wanted, test.remove, test.settled, policy, now); got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

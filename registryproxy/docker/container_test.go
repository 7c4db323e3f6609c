package docker

import (
	"slices"
	"testing"
	"time"
)

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// running returns a container that can be used.
func running(name, ipv4 string) container {
	return container{
		id:       "id-" + name,
		name:     name,
		state:    "running",
		labels:   map[string]string{"registry": "yes"},
		networks: []attachment{on("bridge", ipv4, "")},
	}
}

func stopped(name, state string, exitCode int, finished time.Time) container {
	c := running(name, "")
	c.state, c.exitCode, c.finished = state, exitCode, finished
	return c
}

func TestChoose(t *testing.T) {
	never := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC) // what Docker says of a container that never ran
	twoMinutes := testNow.Add(-2*time.Minute - 10*time.Second)
	byLabel := settings{label: label{key: "registry", anyValue: true}}
	oom := stopped("a", "exited", 137, twoMinutes)
	oom.outOfMemory = true

	for _, test := range []struct {
		name       string
		containers []container
		settings   settings
		want       []string
		why        string
	}{
		{
			name:       "one",
			containers: []container{running("a", "10.0.0.1")},
			settings:   byLabel,
			want:       []string{"a 10.0.0.1:5000"},
		},
		{
			name:       "two, by name",
			containers: []container{running("b", "10.0.0.2"), running("a", "10.0.0.3")},
			settings:   byLabel,
			want:       []string{"a 10.0.0.3:5000", "b 10.0.0.2:5000"},
		},
		{
			name:       "one of two runs",
			containers: []container{stopped("a", "exited", 0, testNow), running("b", "10.0.0.2")},
			settings:   byLabel,
			want:       []string{"b 10.0.0.2:5000"},
		},
		{
			name:       "what Docker did not filter",
			containers: []container{running("a", "10.0.0.1"), running("aa", "10.0.0.2")},
			settings:   settings{name: "aa", port: 80},
			want:       []string{"aa 10.0.0.2:80"},
		},
		{
			name:     "none with the label",
			settings: settings{label: label{key: "registry-proxy.enable", value: "true"}},
			why:      "there is no container with the label registry-proxy.enable=true",
		},
		{
			name:       "none with the label's value",
			containers: []container{running("a", "10.0.0.1")},
			settings:   settings{label: label{key: "registry", value: "no"}},
			why:        "there is no container with the label registry=no",
		},
		{
			name:     "none of the name",
			settings: settings{name: "hub"},
			why:      "there is no container named hub",
		},
		{
			name:     "none of both",
			settings: settings{name: "hub", label: label{key: "registry", anyValue: true}},
			why:      "there is no container named hub with the label registry",
		},
		{
			name:       "stopped",
			containers: []container{stopped("a", "exited", 137, twoMinutes)},
			settings:   byLabel,
			why:        "container a is stopped (exit 137, 2 min ago)",
		},
		{
			name:       "killed for its memory",
			containers: []container{oom},
			settings:   byLabel,
			why:        "container a is stopped (exit 137, out of memory, 2 min ago)",
		},
		{
			name:       "restarting",
			containers: []container{stopped("a", "restarting", 1, testNow)},
			settings:   byLabel,
			why:        "container a is restarting (exit 1, just now)",
		},
		{
			name:       "created",
			containers: []container{stopped("a", "created", 0, never)},
			settings:   byLabel,
			why:        "container a was created but never started",
		},
		{
			name:       "stopped, but never ran",
			containers: []container{stopped("a", "exited", 127, never)},
			settings:   byLabel,
			why:        "container a is stopped (exit 127)",
		},
		{
			name:       "paused",
			containers: []container{stopped("a", "paused", 0, never)},
			settings:   byLabel,
			why:        "container a is paused",
		},
		{
			name:       "removing",
			containers: []container{stopped("a", "removing", 0, never)},
			settings:   byLabel,
			why:        "container a is being removed",
		},
		{
			name:       "dead",
			containers: []container{stopped("a", "dead", 0, never)},
			settings:   byLabel,
			why:        "container a is dead: Docker could not remove it",
		},
		{
			name:       "a state that is not known here",
			containers: []container{stopped("a", "stopping", 0, never)},
			settings:   byLabel,
			why:        "container a is stopping",
		},
		{
			name:       "no state",
			containers: []container{stopped("a", "", 0, never)},
			settings:   byLabel,
			why:        "container a is in a state that Docker does not name",
		},
		{
			name:       "runs without an address",
			containers: []container{running("a", "")},
			settings:   byLabel,
			why:        "container a has no address (it is on bridge)",
		},
		{
			name:       "two stopped",
			containers: []container{stopped("b", "exited", 0, testNow), stopped("a", "created", 0, never)},
			settings:   byLabel,
			why:        "two containers match (a, b) and neither runs",
		},
		{
			name:       "two, of which one runs",
			containers: []container{running("b", ""), stopped("a", "paused", 0, never)},
			settings:   byLabel,
			why:        "2 containers match and none can be used: a is paused; b has no address (it is on bridge)",
		},
		{
			name: "many",
			containers: []container{
				stopped("a", "paused", 0, never), stopped("b", "paused", 0, never), stopped("c", "paused", 0, never),
				stopped("d", "paused", 0, never), stopped("e", "paused", 0, never),
			},
			settings: byLabel,
			why:      "5 containers match and none can be used: a is paused; b is paused; c is paused; and 2 more",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			candidates, why := choose(test.containers, test.settings, nil, testNow)
			var got []string
			for _, c := range candidates {
				got = append(got, c.name+" "+c.addr.String())
			}
			if !slices.Equal(got, test.want) || why != test.why {
				t.Errorf("got  %q, %q\nwant %q, %q", got, why, test.want, test.why)
			}
		})
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour:          "just now", // Docker's clock is ahead
		0:                   "just now",
		59 * time.Second:    "just now",
		time.Minute:         "1 min ago",
		119 * time.Minute:   "119 min ago",
		3 * time.Hour:       "3 hours ago",
		24 * 10 * time.Hour: "10 days ago",
	} {
		if got := ago(d); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
}

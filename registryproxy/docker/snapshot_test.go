package docker

import (
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

func TestCompose(t *testing.T) {
	a, b := running("a", "10.0.0.1"), running("b", "10.0.0.2")
	sick := running("a", "10.0.0.1")
	sick.unhealthy = true
	health := func(av, bv verdict) map[target]verdict {
		return map[target]verdict{
			{"id-a", netip.MustParseAddrPort("10.0.0.1:5000")}: av,
			{"id-b", netip.MustParseAddrPort("10.0.0.2:5000")}: bv,
		}
	}
	onlyB := health(fine, fine)
	delete(onlyB, target{"id-a", netip.MustParseAddrPort("10.0.0.1:5000")})

	for _, test := range []struct {
		name   string
		state  state
		dials  []string
		reason string
	}{
		{
			name:   "not asked yet",
			reason: "Docker has not been asked for the registry's container yet",
		},
		{
			name:   "never answered",
			state:  state{silence: "Docker does not answer"},
			reason: "Docker does not answer",
		},
		{
			name:  "not probed yet",
			state: state{known: true, containers: []container{a, b}},
			dials: []string{"10.0.0.1:5000", "10.0.0.2:5000"},
		},
		{
			name:  "healthy",
			state: state{known: true, containers: []container{a, b}, health: health(fine, fine)},
			dials: []string{"10.0.0.1:5000", "10.0.0.2:5000"},
		},
		{
			name:  "one healthy, one new",
			state: state{known: true, containers: []container{a, b}, health: onlyB},
			dials: []string{"10.0.0.2:5000"},
		},
		{
			name:  "one healthy, one that Docker calls unhealthy",
			state: state{known: true, containers: []container{sick, b}, health: health(fine, fine)},
			dials: []string{"10.0.0.2:5000"},
		},
		{
			name:   "none healthy",
			state:  state{known: true, containers: []container{sick, b}, health: health(fine, "sleeps")},
			dials:  []string{"10.0.0.1:5000", "10.0.0.2:5000"},
			reason: "container a runs, but Docker's health check calls it unhealthy; container b runs, but sleeps",
		},
		{
			name:   "silence after a good answer",
			state:  state{known: true, silence: "Docker does not answer", containers: []container{a}, health: health(fine, fine)},
			dials:  []string{"10.0.0.1:5000"},
			reason: "Docker does not answer; the addresses from before may be out of date",
		},
		{
			name:   "silence after a bad answer",
			state:  state{known: true, silence: "Docker does not answer", containers: []container{a}, health: health("sleeps", fine)},
			dials:  []string{"10.0.0.1:5000"},
			reason: "Docker does not answer; its last word: container a runs, but sleeps",
		},
		{
			name:   "nothing",
			state:  state{known: true},
			reason: "there is no container",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := test.state.compose(testNow)
			if !slices.Equal(s.dials, test.dials) {
				t.Errorf("got the upstreams %q, want %q", s.dials, test.dials)
			}
			switch {
			case s.reason == nil && test.reason != "", s.reason != nil && s.reason.Message != test.reason:
				t.Errorf("got the reason %v, want %q", s.reason, test.reason)
			case s.reason != nil && (s.reason.Status != http.StatusServiceUnavailable ||
				s.reason.Code != ocierror.Unavailable || s.reason.RetryAfter != 5*time.Second):
				t.Errorf("got %+v", *s.reason)
			}
		})
	}
}

// A failed list takes nothing away.
func TestApplyFailure(t *testing.T) {
	st := state{settings: settings{host: host{"tcp", "proxy:1"}}}
	st.apply(listing{containers: []container{running("a", "10.0.0.1")}, own: []string{"bridge"}})
	st.health = map[target]verdict{targetOf(st.candidates(testNow)[0]): fine}
	st.apply(listing{err: syscall.ECONNREFUSED})
	if s := st.compose(testNow); len(s.dials) != 1 || s.reason == nil {
		t.Errorf("got the upstreams %q and the reason %v", s.dials, s.reason)
	}
	if len(st.health) != 1 {
		t.Error("the verdicts are gone")
	}

	// A stop that was seen does: the container that starts next is probed anew.
	st.apply(listing{containers: []container{stopped("a", "exited", 0, testNow)}})
	st.apply(listing{containers: []container{running("a", "10.0.0.1")}})
	if len(st.health) != 0 {
		t.Errorf("the verdict of before counts: %v", st.health)
	}
}

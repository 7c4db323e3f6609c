package docker

import (
	"time"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

// snapshot is what requests see. It never changes.
type snapshot struct {
	dials      []string        // the upstreams' addresses, by the name of their container
	containers []string        // whose addresses they are
	reason     *ocierror.Error // why there is none, or why they are doubtful; nil if all is well
}

// state is all that is known. Only [watcher.keep] changes it.
type state struct {
	settings settings

	// known says that Docker answered at least once; containers and own are
	// from its last answer.
	known      bool
	containers []container
	own        []string

	// silence is why Docker does not answer; empty while it does.
	silence string

	// health has the last verdict on each candidate that was probed.
	health map[target]verdict
}

// apply takes over what Docker said, or that it said nothing.
func (st *state) apply(l listing) {
	if l.err != nil {
		st.silence = explain(st.settings.host, l.err)
		return
	}
	st.known = true
	st.silence = ""
	st.containers, st.own = l.containers, l.own

	// What was said of a container that stopped does not count once it runs
	// again.
	health := make(map[target]verdict)
	for _, c := range st.candidates(time.Now()) {
		if v, probed := st.health[targetOf(c)]; probed {
			health[targetOf(c)] = v
		}
	}
	st.health = health
}

// candidates returns the containers to probe.
func (st *state) candidates(now time.Time) []candidate {
	cs, _ := choose(st.containers, st.settings, st.own, now)
	return cs
}

// compose draws the conclusion.
func (st *state) compose(now time.Time) *snapshot {
	if !st.known {
		why := st.silence
		if why == "" {
			why = "Docker has not been asked for the registry's container yet"
		}
		return &snapshot{reason: ocierror.Down(why)}
	}

	candidates, why := choose(st.containers, st.settings, st.own, now)
	var healthy []candidate
	var problems []string
	for _, c := range candidates {
		switch v, probed := st.health[targetOf(c)]; {
		case c.unhealthy:
			problems = append(problems, "container "+c.name+" runs, but Docker's health check calls it unhealthy")
		case probed && v != fine:
			problems = append(problems, "container "+c.name+" runs, but "+string(v))
		case probed:
			healthy = append(healthy, c)
		}
	}
	used := healthy
	if len(healthy) == 0 {
		used = candidates
		// Doubtful is only what was found wanting, not what is new.
		if len(problems) > 0 && len(problems) == len(candidates) {
			why = enumerate(problems)
		}
	}
	if st.silence != "" {
		if why == "" {
			why = "the addresses from before may be out of date"
		} else {
			why = "its last word: " + why
		}
		why = st.silence + "; " + why
	}

	s := new(snapshot)
	for _, c := range used {
		s.dials = append(s.dials, c.addr.String())
		s.containers = append(s.containers, c.name)
	}
	if why != "" {
		s.reason = ocierror.Down(why)
	}
	return s
}

package docker

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// container is what Docker says about one.
type container struct {
	id, name    string
	state       string // created, running, paused, restarting, removing, exited, dead
	exitCode    int
	outOfMemory bool
	finished    time.Time // when it stopped last; before 1970: never
	unhealthy   bool      // by Docker's own health check
	labels      map[string]string
	tcpPorts    []uint16 // exposed, not published
	networkMode string
	networks    []attachment
}

// attachment is a container's place on a network. Addresses that it does not
// have are zero.
type attachment struct {
	network    string
	ipv4, ipv6 netip.Addr
}

// candidate is a running container with an address.
type candidate struct {
	id, name  string
	addr      netip.AddrPort
	unhealthy bool // by Docker's own health check
}

// choose returns the candidates among cs, by name, and if there are none, why.
// own are the networks that this process' own container is on.
func choose(cs []container, s settings, own []string, now time.Time) (candidates []candidate, why string) {
	matching := match(cs, s)
	var problems []string
	runs := false
	for _, c := range matching {
		runs = runs || c.state == "running"
		candidate, problem := assess(c, s, own, now)
		if problem != "" {
			problems = append(problems, c.name+" "+problem)
			continue
		}
		candidates = append(candidates, candidate)
	}
	if len(candidates) > 0 {
		return candidates, ""
	}

	switch n := len(matching); {
	case n == 0:
		return nil, "there is no " + s.String()
	case n == 1:
		return nil, "container " + problems[0]
	case n == 2 && !runs:
		return nil, fmt.Sprintf("two containers match (%s, %s) and neither runs", matching[0].name, matching[1].name)
	default:
		return nil, fmt.Sprintf("%d containers match and none can be used: %s", n, enumerate(problems))
	}
}

// match returns those of cs that s describes, by name.
func match(cs []container, s settings) (matching []container) {
	for _, c := range cs {
		// Docker has filtered already; not everything that speaks its API
		// filters by the same rules.
		if s.label.matches(c.labels) && (s.name == "" || s.name == c.name) {
			matching = append(matching, c)
		}
	}
	slices.SortFunc(matching, func(a, b container) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.id, b.id))
	})
	return matching
}

// assess returns a container as a candidate, or what stands against it.
func assess(c container, s settings, own []string, now time.Time) (candidate, string) {
	if c.state != "running" {
		return candidate{}, describeState(c, now)
	}
	addr, problem := chooseAddress(c, s.network, own)
	if problem != "" {
		return candidate{}, problem
	}
	return candidate{
		id:        c.id,
		name:      c.name,
		addr:      netip.AddrPortFrom(addr, choosePort(c, s.port)),
		unhealthy: c.unhealthy,
	}, ""
}

// describeState says what a container does that is not running.
func describeState(c container, now time.Time) string {
	switch c.state {
	case "created":
		return "was created but never started"
	case "paused":
		return "is paused"
	case "restarting":
		return "is restarting (" + describeExit(c, now) + ")"
	case "removing":
		return "is being removed"
	case "exited":
		return "is stopped (" + describeExit(c, now) + ")"
	case "dead":
		return "is dead: Docker could not remove it"
	case "":
		return "is in a state that Docker does not name"
	default:
		return "is " + c.state
	}
}

func describeExit(c container, now time.Time) string {
	text := fmt.Sprintf("exit %d", c.exitCode)
	if c.outOfMemory {
		text += ", out of memory"
	}
	if c.finished.Unix() > 0 {
		text += ", " + ago(now.Sub(c.finished))
	}
	return text
}

// ago rounds d to what a reader needs. Clocks may differ, so that d may be
// negative.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours ago", int(d.Hours()))
	default:
		return fmt.Sprintf("%d days ago", int(d.Hours()/24))
	}
}

// enumerate joins the first few: a label may match a whole host.
func enumerate(items []string) string {
	const most = 3
	if len(items) > most {
		return fmt.Sprintf("%s; and %d more", strings.Join(items[:most], "; "), len(items)-most)
	}
	return strings.Join(items, "; ")
}

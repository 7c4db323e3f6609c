// Package doctor examines a registry at home, from the address of the machine to
// the users of the registry, and says what is wrong and what to do. It changes
// nothing.
//
// Each check is a function of the patient; checks.go has them in their order.
// What one check finds out (the address, the container) is a field of the patient
// for those after it that need it. A check whose need is not met is not made: it
// is unknown, and the cause is named.
package doctor

import (
	"context"
	"fmt"
	"time"
)

// checkTimeout bounds one check, so that the whole ends where nothing answers.
const checkTimeout = 20 * time.Second

// Status is the outcome of a check.
type Status string

// The outcomes of a check.
const (
	OK      Status = "ok"      // as it should be
	Wrong   Status = "wrong"   // something is to be done
	Unknown Status = "unknown" // could not look
)

// Options are what the examination begins with.
type Options struct {
	// Config is the path of a Caddyfile, or of a JSON config where the name ends
	// with ".json".
	Config string
	// User and Password are tried at the registry. An empty User: nobody is.
	User, Password string
	// Login permits requests with the credentials of the DNS provider and of DSM.
	Login bool
}

// Finding is what a check saw.
type Finding struct {
	Status Status `json:"status"`
	// Seen is what was found: short lines without a final full stop.
	Seen []string `json:"seen"`
	// Advice is one sentence on what to do; empty where all is well.
	Advice string `json:"advice,omitempty"`

	// cause is the ID of an earlier check that explains why this one could not be
	// made, where that shows only while it is made.
	cause string
}

// Result is a finding with its check.
type Result struct {
	// ID is the check's name, which stays the same from version to version.
	ID string `json:"id"`
	// Step is the one of the five that the check belongs to; 0: all of them.
	Step  int    `json:"step"`
	Title string `json:"title"`
	Finding
	// Cause is the ID of the check because of which this one could not be made.
	Cause string `json:"cause,omitempty"`
}

// Report has all results, in the order of the checks.
type Report struct {
	Config  string   `json:"config"`
	Results []Result `json:"results"`
}

// ExitStatus is 0 where all is well, 1 where something is wrong, and 2 where
// nothing is known to be, but something could not be looked at.
func (r Report) ExitStatus() int {
	status := 0
	for _, result := range r.Results {
		switch result.Status {
		case Wrong:
			return 1
		case Unknown:
			status = 2
		case OK:
		}
	}
	return status
}

// check is one thing to look at.
type check struct {
	step      int // of Result
	id, title string
	// needs are the IDs of earlier checks without which this one says nothing.
	// One that does not apply is met.
	needs []string
	// applies tells whether the config has what the check is about. It is called
	// after all checks before. Nil: always.
	applies func(*patient) bool
	// inside tells that it looks at files, variables or sockets that are others
	// outside of Caddy's container: there it can't say that something is wrong.
	inside bool
	look   func(context.Context, *patient) Finding
}

// Examine makes all checks that apply, and calls tell with each result as soon as
// it is there.
func Examine(ctx context.Context, o Options, tell func(Result)) Report {
	p := &patient{options: o}
	defer p.close()
	return examine(ctx, p, checks, tell)
}

func examine(ctx context.Context, p *patient, checks []check, tell func(Result)) Report {
	report := Report{Config: p.options.Config}
	made := make(map[string]Result)
	for i := range checks {
		c := &checks[i]
		// Without a config it is not known which of them apply.
		if ctx.Err() != nil || p.setup == nil && c.id != "config" {
			break
		}
		if c.applies != nil && !c.applies(p) {
			continue
		}
		result := c.result(ctx, p, made)
		made[c.id] = result
		report.Results = append(report.Results, result)
		tell(result)
	}
	return report
}

// result makes the check, unless a need of it is not met.
func (c *check) result(ctx context.Context, p *patient, made map[string]Result) Result {
	result := Result{ID: c.id, Step: c.step, Title: c.title}
	if need := c.unmet(made); need != "" {
		result.hangOn(need, made)
		return result
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	result.Finding = c.look(ctx, p)
	seen := make([]string, len(result.Seen)) // a list in JSON even where it is empty
	for i, line := range result.Seen {
		seen[i] = plain(line)
	}
	result.Seen, result.Advice = seen, plain(result.Advice)
	switch {
	case result.cause != "":
		result.hangOn(result.cause, made)
	case c.inside && p.outside && result.Status == Wrong:
		result.hangOn("caddy", made)
	}
	return result
}

// unmet returns a need that is not met: one that can be mended, if there is one.
func (c *check) unmet(made map[string]Result) (id string) {
	for _, need := range c.needs {
		switch before, applied := made[need]; {
		case !applied || before.Status == OK:
		case before.Status == Wrong:
			return need
		case id == "":
			id = need
		}
	}
	return id
}

// hangOn makes the result unknown because of an earlier check.
func (r *Result) hangOn(id string, made map[string]Result) {
	r.Cause = id
	if first := made[id].Cause; first != "" {
		r.Cause = first // of a chain
	}
	why := fmt.Sprintf("not looked at: mend %q first", made[r.Cause].Title)
	if made[r.Cause].Status == Unknown {
		why = fmt.Sprintf("not looked at: %q is not known", made[r.Cause].Title)
	}
	r.Finding = Finding{Status: Unknown, Seen: []string{why}}
}

// hangsOn is for what can't be looked at because of what an earlier check found.
func hangsOn(id string) Finding { return Finding{Status: Unknown, cause: id} }

func ok(seen ...string) Finding { return Finding{Status: OK, Seen: seen} }

func wrong(advice string, seen ...string) Finding {
	return Finding{Status: Wrong, Advice: advice, Seen: seen}
}

// unknown is for what could not be looked at, with advice on how it could be.
func unknown(advice string, seen ...string) Finding {
	return Finding{Status: Unknown, Advice: advice, Seen: seen}
}

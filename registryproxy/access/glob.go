package access

import (
	"fmt"
	"slices"
	"strings"
)

// glob is a pattern for repository names, cut at its slashes.
//
// In a segment, * stands for any number of characters. A segment ** stands for
// any number of segments, none included, except at the end, where it stands
// for one at least: team/** does not match team.
type glob []string

// parseGlob reads a pattern, or says what is wrong with it. It refuses what
// could never match a repository, since that is a mistake in a rule.
func parseGlob(pattern string) (glob, error) {
	if pattern == "" {
		return nil, fmt.Errorf("repository pattern is empty; ** matches all")
	}
	g := glob(strings.Split(pattern, "/"))
	for _, segment := range g {
		switch {
		case segment == "**":
		case segment == "":
			return nil, fmt.Errorf("repository pattern %q has a slash too many", pattern)
		case strings.Contains(segment, "**"):
			return nil, fmt.Errorf("repository pattern %q: ** must stand alone between slashes", pattern)
		case !isName(strings.ReplaceAll(segment, "*", "a")) && !isName(strings.ReplaceAll(segment, "*", "")):
			return nil, fmt.Errorf("repository pattern %q can match no repository: names have lower-case letters, digits and single separators . _ - /", pattern)
		}
	}
	if g[len(g)-1] == "**" {
		g = slices.Insert(g, len(g)-1, "*")
	}
	return g, nil
}

// match reports whether the pattern matches all of name.
func (g glob) match(name string) bool {
	// A pattern is walked from left to right. Where it fails, the last ** takes
	// one segment more; an earlier one never needs to, since whatever it could
	// take, the last one can.
	var (
		retry     glob   // the pattern after the last **
		retryName string // what that ** has not taken yet
		retriable bool
	)
	more := true // name holds a segment, perhaps an empty one
	for {
		switch {
		case len(g) > 0 && g[0] == "**":
			g = g[1:]
			retry, retryName, retriable = g, name, more
		case len(g) == 0 && !more:
			return true
		default:
			var segment string
			if len(g) > 0 && more {
				var rest string
				segment, rest, more = strings.Cut(name, "/")
				if matchSegment(g[0], segment) {
					g, name = g[1:], rest
					continue
				}
			}
			if !retriable {
				return false
			}
			_, retryName, retriable = strings.Cut(retryName, "/")
			g, name, more = retry, retryName, retriable
		}
	}
}

// matchSegment reports whether pattern, in which * stands for any number of
// characters, matches all of s.
func matchSegment(pattern, s string) bool {
	prefix, rest, star := strings.Cut(pattern, "*")
	if !star {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return false
	}
	for {
		part, next, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, part)
		}
		// The leftmost place leaves the most for the parts that follow.
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], next
	}
}

// matchesAll reports whether the pattern is **.
func (g glob) matchesAll() bool {
	return len(g) == 2 && g[0] == "*" && g[1] == "**"
}

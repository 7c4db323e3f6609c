package access

import (
	"strings"
	"testing"
)

func TestGlobMatch(t *testing.T) {
	tests := []struct {
		pattern string
		match   []string
		differ  []string
	}{
		{"**", []string{"a", "a/b", "a/b/c"}, nil},
		{"*", []string{"a", "a-b.c"}, []string{"a/b"}},
		{"team/app", []string{"team/app"}, []string{"team", "team/app2", "team/app/x", "xteam/app"}},
		{"team/*", []string{"team/app"}, []string{"team", "team/app/x", "teams/app"}},
		{"team/**", []string{"team/app", "team/app/x"}, []string{"team", "team2/app", "a/team/app"}},
		{"**/app", []string{"app", "a/app", "a/b/app"}, []string{"a/app/b", "a/xapp"}},
		{"a/**/z", []string{"a/z", "a/b/z", "a/b/c/z", "a/z/z"}, []string{"a", "z", "a/b", "b/a/z"}},
		{"**/x/**", []string{"x/a", "a/x/b", "x/x"}, []string{"x", "a/x"}},
		{"**/**", []string{"a", "a/b"}, nil},
		{"app-*", []string{"app-1", "app-1.2"}, []string{"app", "app-1/x"}},
		{"*-dev", []string{"a-dev"}, []string{"a-dev2", "a/b-dev"}},
		{"*a*b*", []string{"ab", "xaxbx", "aab", "abb"}, []string{"ba", "a/b"}},
		{"a*a", []string{"aa", "aba", "aaa"}, []string{"a", "ab"}},
		{"*/*", []string{"a/b"}, []string{"a", "a/b/c"}},
		{"a/**/b/**/c", []string{"a/b/c", "a/x/b/y/c", "a/b/b/c/c"}, []string{"a/c", "a/b", "a/c/b"}},
	}
	for _, test := range tests {
		t.Run(test.pattern, func(t *testing.T) {
			g, err := parseGlob(test.pattern)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range test.match {
				if !g.match(name) {
					t.Errorf("does not match %s", name)
				}
			}
			for _, name := range test.differ {
				if g.match(name) {
					t.Errorf("matches %s", name)
				}
			}
		})
	}
}

func TestGlobMalformed(t *testing.T) {
	tests := []struct{ pattern, want string }{
		{"", "empty"},
		{"/", "slash too many"},
		{"team/", "slash too many"},
		{"/team", "slash too many"},
		{"a//b", "slash too many"},
		{"team**", "must stand alone"},
		{"a/**b", "must stand alone"},
		{"***", "must stand alone"},
		{"Team/*", "can match no repository"},
		{"team/[ab]", "can match no repository"},
		{"team/{a,b}", "can match no repository"},
		{"team/?", "can match no repository"},
		{"team app", "can match no repository"},
		{"a..b", "can match no repository"},
		{"-a", "can match no repository"},
		{"a-", "can match no repository"},
		{"_*", "can match no repository"},
		{"a/../b", "can match no repository"},
		{"localhost:5002/a", "can match no repository"},
		{"ä", "can match no repository"},
		{"a\x00", "can match no repository"},
	}
	for _, test := range tests {
		t.Run(test.pattern, func(t *testing.T) {
			_, err := parseGlob(test.pattern)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// FuzzGlobMatch holds the matcher, which does not backtrack further than it
// must, against one that tries everything.
func FuzzGlobMatch(f *testing.F) {
	f.Add("a/**/b*c/**", "a/x/bc/y")
	f.Add("**/x/**/y", "x/x/y/y")
	f.Add("*a*b*", "aabb")
	f.Add("**/a/*/**/b", "a/a/b/a/b/b")
	f.Add("a*a*a", "aaaa")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 40 || len(name) > 40 || strings.Count(pattern, "*") > 12 {
			return // the slow one is exponential
		}
		g, err := parseGlob(pattern)
		if err != nil {
			return
		}
		want := slowMatch(strings.Split(pattern, "/"), strings.Split(name, "/"))
		if got := g.match(name); got != want {
			t.Errorf("%q matches %q: %t, want %t", pattern, name, got, want)
		}
		if g.matchesAll() && !g.match(name) {
			t.Errorf("%q matches all, but not %q", pattern, name)
		}
	})
}

func slowMatch(pattern, name []string) bool {
	switch {
	case len(pattern) == 0:
		return len(name) == 0
	case pattern[0] == "**" && len(pattern) == 1:
		return len(name) > 0
	case pattern[0] == "**":
		for i := range len(name) + 1 {
			if slowMatch(pattern[1:], name[i:]) {
				return true
			}
		}
		return false
	default:
		return len(name) > 0 && slowSegment(pattern[0], name[0]) && slowMatch(pattern[1:], name[1:])
	}
}

func slowSegment(pattern, s string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		return slowSegment(pattern[1:], s) || s != "" && slowSegment(pattern, s[1:])
	default:
		return s != "" && s[0] == pattern[0] && slowSegment(pattern[1:], s[1:])
	}
}

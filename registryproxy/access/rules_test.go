package access

import (
	"strings"
	"testing"
)

func TestRules(t *testing.T) {
	groups := map[string][]string{"ci": {"bob", "carol"}}
	rules := []Rule{
		allow("alice", "pull,push,delete", "**"),
		allow("@ci", "pull,push", "team/**"),
		allow("carol", "delete", "team/carol/*", "scratch"),
		allow("dave", "catalog", "team/*"),
		allow("erin", "push", "inbox"),
		allow("anonymous", "pull", "public/**"),
	}
	tests := []struct {
		name       string
		user       string
		actions    string // what the user may do of pull, push, delete, catalog
		repository string
	}{
		{"everything", "alice", "pull push delete catalog", "team/app"},
		{"group", "bob", "pull push catalog", "team/app"},
		{"group, elsewhere", "bob", "", "other/app"},
		{"group, the name itself", "bob", "", "team"},
		{"two rules add up", "carol", "pull push delete catalog", "team/carol/app"},
		{"two patterns", "carol", "delete", "scratch"},
		{"catalog is not pull", "dave", "catalog", "team/app"},
		{"push is not pull", "erin", "push", "inbox"},
		{"anonymous", "", "pull catalog", "public/app"},
		{"anonymous, elsewhere", "", "", "team/app"},
		{"what anonymous may, a user may", "dave", "pull catalog", "public/app"},
		{"what anonymous may, an unknown user may", "mallory", "pull catalog", "public/app"},
		{"unknown user", "mallory", "", "team/app"},
		{"user by the name of the group", "ci", "", "team/app"},
		{"user by the subject of the group", "@ci", "", "team/app"},
		{"user by the name of nobody", "anonymous", "pull catalog", "public/app"},
		{"case of the user", "Alice", "", "team/app"},
	}
	h := newHandler(t, groups, rules...)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, action := range []Action{ActionPull, ActionPush, ActionDelete, ActionCatalog} {
				if h.rules.allows(test.user, action, test.repository) {
					got = append(got, action.String())
				}
			}
			if strings.Join(got, " ") != test.actions {
				t.Errorf("may %q, want %q", got, test.actions)
			}
		})
	}
}

func TestNoRules(t *testing.T) {
	h := newHandler(t, nil)
	for _, action := range []Action{ActionPull, ActionPush, ActionDelete, ActionCatalog} {
		if !h.rules.allows("alice", action, "a") {
			t.Errorf("alice may not %s", action)
		}
		if h.rules.allows("", action, "a") {
			t.Errorf("anonymous may %s", action)
		}
	}
	if !h.rules.mayAll("alice", ActionCatalog) || h.rules.mayAll("", ActionCatalog) {
		t.Error("the catalog is for users, and for all of them")
	}
}

func TestMayAll(t *testing.T) {
	tests := []struct {
		name    string
		rule    Rule
		user    string
		pull    bool
		catalog bool
	}{
		{"all", allow("alice", "pull", "**"), "alice", true, true},
		{"all, another user", allow("alice", "pull", "**"), "bob", false, false},
		{"all in the second pattern", allow("alice", "pull", "a", "**"), "alice", true, true},
		{"catalog only", allow("alice", "catalog", "**"), "alice", false, true},
		{"push only", allow("alice", "push", "**"), "alice", false, false},
		{"one segment", allow("alice", "pull", "*"), "alice", false, false},
		{"below one", allow("alice", "pull", "team/**"), "alice", false, false},
		{"anonymous", allow("anonymous", "pull", "**"), "alice", true, true},
		{"anonymous itself", allow("anonymous", "pull", "**"), "", true, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHandler(t, nil, test.rule)
			if got := h.rules.mayAll(test.user, ActionPull); got != test.pull {
				t.Errorf("pull: %t, want %t", got, test.pull)
			}
			if got := h.rules.mayAll(test.user, ActionCatalog); got != test.catalog {
				t.Errorf("catalog: %t, want %t", got, test.catalog)
			}
		})
	}
}

func TestMalformedRules(t *testing.T) {
	ci := map[string][]string{"ci": {"bob"}}
	tests := []struct {
		name   string
		groups map[string][]string
		rule   Rule
		want   string
	}{
		{"good", ci, allow("@ci", "pull", "**"), ""},
		{"good, unused group", ci, allow("alice", "pull,push,delete,catalog", "a", "b/*"), ""},
		{"no subject", nil, allow("", "pull", "**"), "allow: the subject is empty"},
		{"no actions", nil, Rule{Subject: "alice", Repositories: []string{"**"}}, "allow alice: needs at least one action"},
		{"no repositories", nil, allow("alice", "pull"), "allow alice: needs at least one action and one repository"},
		{"unknown action", nil, allow("alice", "pull,pul", "**"), `allow alice: unknown action "pul": use pull, push, delete or catalog`},
		{"empty action", nil, allow("alice", "pull,", "**"), `allow alice: unknown action ""`},
		{"action in upper case", nil, allow("alice", "PULL", "**"), `unknown action "PULL"`},
		{"action all", nil, allow("alice", "*", "**"), `unknown action "*"`},
		{"malformed glob", nil, allow("alice", "pull", "team/**x"), `allow alice: repository pattern "team/**x": ** must stand alone`},
		{"malformed second glob", nil, allow("alice", "pull", "**", "a//b"), `allow alice: repository pattern "a//b" has a slash too many`},
		{"unknown group", ci, allow("@dev", "pull", "**"), "allow @dev: there is no group dev"},
		{"no groups", nil, allow("@ci", "pull", "**"), "allow @ci: there is no group ci"},
		{"group without a name", ci, allow("@", "pull", "**"), "allow @: there is no group"},
		{"anonymous pushes", nil, allow("anonymous", "pull,push", "**"), "allow anonymous: only pull and catalog"},
		{"anonymous deletes", nil, allow("anonymous", "delete", "**"), "allow anonymous: only pull and catalog"},
		{"empty group", map[string][]string{"ci": {}}, allow("alice", "pull", "**"), "group ci has no members"},
		{"nobody in a group", map[string][]string{"ci": {""}}, allow("alice", "pull", "**"), `group ci: "" is not a user name`},
		{"anonymous in a group", map[string][]string{"ci": {"bob", "anonymous"}}, allow("alice", "pull", "**"), `group ci: "anonymous" is not a user name`},
		{"group in a group", map[string][]string{"ci": {"@dev"}}, allow("alice", "pull", "**"), `group ci: "@dev" is not a user name`},
		{"group named nothing", map[string][]string{"": {"bob"}}, allow("alice", "pull", "**"), `group "": a group can't have this name`},
		{"group named like a subject", map[string][]string{"@ci": {"bob"}}, allow("alice", "pull", "**"), `group "@ci"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := compile(test.groups, []Rule{test.rule})
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestMalformedRealm(t *testing.T) {
	for _, realm := range []string{"a\r\nX-Evil: 1", "a\x00", "a\x7f", "\xff"} {
		if _, err := checkRealm(realm); err == nil {
			t.Errorf("realm %q is accepted", realm)
		}
	}
	if realm, err := checkRealm(""); realm != "registry" || err != nil {
		t.Errorf("default realm %q, %v", realm, err)
	}
}

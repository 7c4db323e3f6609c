package access

import (
	"fmt"
	"slices"
	"strings"
)

// Action is what a request does to a repository. Actions are bits, so that a
// rule may allow several.
type Action uint8

// The actions that a rule can allow.
const (
	// ActionPull reads manifests, blobs, tags and referrers.
	ActionPull Action = 1 << iota
	// ActionPush uploads blobs and puts manifests.
	ActionPush
	// ActionDelete deletes tags, manifests and blobs.
	ActionDelete
	// ActionCatalog sees a repository's name in the catalog. Pull includes it.
	ActionCatalog

	// ActionNone is the action of GET /v2/, which every user may do.
	ActionNone Action = 0
)

var actionNames = []struct {
	name   string
	action Action
}{
	{"pull", ActionPull},
	{"push", ActionPush},
	{"delete", ActionDelete},
	{"catalog", ActionCatalog},
}

func (a Action) String() string {
	for _, n := range actionNames {
		if a == n.action {
			return n.name
		}
	}
	return "none"
}

func parseAction(name string) (Action, error) {
	for _, n := range actionNames {
		if name == n.name {
			return n.action, nil
		}
	}
	return ActionNone, fmt.Errorf("unknown action %q: use pull, push, delete or catalog", name)
}

// Anonymous is the subject of rules for requests without a user. Whatever it
// may do, every user may do as well.
const Anonymous = "anonymous"

// grant is one rule, compiled.
type grant struct {
	actions Action
	globs   []glob
}

// rules are all rules, compiled. The zero value lets every user do everything,
// and requests without a user nothing.
type rules struct {
	restricted bool
	users      map[string][]grant
	anonymous  []grant
}

// compile reads the rules of a config.
func compile(groups map[string][]string, allow []Rule) (rules, error) {
	rs := rules{restricted: len(allow) > 0, users: make(map[string][]grant)}
	for name, members := range groups {
		if isReserved(name) {
			return rs, fmt.Errorf("group %q: a group can't have this name", name)
		}
		if len(members) == 0 {
			return rs, fmt.Errorf("group %s has no members", name)
		}
		if i := slices.IndexFunc(members, isReserved); i >= 0 {
			return rs, fmt.Errorf("group %s: %q is not a user name", name, members[i])
		}
	}

	for _, rule := range allow {
		if rule.Subject == "" {
			return rs, fmt.Errorf("allow: the subject is empty")
		}
		g, err := rule.compile()
		if err != nil {
			return rs, fmt.Errorf("allow %s: %w", rule.Subject, err)
		}
		group, isGroup := strings.CutPrefix(rule.Subject, "@")
		switch {
		case rule.Subject == Anonymous:
			if g.actions&^(ActionPull|ActionCatalog) != 0 {
				return rs, fmt.Errorf("allow %s: only pull and catalog can be allowed without a login", Anonymous)
			}
			rs.anonymous = append(rs.anonymous, g)
		case isGroup:
			members, ok := groups[group]
			if !ok {
				return rs, fmt.Errorf("allow @%s: there is no group %s", group, group)
			}
			for _, user := range members {
				rs.users[user] = append(rs.users[user], g)
			}
		default:
			rs.users[rule.Subject] = append(rs.users[rule.Subject], g)
		}
	}
	return rs, nil
}

// isReserved reports whether s has another meaning than the name of a user.
func isReserved(s string) bool {
	return s == "" || s == Anonymous || strings.HasPrefix(s, "@")
}

func (r Rule) compile() (grant, error) {
	if len(r.Actions) == 0 || len(r.Repositories) == 0 {
		return grant{}, fmt.Errorf("needs at least one action and one repository pattern")
	}
	var g grant
	for _, name := range r.Actions {
		action, err := parseAction(name)
		if err != nil {
			return grant{}, err
		}
		g.actions |= action
	}
	for _, pattern := range r.Repositories {
		parsed, err := parseGlob(pattern)
		if err != nil {
			return grant{}, err
		}
		g.globs = append(g.globs, parsed)
	}
	return g, nil
}

// allows reports whether user may do action to repository. The empty user is
// anonymous.
func (rs *rules) allows(user string, action Action, repository string) bool {
	if action == ActionCatalog {
		action |= ActionPull
	}
	if !rs.restricted {
		return user != ""
	}
	return anyAllows(rs.anonymous, action, repository) ||
		user != "" && anyAllows(rs.users[user], action, repository)
}

func anyAllows(grants []grant, action Action, repository string) bool {
	for _, g := range grants {
		if g.actions&action == 0 {
			continue
		}
		for _, pattern := range g.globs {
			if pattern.match(repository) {
				return true
			}
		}
	}
	return false
}

// mayList reports whether user may ask for the catalog, which then holds what
// it may see. Every user may; anonymous only if there is something to see.
func (rs *rules) mayList(user string) bool {
	return user != "" || slices.ContainsFunc(rs.anonymous, sees)
}

// mayAll reports whether user may do action to every repository, whatever its
// name. For the catalog: whether the registry's own is the answer.
func (rs *rules) mayAll(user string, action Action) bool {
	if action == ActionCatalog {
		action |= ActionPull
	}
	if !rs.restricted {
		return user != ""
	}
	all := func(g grant) bool {
		return g.actions&action != 0 && slices.ContainsFunc(g.globs, glob.matchesAll)
	}
	return slices.ContainsFunc(rs.anonymous, all) ||
		user != "" && slices.ContainsFunc(rs.users[user], all)
}

func sees(g grant) bool { return g.actions&(ActionPull|ActionCatalog) != 0 }

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/htpasswd"
)

const (
	// slowCost is the highest cost of a hash that makes no login too slow for a NAS:
	// one second of a processor there.
	slowCost = 14
	// othersMayAccess are the permissions of a file for everybody to read or write it.
	othersMayAccess fs.FileMode = 0o006
)

func (p *patient) hasUser() bool { return p.options.User != "" }

// passwdCommand is how a user gets a password.
func (s *setup) passwdCommand(user string) string {
	return fmt.Sprintf("docker compose exec caddy caddy registry-passwd --file %s %s", s.htpasswd, user)
}

// lookUsers looks at the file of users.
func lookUsers(_ context.Context, p *patient) Finding {
	file := p.setup.htpasswd
	d, err := htpasswd.Describe(file)
	var bad *htpasswd.ParseError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p.withoutUsers()
	case errors.Is(err, fs.ErrPermission):
		return unknown("If Caddy can't read it either, give the file to the user that Caddy runs as: sudo chown root, or CADDY_USER, on it.", err.Error())
	case errors.As(err, &bad):
		return wrong("Correct that line, or delete it.", file+", "+bad.Error())
	case err != nil:
		return wrong("Put the file of users there: "+p.setup.passwdCommand("<user>")+".", err.Error())
	}
	return judgeUsers(p.setup, d)
}

// withoutUsers is for a missing file. A running Caddy that was to make it has not.
func (p *patient) withoutUsers() Finding {
	file, create := p.setup.htpasswd, p.setup.create
	if create != "" && p.admin == nil && p.chain == nil {
		return ok(file+" is missing", "Caddy makes it at its start, with the user "+create)
	}
	user := create
	if user == "" {
		user = "<user>"
	}
	return wrong("Make it with a user: "+p.setup.passwdCommand(user)+".", file+" is missing")
}

// judgeUsers looks at a file that can be used.
func judgeUsers(s *setup, d htpasswd.Description) Finding {
	users := "1 user"
	if len(d.Users) != 1 {
		users = fmt.Sprintf("%d users", len(d.Users))
	}
	cost := fmt.Sprintf("bcrypt of cost %d", d.MinCost)
	if d.MinCost != d.MaxCost {
		cost = fmt.Sprintf("bcrypt of cost %d to %d", d.MinCost, d.MaxCost)
	}
	seen := []string{s.htpasswd + ": " + users + ", " + cost}
	switch {
	case d.Mode&othersMayAccess != 0:
		return wrong("Keep others from it: docker compose exec caddy chmod 600 "+s.htpasswd+".",
			append(seen, fmt.Sprintf("every user of this machine may read or change it (permissions %04o)", d.Mode.Perm()))...)
	case d.MaxCost > slowCost:
		return wrong("Set the passwords of the slow users anew, without --cost: "+s.passwdCommand("<user>")+".",
			append(seen, fmt.Sprintf("above cost %d a login takes seconds", slowCost))...)
	}
	return ok(seen...)
}

// lookUser logs in as the user of the options.
func lookUser(ctx context.Context, p *patient) Finding {
	user := p.options.User
	d, err := htpasswd.Describe(p.setup.htpasswd)
	if err != nil {
		return hangsOn("users")
	}
	if !slices.Contains(d.Users, user) {
		return wrong("Make the user: "+p.setup.passwdCommand(user)+".", "there is no user "+user+" in "+p.setup.htpasswd)
	}
	got, err := get(ctx, p.site(p.chain[0]), p.setup.url(), user, p.options.Password)
	if err != nil {
		return requestFailed(ctx, err)
	}
	switch got.status {
	case http.StatusOK:
		return ok("the login of " + user + " is accepted")
	case http.StatusUnauthorized:
		return wrong("Use the right password, or set another one: "+p.setup.passwdCommand(user)+".", "the password of "+user+" is wrong")
	case http.StatusTooManyRequests:
		return unknown("Wait for some minutes, then run the doctor again.", "there were too many failed logins (429)")
	}
	return unknown("Look at docker compose logs caddy.", fmt.Sprintf("the login of %s is answered by %d %s", user, got.status, http.StatusText(got.status)))
}

// Package htpasswd authenticates users by an htpasswd file of bcrypt hashes.
package htpasswd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/audit"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/startup"
)

func init() {
	caddy.RegisterModule(new(Provider))
}

// Provider is an authentication provider for HTTP Basic (RFC 7617) with users
// from an htpasswd file.
//
// The file holds bcrypt hashes only ($2y$, $2a$, $2b$; `caddy registry-passwd`
// makes them). It is read again within a second after it changed; while the
// new content can't be used, the former users stay. Successful logins are
// remembered until 15 minutes after their last use, as keyed hashes, and failed
// ones for 15 minutes, both per client address (the /64 for IPv6): the same failure
// again is refused after a second. Unknown users take as long as known ones.
// Failures are throttled per user and per client address (no private or loopback
// ones), or for both together where the user has logged in from before; and only so
// many passwords are verified at once. What is too much is refused after a second
// with the reason 429, which the handler http.handlers.registry_error turns into
// the answer.
type Provider struct {
	// File is the path of the file. Placeholders are replaced when the config
	// loads.
	File string `json:"file"`

	// Create is the name of a user to make if the file is missing when the
	// config starts. The random password is printed once on standard error.
	// Default: none; a missing file is an error.
	Create string `json:"create,omitempty"`

	// Anonymous lets requests without credentials pass, as from a user with no
	// name. Wrong credentials are refused all the same. It is of use only in
	// front of a handler that decides what such a user may do.
	Anonymous bool `json:"anonymous,omitempty"`

	// Realm is the name of the protected space in the challenge of a 401.
	// Default: "registry".
	Realm string `json:"realm,omitempty"`

	shared *shared
	output io.Writer // where Create's password goes
	logger *zap.Logger
	audit  *audit.Log
}

// shared is what configs that use the same file have in common, so that a
// reload forgets no login and no failure.
type shared struct {
	file     *file
	verifier *verifier
	throttle *throttle
	hold     hold
}

// Destruct makes shared a value of a [caddy.UsagePool].
func (*shared) Destruct() error { return nil }

var pool = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*Provider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.authentication.providers.htpasswd",
		New: func() caddy.Module { return new(Provider) },
	}
}

// Provision reads the file. A file that can't be used is an error, even if
// another config uses it with users that it had before.
func (p *Provider) Provision(ctx caddy.Context) error {
	p.logger = ctx.Logger()
	audits, err := audit.New(ctx)
	if err != nil {
		return err
	}
	p.audit = audits
	p.output = os.Stderr
	if p.Realm == "" {
		p.Realm = ocierror.DefaultRealm
	}
	p.File = caddy.NewReplacer().ReplaceAll(p.File, "")
	if p.File == "" {
		return errors.New("the path of the htpasswd file is empty")
	}
	if p.Create != "" {
		if err := CheckUser(p.Create); err != nil {
			return fmt.Errorf("create: %w", err)
		}
		app, err := startup.Load(ctx)
		if err != nil {
			return err
		}
		app.Register(p)
	}
	value, _, err := pool.LoadOrNew(p.File, func() (caddy.Destructor, error) {
		verifier, err := newVerifier()
		if err != nil {
			return nil, err
		}
		throttle, err := newThrottle()
		return &shared{file: &file{path: p.File}, verifier: verifier, throttle: throttle, hold: newHold()}, err
	})
	if err != nil {
		return err
	}
	p.shared = value.(*shared)
	_, err = p.shared.file.refresh(time.Now())
	if p.Create != "" && errors.Is(err, fs.ErrNotExist) {
		if p.shared.file.users.Load() != nil {
			p.logger.Warn("htpasswd file can't be used; its former users stay", zap.String("file", p.File), zap.Error(err))
		}
		return nil // Start makes it, if there were no users yet
	}
	return err
}

// Cleanup lets go of what was shared.
func (p *Provider) Cleanup() error {
	p.audit.Release()
	if p.shared == nil {
		return nil
	}
	_, err := pool.Delete(p.File)
	return err
}

// Start makes the user that Create names, if the file is missing. It makes none
// where a config before had users from there: a file that is away for a moment
// is no new installation.
func (p *Provider) Start() error {
	if p.shared.file.users.Load() != nil {
		return nil
	}
	password, made, err := create(p.File, p.Create)
	if err != nil {
		return fmt.Errorf("making htpasswd file %s with user %s: %w", p.File, p.Create, err)
	}
	if !made {
		return nil
	}
	if _, err := fmt.Fprintf(p.output, "\nMade user %s in %s. The password is shown only this once:\n\n    %s\n\n",
		p.Create, p.File, password); err != nil {
		// Nobody would ever know it.
		return errors.Join(fmt.Errorf("printing the new password: %w", err), os.Remove(p.File))
	}
	_, err = p.shared.file.refresh(time.Now())
	return err
}

// Stop has nothing to do: the file stays.
func (*Provider) Stop() error { return nil }

// Authenticate finds out whom r is from. It answers nothing itself, but sets
// the header WWW-Authenticate of a 401.
func (p *Provider) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	refuse := func(e *ocierror.Error) (caddyauth.User, bool, error) {
		if challenge := e.Header["Www-Authenticate"]; challenge != nil {
			w.Header()["Www-Authenticate"] = challenge
		}
		ocierror.SetReason(r, e)
		return caddyauth.User{}, false, nil
	}
	// What comes before QUIC's handshake has ended may come from anywhere, whatever
	// its address, and again and again (RFC 9001, section 9.2; RFC 8470).
	if r.TLS != nil && !r.TLS.HandshakeComplete {
		p.audit.Count(audit.ActionLogin, audit.Refused)
		return refuse(&ocierror.Error{Status: http.StatusTooEarly, Code: ocierror.Unsupported,
			Message: "the request came before the TLS handshake was over: send it again"})
	}
	authorization := r.Header["Authorization"]
	if len(authorization) == 0 && p.Anonymous {
		return caddyauth.User{}, true, nil
	}
	switch len(authorization) {
	case 0:
		p.audit.Count(audit.ActionLogin, audit.Challenged)
		return refuse(ocierror.Challenge(p.Realm, "authentication required"))
	case 1:
	default:
		e := &ocierror.Error{Status: http.StatusBadRequest, Code: ocierror.Unsupported,
			Message: "the request has more than one Authorization header"}
		p.audit.Write(p.refusal(r, "", audit.Refused, e))
		return refuse(e)
	}
	user, password, ok := r.BasicAuth()
	if !ok {
		p.audit.Count(audit.ActionLogin, audit.Challenged)
		return refuse(ocierror.Challenge(p.Realm, "authentication required: a user name and a password (HTTP Basic)"))
	}
	if e := p.login(r, user, password); e != nil {
		return refuse(e)
	}
	return caddyauth.User{ID: user}, true, nil
}

// login returns nil if password is that of user, or the refusal.
func (p *Provider) login(r *http.Request, user, password string) *ocierror.Error {
	now := time.Now()
	us, verifier, throttle := p.shared.file.current(now, p.logger), p.shared.verifier, p.shared.throttle
	network := networkOf(clientAddr(r))
	hash, exists := us.hashes[user]
	if exists && verifier.isKnown(network, user, password, hash) {
		return nil
	}
	if !exists {
		hash = us.dummy
	}
	// A user whose line is new or changed starts with a clean slate. It is short,
	// whatever name a client sends.
	account := verifier.mac(netip.Prefix{}, user, "", hash)
	who := login{network, string(account[:])}
	if wait := throttle.wait(now, who); wait > 0 {
		return p.held(r, user, audit.Throttled, tooMany("too many failed logins", wait))
	}
	wrong := ocierror.Challenge(p.Realm, "wrong user name or password")
	if verifier.isWrong(network, user, password, hash) {
		return p.held(r, user, audit.Refused, wrong)
	}
	// Made now: by then the request may be over.
	failure := p.refusal(r, user, audit.Refused, wrong)
	failure.Verified = true
	first := false // of those that share a run
	ok, err := verifier.verify(r.Context(), network, user, password, hash, throttle.isFamiliar(who), func() {
		first = true
		throttle.failed(now, who)
		p.audit.Write(failure)
	})
	switch {
	case r.Context().Err() != nil: // the client has gone; what comes of the run is written down all the same
		return tooMany("too many logins at once", time.Second)
	case err != nil:
		return p.held(r, user, audit.Throttled, tooMany("too many logins at once", time.Second))
	// Asked again, since the run may have begun before the user's hash changed.
	case ok && exists && verifier.isKnown(network, user, password, hash):
		throttle.succeeded(who)
		return nil
	case ok:
		p.audit.Write(failure)
	case !first:
		p.audit.Count(audit.ActionLogin, audit.Refused)
	}
	return wrong
}

// refusal returns what the audit has of a refusal.
func (p *Provider) refusal(r *http.Request, user string, result audit.Result, e *ocierror.Error) audit.Event {
	return audit.Event{Action: audit.ActionLogin, Result: result, Addr: audit.Address(r), User: user, Status: e.Status, Reason: e.Message}
}

// held writes down that a login was not tried, and returns the refusal when its
// time has come.
func (p *Provider) held(r *http.Request, user string, result audit.Result, e *ocierror.Error) *ocierror.Error {
	p.audit.Write(p.refusal(r, user, result, e))
	p.shared.hold.wait(r.Context())
	return e
}

func tooMany(message string, wait time.Duration) *ocierror.Error {
	return &ocierror.Error{
		Status:     http.StatusTooManyRequests,
		Code:       ocierror.TooManyRequests,
		Message:    message + ": try again later",
		RetryAfter: wait,
	}
}

// clientAddr returns where r comes from, as the server's trusted_proxies have
// it. It is invalid for a client on a unix socket.
func clientAddr(r *http.Request) netip.Addr {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, _ := netip.ParseAddr(ip)
	return addr
}

// UnmarshalCaddyfile reads:
//
//	htpasswd <file> {
//		create <user>
//	}
func (p *Provider) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if !d.AllArgs(&p.File) {
		return d.Errf("htpasswd takes one file, as in: htpasswd /auth/htpasswd")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "create":
			if p.Create != "" {
				return d.Err("htpasswd: create is given more than once")
			}
			if !d.AllArgs(&p.Create) {
				return d.Err("htpasswd: create takes one user name")
			}
		default:
			return d.Errf("htpasswd: unknown option %q; there is: create", d.Val())
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner       = (*Provider)(nil)
	_ caddy.CleanerUpper      = (*Provider)(nil)
	_ caddyauth.Authenticator = (*Provider)(nil)
	_ caddyfile.Unmarshaler   = (*Provider)(nil)
	_ startup.Hook            = (*Provider)(nil)
)

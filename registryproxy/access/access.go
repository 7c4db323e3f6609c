// Package access decides who may do what to which repository of a registry.
package access

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/audit"
	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is a middleware for the distribution API of an OCI registry (paths
// under /v2/). It reads each request once, into one meaning; it refuses what
// the rules don't allow, and what has more than one meaning; and what goes on
// to the next handler is what was judged:
//
//   - the path is canonical, and parameters are not repeated;
//   - a cross-repository mount from a repository that the user may not pull
//     is turned into an ordinary upload;
//   - Authorization and what claims to come from a proxy in front (Forwarded,
//     X-Forwarded-*, X-Real-IP) are gone; reverse_proxy sets its own; so are
//     headers that override the method or the path;
//   - a manifest is at most 4 MiB.
//
// In answers, Location and Link lead back to where the client asked, the
// catalog holds what the user may see, no content may be transformed on its
// way (which keeps the encode handler off), and an error of the registry that
// a client could not read gets a body that it can.
//
// The answer to GET /v2/, with which every client begins, is the registry's
// own, but for three seconds after the registry gave it without a trip to the
// registry. A failure of any request ends that at once.
//
// For the catalog of a user who may not see all of it, the next handler is
// called for page after page of the registry's own: routes after this one must
// not be in a group, of which Caddy runs one per request.
//
// Each push, each delete and each refusal is a line of the logger registry.audit,
// and every request is counted in caddy_registry_requests_total (package audit).
//
// The user comes from an authentication handler before this one, through the
// placeholder {http.auth.user.id}; where it is empty, the request is
// anonymous. A refusal is answered with an OCI error body: 401 for anonymous,
// 403 for a user.
type Handler struct {
	// Groups of users, by name. Rules refer to them as "@name".
	Groups map[string][]string `json:"groups,omitempty"`

	// Allow is what users may do. What no rule allows is refused.
	// Default: every user may do everything, and anonymous nothing.
	Allow []Rule `json:"allow,omitempty"`

	// Realm is the name of the protected space in the challenge of a 401.
	// Default: "registry".
	Realm string `json:"realm,omitempty"`

	rules   rules
	base    baseMemory
	audit   *audit.Log
	uploads *uploads
}

// Rule allows a subject some actions in some repositories.
type Rule struct {
	// Subject is a user name, "@" and the name of a group, or "anonymous",
	// which means everybody, with or without a login.
	Subject string `json:"subject"`

	// Actions are "pull", "push", "delete" and "catalog". Pull includes
	// catalog. Clients that push look first whether a blob is there, which is
	// a pull: Docker needs both. Anonymous can only be allowed pull and
	// catalog.
	Actions []string `json:"actions"`

	// Repositories are patterns: * stands for any characters except a slash,
	// ** for any number of segments ("team/**" is all below team, "**" all).
	Repositories []string `json:"repositories"`
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.registry_access",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision compiles the rules.
func (h *Handler) Provision(ctx caddy.Context) (err error) {
	if h.audit, err = audit.New(ctx); err != nil {
		return err
	}
	if h.uploads, err = loadUploads(); err != nil {
		return err
	}
	if h.Realm, err = checkRealm(h.Realm); err != nil {
		return err
	}
	h.rules, err = compile(h.Groups, h.Allow)
	return err
}

// Cleanup lets go of what configs share.
func (h *Handler) Cleanup() error {
	h.audit.Release()
	if h.uploads == nil {
		return nil
	}
	_, err := shared.Delete(uploadsKey)
	return err
}

// checkRealm returns the realm to use for the one that a config names.
func checkRealm(realm string) (string, error) {
	if realm == "" {
		return ocierror.DefaultRealm, nil
	}
	if strings.ContainsFunc(realm, unicode.IsControl) || !utf8.ValidString(realm) {
		return "", fmt.Errorf("realm %q holds what a header can't", realm)
	}
	return realm, nil
}

// ServeHTTP judges the request, and passes it on if it is allowed.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	begin := time.Now()
	user := userID(r)
	t, action, err := h.judge(r, user)
	if err != nil {
		h.auditRefusal(r, user, t, action, err)
		return ocierror.Write(w, r, err)
	}

	dropProxyHeaders(r.Header)
	rw := newResponseWriter(w, r)
	var body *countedBody
	if action == ActionPush && r.ContentLength != 0 {
		body = &countedBody{ReadCloser: r.Body}
		r.Body = body
	}
	failed := errBrokeOff // a panic is how reverse_proxy ends half an answer
	defer func() {
		if failed != nil || rw.status >= 500 {
			h.base.forget()
		}
		h.auditAnswer(rw, r, user, t, action, body, begin, failed)
	}()
	failed = h.pass(rw, r, t, user, next)
	return failed
}

var errBrokeOff = errors.New("the answer broke off")

// pass has an allowed request answered.
func (h *Handler) pass(w *responseWriter, r *http.Request, t target, user string, next caddyhttp.Handler) error {
	switch {
	case t.endpoint == endpointBase:
		return h.base.serve(w, r, next)
	case t.endpoint == endpointCatalog && !h.rules.mayAll(user, ActionCatalog):
		return h.serveCatalog(w, r, user, next)
	case t.endpoint == endpointManifest && r.Method == http.MethodPut:
		return serveLimited(w, r, next)
	case t.endpoint == endpointUpload && r.ContentLength != 0:
		r.Body = wholeReads{r.Body}
		return next.ServeHTTP(w, r)
	default:
		return next.ServeHTTP(w, r)
	}
}

// judge returns what r asks for and, if user may not have it, the refusal. It
// brings r into the form that it judged.
func (h *Handler) judge(r *http.Request, user string) (target, Action, *ocierror.Error) {
	path, ok := canonicalPath(r.URL)
	if !ok {
		return target{}, ActionNone, refuse(http.StatusBadRequest, ocierror.NameInvalid,
			"the path is not in its canonical form: nothing in it may be percent-encoded")
	}
	t, ok := parseTarget(path)
	if !ok {
		return target{}, ActionNone, refuse(http.StatusNotFound, ocierror.NameInvalid,
			"%q is not part of the registry API, or has an invalid repository name, tag or digest", clip(path))
	}
	// A request line may name a scheme and a host as well, from which the
	// registry would build its Location.
	*r.URL = url.URL{Path: path, RawQuery: r.URL.RawQuery}

	action, ok := t.endpoint.action(r.Method)
	if !ok {
		err := refuse(http.StatusMethodNotAllowed, ocierror.Unsupported,
			"the registry API does not know %s for %s", clip(r.Method), clip(path))
		err.Header = http.Header{"Allow": {t.endpoint.methods()}}
		return t, ActionNone, err
	}
	if !h.mayDo(user, action, t) {
		return t, action, h.deny(user, action, t)
	}
	mount, err := checkParameters(r, t)
	if err != nil {
		return t, action, err
	}
	if mount.asked && !h.mayMount(user, mount) {
		dropMount(r)
		h.auditMount(r, user, mount)
	}
	return t, action, nil
}

// mayMount reports whether user may pull from wherever the registry takes the
// blob: without a name, that may be any repository.
func (h *Handler) mayMount(user string, mount mountRequest) bool {
	if mount.from == "" {
		return h.rules.mayAll(user, ActionPull)
	}
	return isName(mount.from) && h.rules.allows(user, ActionPull, mount.from)
}

func (h *Handler) mayDo(user string, action Action, t target) bool {
	switch action {
	case ActionNone:
		// Docker and others ask here whether they need a login, and never send
		// one after a 200: https://github.com/docker/cli/issues/745
		return user != ""
	case ActionCatalog:
		return h.rules.mayList(user)
	default:
		return h.rules.allows(user, action, t.repository)
	}
}

func (h *Handler) deny(user string, action Action, t target) *ocierror.Error {
	switch {
	case user == "" && action == ActionNone:
		return ocierror.Challenge(h.Realm, "authentication required")
	case user == "" && action == ActionCatalog:
		return ocierror.Challenge(h.Realm, "authentication required to see the catalog")
	case user == "":
		return ocierror.Challenge(h.Realm,
			fmt.Sprintf("authentication required to %s %s", describe(action), t.repository))
	default:
		return refuse(http.StatusForbidden, ocierror.Denied,
			"user %s may not %s %s", display(user), describe(action), t.repository)
	}
}

// describe returns a as the verb and preposition before a repository's name.
func describe(a Action) string {
	switch a {
	case ActionPush:
		return "push to"
	case ActionDelete:
		return "delete from"
	default:
		return "pull from"
	}
}

// display returns a user's name as it may stand in a sentence: quoted, where
// it could be taken for more than a name.
func display(user string) string {
	for _, c := range user {
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("._-@+", c) {
			return strconv.Quote(clip(user))
		}
	}
	return clip(user)
}

func refuse(status int, code, format string, args ...any) *ocierror.Error {
	return &ocierror.Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// clip shortens what a client sent to what fits into a message.
func clip(s string) string {
	const most = 300
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// userID returns whom an authentication handler found r to be from, or "".
func userID(r *http.Request) string {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return ""
	}
	user, _ := repl.GetString("http.auth.user.id")
	return user
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)

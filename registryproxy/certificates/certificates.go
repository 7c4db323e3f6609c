// Package certificates tells, on Caddy's admin endpoint, how certificates were
// obtained: Caddy itself writes that into its log only.
package certificates

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-nas/caddy-nas-registry/internal/redact"
)

func init() {
	caddy.RegisterModule(new(adminAPI))
}

// Path is where the admin endpoint has the list.
const Path = "/registry/certificates"

// List is what GET /registry/certificates on the admin endpoint returns.
type List struct {
	Certificates []Certificate `json:"certificates"`
}

// known is of the process and not of a config: after a config that fails to load
// Caddy goes on with the one before, but with the admin endpoint of the failed one.
var known = newBook()

// adminAPI serves GET /registry/certificates on Caddy's admin endpoint: of each
// name since when a certificate is being obtained, when one was obtained, and how it
// failed since then. It returns a [List].
type adminAPI struct{ book *book }

// CaddyModule returns the Caddy module information.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.registry_certificates",
		New: func() caddy.Module { return &adminAPI{book: known} },
	}
}

// Provision subscribes to the events of certificates. Admin routers are provisioned
// before all apps, so that nothing is missed, and nobody reads the events app's
// subscriptions yet, which it has no lock for. Every config has the events app, as
// the tls app loads it.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return nil //nolint:nilerr // Caddy returns it once more as it loads the apps
	}
	for _, event := range []string{"cert_obtaining", "cert_obtained", "cert_failed"} {
		// The remote admin endpoint comes when the apps have started, too late for
		// subscriptions: the local one has them.
		_ = app.(*caddyevents.App).On(event, a)
	}
	return nil
}

// Handle notes an event.
func (a *adminAPI) Handle(_ context.Context, e caddy.Event) error {
	name, _ := e.Data["identifier"].(string)
	if name == "" {
		return nil
	}
	now := e.Timestamp()
	if now.IsZero() {
		now = time.Now()
	}
	a.book.change(name, now, func(c *Certificate) {
		switch e.Name() {
		case "cert_obtaining":
			c.obtaining(now)
		case "cert_obtained":
			issuer, _ := e.Data["issuer"].(string)
			c.obtained(now, issuer)
		case "cert_failed":
			issuers, _ := e.Data["issuers"].([]string)
			c.fail(now, issuers, cleaned(fmt.Sprint(e.Data["error"])))
		}
	})
	return nil
}

// Errors of DNS providers are among those of certificates, and the tls app does not
// give its providers away: their secrets are known by their looks only.
var (
	// named is a value behind the name of a secret, or of a scheme of logins.
	named = regexp.MustCompile(`(?i)((?:token|(?:api|auth|access)[_-]?key|secret|passw(?:or)?d)(?:["']\s*[:=]\s*|[:=])["']?|authorization\s*:\s*(?:(?:bearer|basic|token)\s+)?|(?:bearer|basic)\s+)[^\s"',;]+`)

	// header is a value behind such a name, as HTTP and prose have them; in prose it
	// is no secret unless it looks like one.
	header = regexp.MustCompile(`(?i)((?:token|key|secret|passw(?:or)?d):\s+)([^\s"',;]+)`)

	// opaque may be a key: long, and made of letters and digits.
	opaque = regexp.MustCompile(`[A-Za-z0-9_+=-]{20,}`)
	letter = regexp.MustCompile(`[A-Za-z]`)
	digit  = regexp.MustCompile(`[0-9]`)
)

// cleaned removes from a text what may be a secret.
func cleaned(text string) string {
	text = named.ReplaceAllString(redact.Text(text, nil), "${1}…")
	text = header.ReplaceAllStringFunc(text, func(match string) string {
		parts := header.FindStringSubmatch(match)
		return parts[1] + mixed(parts[2])
	})
	return opaque.ReplaceAllStringFunc(text, mixed)
}

// mixed hides a word that has letters and digits.
func mixed(word string) string {
	if letter.MatchString(word) && digit.MatchString(word) {
		return "…"
	}
	return word
}

// Routes returns the route of the admin endpoint.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: Path, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

func (a *adminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed; use GET")}
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(List{a.book.list()})
}

// Interface guards
var (
	_ caddy.AdminRouter   = (*adminAPI)(nil)
	_ caddy.Provisioner   = (*adminAPI)(nil)
	_ caddyevents.Handler = (*adminAPI)(nil)
)

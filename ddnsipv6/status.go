package ddnsipv6

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(new(adminAPI))
}

// Status is what GET /ddns_ipv6/status on the admin endpoint returns.
type Status struct {
	Policies []PolicyStatus `json:"policies"`
}

// PolicyStatus tells how a policy stands.
type PolicyStatus struct {
	Provider string `json:"provider"`
	// Selected is this host's address that is published, if there is one.
	Selected string `json:"selected,omitempty"`
	// Addresses are all that the sources found.
	Addresses []AddressStatus `json:"addresses"`
	// Error is why the addresses of a source are not known.
	Error string `json:"error,omitempty"`
	// ReadError is why the provider could not be read last; its records are
	// checked by DNS then.
	ReadError string `json:"read_error,omitempty"`
	// MissingSince is since when no address is usable.
	MissingSince *time.Time   `json:"missing_since,omitempty"`
	Names        []NameStatus `json:"names"`
}

// AddressStatus tells what became of an address.
type AddressStatus struct {
	Address   string   `json:"address"`
	Prefix    string   `json:"prefix,omitempty"`
	Interface string   `json:"interface,omitempty"`
	Flags     []string `json:"flags"`
	// PreferredLifetime and ValidLifetime are in seconds at the time of the
	// look; null is forever.
	PreferredLifetime *int64 `json:"preferred_lifetime"`
	ValidLifetime     *int64 `json:"valid_lifetime"`
	Usable            bool   `json:"usable"`
	// Rejected is why it is not usable.
	Rejected string `json:"rejected,omitempty"`
}

// NameStatus tells how a name stands.
type NameStatus struct {
	Name string `json:"name"`
	Zone string `json:"zone,omitempty"`
	// Wanted is the address that it shall have; empty: none to publish.
	Wanted string `json:"wanted,omitempty"`
	// Problem is why the device has no address.
	Problem string `json:"problem,omitempty"`
	// Published are the addresses that were read last; null: not read.
	Published []netip.Addr `json:"published"`
	// Confirmed is the address that it was given last, or found to have.
	Confirmed string `json:"confirmed,omitempty"`
	// Uncertain tells that a change has begun whose outcome is not known.
	Uncertain bool `json:"uncertain,omitempty"`
	// LastWritten is when the record was written, or first found as it shall
	// be; LastConfirmed is when it was read last since Caddy runs, or accepted
	// by a provider that can't be read.
	LastWritten   *time.Time `json:"last_written,omitempty"`
	LastConfirmed *time.Time `json:"last_confirmed,omitempty"`
	// Failures in a row, the last error, and when the next try is.
	Failures  int        `json:"failures"`
	LastError string     `json:"last_error,omitempty"`
	NextTry   *time.Time `json:"next_try,omitempty"`
}

// Status returns how the app stands. It may be called at any time.
func (a *App) Status() Status {
	status := Status{Policies: []PolicyStatus{}}
	if a.ledger.Load() == nil {
		return status
	}
	for _, u := range a.updaters {
		status.Policies = append(status.Policies, u.status())
	}
	return status
}

func (u *updater) status() PolicyStatus {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := PolicyStatus{
		Provider: u.policy.provider.name, Selected: text(u.view.Host.IP), Error: errorText(u.view.Err),
		ReadError: errorText(u.view.ReadErr), MissingSince: timeOrNil(u.view.MissingSince), Addresses: []AddressStatus{}, Names: []NameStatus{},
	}
	for _, j := range u.view.Judged {
		p.Addresses = append(p.Addresses, j.status())
	}
	for _, j := range u.jobs {
		p.Names = append(p.Names, j.status(u.policy))
	}
	return p
}

func (j Judged) status() AddressStatus {
	s := AddressStatus{
		Address: text(j.IP), Interface: j.Interface, Flags: j.Flags.Names(),
		PreferredLifetime: secondsLeft(j.Preferred), ValidLifetime: secondsLeft(j.Valid), Usable: j.Reason == Usable,
	}
	if j.Prefix.IsValid() {
		s.Prefix = j.Prefix.String()
	}
	if !s.Usable {
		s.Rejected = j.Reason.String()
	}
	return s
}

func (j *job) status(p *Policy) NameStatus {
	j.mu.Lock()
	wanted, problem := j.wanted, j.problem
	j.mu.Unlock()
	s := j.entry.now()
	return NameStatus{
		Name: j.name(), Zone: s.Zone, Wanted: text(wanted), Problem: errorText(problem),
		Published: s.Published, Confirmed: text(s.Address), Uncertain: s.Uncertain, LastWritten: timeOrNil(s.Written), LastConfirmed: timeOrNil(s.Verified),
		Failures: s.Failures, LastError: errorText(s.LastErr), NextTry: timeOrNil(due(&s, wanted, false, time.Time{}, p, time.Now()).Next),
	}
}

func secondsLeft(d time.Duration) *int64 {
	if d == Forever {
		return nil
	}
	seconds := int64(d / time.Second)
	return &seconds
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// adminAPI serves /ddns_ipv6/ on Caddy's admin endpoint:
//
//   - GET /ddns_ipv6/status returns a [Status];
//   - POST /ddns_ipv6/update looks at the addresses and the records of all
//     names now, waits until that is done, and returns the [Status] after it.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.ddns_ipv6",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// running returns the app of the config that runs. It may be another one than
// this endpoint came with: Caddy keeps the endpoint of a config that it could
// not start, and goes on with the config before.
func running() (*App, error) {
	app, err := caddy.ActiveContext().AppIfConfigured(ID)
	if err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("the running config has no " + ID)}
	}
	return app.(*App), nil
}

// Routes returns the routes of the admin endpoint.
func (*adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/ddns_ipv6/status", Handler: handler(http.MethodGet, func(*http.Request, *App) error { return nil })},
		{Pattern: "/ddns_ipv6/update", Handler: handler(http.MethodPost, func(r *http.Request, app *App) error { return app.update(r.Context()) })},
	}
}

// handler answers with the status after act.
func handler(method string, act func(*http.Request, *App) error) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != method {
			w.Header().Set("Allow", method)
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed; use " + method)}
		}
		app, err := running()
		if err != nil {
			return err
		}
		if err := act(r, app); err != nil {
			return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(app.Status())
	}
}

// Interface guard
var _ caddy.AdminRouter = (*adminAPI)(nil)

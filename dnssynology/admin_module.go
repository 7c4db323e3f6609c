package dnssynology

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(new(adminAPI))
}

// configured are the DSMs of the configs that run.
var configured = caddy.NewUsagePool()

// using notes that a config has a DSM, until it ends.
func using(d *DSM) { configured.LoadOrStore(d, d) }

func unused(d *DSM) error {
	_, err := configured.Delete(d)
	return err
}

// adminAPI serves POST /synology/retry-login on Caddy's admin endpoint: logins
// that DSM refused, and that are therefore not tried again, may be tried once more
// with the same credentials, after something was put right in DSM.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.synology",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes returns the route of the admin endpoint.
func (*adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: "/synology/retry-login", Handler: caddy.AdminHandlerFunc(retryLogins)}}
}

func retryLogins(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("method not allowed; use POST")}
	}
	var errs []error
	found := false
	configured.Range(func(_, value any) bool {
		found = true
		errs = append(errs, value.(*DSM).RetryLogin(r.Context()))
		return true
	})
	if !found {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("no config that runs has a dsm of Synology")}
	}
	if err := errors.Join(errs...); err != nil {
		return caddy.APIError{HTTPStatus: http.StatusConflict, Err: err}
	}
	return nil
}

// Interface guard
var _ caddy.AdminRouter = (*adminAPI)(nil)

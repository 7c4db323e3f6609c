package access

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

func init() {
	caddy.RegisterModule(new(ErrorHandler))
}

// ErrorHandler answers a request of a registry client that failed with a body
// that the client understands. It belongs into the error routes around the
// authentication and the reverse proxy, whose own answers are empty.
//
// A 401 without a challenge gets one. Where no upstream could be reached, the
// status is 503 and the message says why, as far as the source of upstreams
// knows. The operator's log has the cause.
type ErrorHandler struct {
	// Realm is the name of the protected space in the challenge of a 401 that
	// comes without one. Default: "registry".
	Realm string `json:"realm,omitempty"`

	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*ErrorHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.registry_error",
		New: func() caddy.Module { return new(ErrorHandler) },
	}
}

// Provision sets the defaults.
func (h *ErrorHandler) Provision(ctx caddy.Context) (err error) {
	h.logger = ctx.Logger()
	h.Realm, err = checkRealm(h.Realm)
	return err
}

// ServeHTTP answers for the error that the request failed with.
func (h *ErrorHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	err, _ := r.Context().Value(caddyhttp.ErrorCtxKey).(error)
	answer := h.answer(r, err)

	level := zapcore.DebugLevel
	if answer.Status >= 500 {
		level = zapcore.ErrorLevel
	}
	if c := h.logger.Check(level, "request failed"); c != nil {
		c.Write(zap.String("method", r.Method), zap.String("path", clip(r.URL.Path)),
			zap.Int("status", answer.Status), zap.String("reason", answer.Message), zap.Error(err))
	}
	return ocierror.Write(w, r, answer)
}

// answer finds what to say about err.
func (h *ErrorHandler) answer(r *http.Request, err error) *ocierror.Error {
	if e, ok := ocierror.From(err); ok {
		return e
	}
	status := http.StatusInternalServerError
	var handlerErr caddyhttp.HandlerError
	// A handler may have been configured to fail with any number.
	if errors.As(err, &handlerErr) && handlerErr.StatusCode >= 400 && handlerErr.StatusCode < 600 {
		status = handlerErr.StatusCode
	}
	reason := ocierror.Reason(r)
	if isDialError(err) {
		return down(reason, "the registry can't be reached: it accepts no connection")
	}

	switch status {
	case http.StatusUnauthorized:
		if reason != nil {
			return reason
		}
		return ocierror.Challenge(h.Realm, "authentication required")
	case http.StatusServiceUnavailable: // no upstream to send it to
		return down(reason, "the registry can't be reached")
	case http.StatusBadGateway:
		return &ocierror.Error{Status: status, Code: ocierror.Unavailable,
			Message: "the registry closed the connection before it answered", RetryAfter: ocierror.RetryAfterDown}
	case http.StatusGatewayTimeout:
		return &ocierror.Error{Status: status, Code: ocierror.Unavailable,
			Message: "the registry did not answer in time", RetryAfter: ocierror.RetryAfterDown}
	default:
		return &ocierror.Error{Status: status, Code: codeOf(status),
			Message: strings.TrimSpace(fmt.Sprintf("the request failed: %d %s", status, http.StatusText(status)))}
	}
}

// down returns what to say where no upstream was reached. The source of upstreams
// may know why. A 4xx is of an authentication provider, one that was not the only
// one.
func down(reason *ocierror.Error, message string) *ocierror.Error {
	if reason != nil && reason.Status >= 500 {
		return reason
	}
	return ocierror.Down(message)
}

// codeOf returns the code that goes with a status that another handler chose.
func codeOf(status int) string {
	switch status {
	case http.StatusForbidden:
		return ocierror.Denied
	case http.StatusMethodNotAllowed:
		return ocierror.Unsupported
	case http.StatusRequestEntityTooLarge:
		return ocierror.SizeInvalid
	case http.StatusTooManyRequests:
		return ocierror.TooManyRequests
	default:
		return ocierror.Unknown
	}
}

// isDialError reports whether no connection to the registry came about.
func isDialError(err error) bool {
	var dial reverseproxy.DialError
	return errors.As(err, &dial)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*ErrorHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*ErrorHandler)(nil)
)

// Package ocierror writes the error answers of the OCI distribution protocol
// and carries the reason for a failure from the place that knows it to the
// handler that answers.
//
// Docker shows the message of a 4xx answer to its user word for word, so a
// message is one sentence that says who may not do what, or what is wrong and
// what to do about it.
//
// Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
package ocierror

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	specs "github.com/opencontainers/distribution-spec/specs-go/v1"
)

// Error codes of the OCI distribution specification, and UNAVAILABLE, which
// the reference registry adds to them.
const (
	BlobUploadInvalid = "BLOB_UPLOAD_INVALID"
	Denied            = "DENIED"
	ManifestInvalid   = "MANIFEST_INVALID"
	NameInvalid       = "NAME_INVALID"
	PaginationInvalid = "PAGINATION_NUMBER_INVALID"
	SizeInvalid       = "SIZE_INVALID"
	TooManyRequests   = "TOOMANYREQUESTS"
	Unauthorized      = "UNAUTHORIZED"
	Unavailable       = "UNAVAILABLE"
	Unknown           = "UNKNOWN"
	Unsupported       = "UNSUPPORTED"
)

// Error is a failure that a registry client can be told about. It is an
// ordinary error: handlers return it, and the error route of the
// registry_proxy directive writes it.
type Error struct {
	// Status is the HTTP status of the answer, 400 to 599.
	Status int

	// Code is one of the constants of this package.
	Code string

	// Message is a sentence for the client's user. It never holds a secret.
	Message string

	// RetryAfter asks the client to wait; it is sent in whole seconds, rounded
	// up. Zero: no Retry-After header.
	RetryAfter time.Duration

	// Header is added to the answer, WWW-Authenticate for example. Optional.
	Header http.Header

	// Err is the cause, for the operator's log only. Optional.
	Err error
}

// Error returns the message, followed by the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Handler returns e as the error that Caddy's HTTP server understands: error
// routes see its status, and the access log its text.
func (e *Error) Handler() error {
	return caddyhttp.Error(e.Status, e)
}

// Write answers with e: status, headers and, unless the request is a HEAD, the
// JSON body. Nothing may have been written to w before.
func Write(w http.ResponseWriter, r *http.Request, e *Error) error {
	body, err := json.Marshal(specs.ErrorResponse{
		Errors: []specs.ErrorInfo{{Code: e.Code, Message: e.Message}},
	})
	if err != nil {
		return err
	}

	h := w.Header()
	for name, values := range e.Header {
		h[name] = values
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("X-Content-Type-Options", "nosniff")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	// A client that waits for 100 Continue before it sends a body must get the
	// answer instead. net/http knows by the type of the body that it waits, which
	// Caddy's idle time-out hides: it would try to read the body first.
	if r.ProtoMajor == 1 && r.Header.Get("Expect") != "" {
		h.Set("Connection", "close")
	}
	w.WriteHeader(e.Status)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = w.Write(body)
	return err
}

// reasonKey is where [SetReason] keeps the reason in the request's variables.
const reasonKey = "registry_error_reason"

// SetReason remembers why a later handler will not be able to answer r. It is
// for modules whose host gives them no way to return a status: an
// authentication provider that throttles, a source of upstreams that has none.
// r must have been through Caddy's HTTP server. The last reason wins.
func SetReason(r *http.Request, e *Error) {
	caddyhttp.SetVar(r.Context(), reasonKey, e)
}

// Reason returns what [SetReason] remembered for r, or nil.
func Reason(r *http.Request) *Error {
	e, _ := caddyhttp.GetVar(r.Context(), reasonKey).(*Error)
	return e
}

// From returns the *Error within err, if there is one.
func From(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

// RetryAfterDown is what a client is asked to wait while the registry is down.
const RetryAfterDown = 5 * time.Second

// Down returns the 503 answer for a registry that can't be reached. The message
// names its state.
func Down(message string) *Error {
	return &Error{
		Status:     http.StatusServiceUnavailable,
		Code:       Unavailable,
		Message:    message,
		RetryAfter: RetryAfterDown,
	}
}

// DefaultRealm names the protected space where the config names none.
const DefaultRealm = "registry"

// Challenge returns the 401 answer that asks a client for a user name and a
// password (RFC 7617). The realm must not hold control characters.
func Challenge(realm, message string) *Error {
	return &Error{
		Status:  http.StatusUnauthorized,
		Code:    Unauthorized,
		Message: message,
		Header:  http.Header{"Www-Authenticate": {`Basic realm=` + strconv.Quote(realm) + `, charset="UTF-8"`}},
	}
}

package dnssynology

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const authAPI = "SYNO.API.Auth"

// APIError is DSM's refusal of a call.
//
// Codes below 200 mean the same in all APIs, others belong to one. Source:
// "DSM Login Web API Guide", Synology, and for single APIs what is known.
type APIError struct {
	API    string // such as SYNO.DNSServer.Zone.Record
	Method string // such as create
	Code   int

	// Detail names the parameter that DSM didn't like, and why, where it says so.
	Detail string
}

// Error says what DSM refused, and why as far as it is known.
func (e *APIError) Error() string {
	s := fmt.Sprintf("%s %s: DSM answered with code %d: %s", e.API, e.Method, e.Code, e.reason())
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

func (e *APIError) reason() string {
	if reason := commonCodes[e.Code]; reason != "" {
		return reason
	}
	if reason := loginCodes[e.Code]; reason != "" && e.API == authAPI {
		return reason
	}
	if e.Code == 5524 && strings.HasPrefix(e.API, "SYNO.Core.Certificate") {
		return "Let's Encrypt's limit on certificates is reached, and trying again makes it worse"
	}
	return "its meaning is not published"
}

var commonCodes = map[int]string{
	100: "an error that DSM has no name for",
	101: "the request has no API, method or version",
	102: "there is no such API",
	103: "the API has no such method",
	104: "the API has no such version",
	105: "the account may not do that; it must be in the group administrators",
	106: "the session timed out",
	107: "another login of the account ended the session",
	108: "the upload failed",
	109: "DSM is busy or the connection is unstable",
	110: "DSM is busy or the connection is unstable",
	111: "DSM is busy or the connection is unstable",
	114: "parameters are missing",
	115: "an upload is not allowed here",
	116: "not on a demonstration system",
	117: "DSM is busy or the connection is unstable",
	118: "DSM is busy or the connection is unstable",
	119: "there is no such session",
	120: "a parameter has a wrong type or value",
	150: "the session belongs to another address",
}

var loginCodes = map[int]string{
	400: "no such account, or a wrong password",
	401: "the account is disabled",
	402: "the account may not log in",
	403: "a code of the second factor is needed: set otp_code, once",
	404: "the code of the second factor is wrong or was used before: set a new otp_code",
	406: "the account must set up its second factor first, in DSM",
	407: "DSM has blocked this host's address after too many failed logins: unblock it in Control Panel, Security, Protection",
	408: "the password has expired and can't be changed",
	409: "the password has expired: change it in DSM",
	410: "the password must be changed in DSM",
	411: "the account is locked after too many failed logins",
}

// busy tells whether the call may be repeated in a moment.
func (e *APIError) busy() bool {
	return e.Code >= 109 && e.Code <= 111 || e.Code == 117 || e.Code == 118
}

// expired tells whether the call may be repeated with a new session. 150 is among
// them since a host's own IPv6 address changes.
func (e *APIError) expired() bool {
	return e.Code == 119 || e.Code == 106 || e.Code == 107 || e.Code == 150
}

// refusedLogin tells whether the login must not be repeated: whatever DSM answers,
// unless it was too busy to judge.
func (e *APIError) refusedLogin() bool { return e.API == authAPI && !e.busy() }

// LoginError says why a login to DSM failed that won't be tried again for now, or
// wasn't tried at all. It wraps the [APIError] of the refusal, if there is one.
type LoginError struct {
	URL     string
	Account string

	// Refused is when these credentials were refused, with Code: 0 where no answer
	// came to the last of several logins, or to one with a code of the second
	// factor. Zero where they weren't, and only Until stands against them.
	Refused time.Time
	Code    int

	// Until is when a login to this URL is tried again, whatever the
	// credentials. Zero where new credentials are tried at once.
	Until time.Time

	reason string // why nothing is tried before Until
	lost   int    // logins with these credentials that had no answer
}

// Error says what was refused, when, and what to do.
func (e *LoginError) Error() string {
	s := fmt.Sprintf("logging in to %s as %q: ", e.URL, e.Account)
	switch {
	case e.lost > 0:
		s += fmt.Sprintf("no answer came to %d with these credentials, the last at %s, and DSM may have counted them as failed, or a code as used; they are not tried again until they change, or until RetryLogin is called",
			e.lost, e.Refused.Format(time.RFC3339))
	case !e.Refused.IsZero():
		s += fmt.Sprintf("DSM refused these credentials at %s with code %d: %s; they are not tried again until they change, or until RetryLogin is called",
			e.Refused.Format(time.RFC3339), e.Code, (&APIError{API: authAPI, Code: e.Code}).reason())
	}
	if !e.Until.IsZero() {
		if !e.Refused.IsZero() {
			s += "; "
		}
		s += fmt.Sprintf("no login is tried before %s, whatever the credentials, since %s, and DSM blocks an address after a few", e.Until.Format(time.RFC3339), e.reason)
	}
	return s
}

// Unwrap returns DSM's refusal.
func (e *LoginError) Unwrap() error {
	if e.Refused.IsZero() || e.lost > 0 {
		return nil
	}
	return &APIError{API: authAPI, Method: "login", Code: e.Code}
}

// plainURLError removes the URL from an error, since it holds the session's id.
func plainURLError(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// harmless is what a detail of an error may look like: the name of a parameter,
// and never a token.
var harmless = regexp.MustCompile(`^[a-z][a-z_]{1,30}$`)

// errorDetail returns what DSM says of a parameter: {"name": …, "reason": …}.
func errorDetail(raw json.RawMessage) string {
	var d struct{ Name, Reason string }
	if json.Unmarshal(raw, &d) != nil || !harmless.MatchString(d.Name) {
		return ""
	}
	if !harmless.MatchString(d.Reason) {
		return d.Name
	}
	return d.Name + ": " + d.Reason
}

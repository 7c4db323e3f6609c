package dnssynology

import (
	"bytes"
	"fmt"
	"html"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ServiceError is an answer of the DDNS service other than "good".
type ServiceError struct {
	Command  string // such as letsencrypt/create
	Hostname string // such as example.synology.me
	Code     string // such as badauth; lower-case letters, digits and underscores
}

// Error says what was asked, what came back, and what to do about it.
func (e *ServiceError) Error() string {
	return fmt.Sprintf("%s of %s: the DDNS service answered %q: %s", e.Command, e.Hostname, e.Code, verdictOn(e.Code).advice)
}

// RetryAfter is how long to wait before the same request makes sense again:
// an hour where somebody has to do something first, minutes where the service
// has trouble, zero where the caller may do as it likes.
func (e *ServiceError) RetryAfter() time.Duration { return verdictOn(e.Code).wait }

// verdict is what one of the service's codes means to us.
type verdict struct {
	advice string
	wait   time.Duration
	repeat bool // the same request may succeed within seconds
}

// verdictOn knows the codes that were seen in DSM 6.2.3, 2020; what they mean
// is told by their names only, so that the advice may miss the point.
func verdictOn(code string) verdict {
	const operator, trouble = time.Hour, 5 * time.Minute
	switch code {
	case "badauth":
		return verdict{"the service does not know these credentials (any more): run credentials.sh on the NAS again", operator, false}
	case "apikey_not_found":
		return verdict{"api_key is not known: run credentials.sh on the NAS again, while it is signed in to its Synology account", operator, false}
	case "badconn", "badresolv":
		return verdict{"it has trouble with its own network; try again later", 0, true}
	case "badsys", "unknown", "unknownlib":
		return verdict{"it has trouble of its own; try again later", trouble, false}
	case "badparam":
		return verdict{"it does not understand the request: the interface is unofficial and may have changed; compare commands in the configuration", operator, false}
	case "badhostname":
		return verdict{"it does not take this hostname: compare it with Control Panel > External Access > DDNS on the NAS", operator, false}
	case "host_not_found":
		return verdict{"nobody has this hostname: create it in Control Panel > External Access > DDNS on the NAS", operator, false}
	case "host_inused":
		return verdict{"somebody else has this hostname: choose another one on the NAS", operator, false}
	case "host_inused_by_yourhost":
		return verdict{"the hostname is yours already: if this is the NAS that has it, set commands.set_ip to \"POST hostname/update\"; if not, take the credentials of the NAS that has it", operator, false}
	case "host_expired":
		return verdict{"the hostname has expired: renew it in Control Panel > External Access > DDNS on the NAS, and switch the heartbeat on there or here", operator, false}
	case "serial_exceed_max_account_register":
		return verdict{"this NAS was registered with too many Synology accounts: ask Synology's support", operator, false}
	case "account_inused", "account_inused_by_you":
		return verdict{"the Synology account is in use elsewhere: sign the NAS in again in Control Panel > Synology Account, then run credentials.sh", operator, false}
	case "account_unverified", "need_verified":
		return verdict{"the Synology account is not verified yet: follow the link in Synology's e-mail, or sign in at account.synology.com", operator, false}
	case "account_disabled":
		return verdict{"the Synology account is disabled: see account.synology.com", operator, false}
	case "cant_reg_hostname":
		return verdict{"this NAS can't have the hostname (a NAS has one only): compare Control Panel > External Access > DDNS", operator, false}
	}
	return verdict{"this code is not known; the interface is unofficial and may have changed", trouble, false}
}

// ReplyError is a reply that the DDNS service can't have given, such as the
// page of a captive portal.
type ReplyError struct {
	Command  string // what was sent
	Hostname string // what for
	Status   int    // the HTTP status
	Problem  string // what is wrong with the reply
	Excerpt  string // how the reply begins, without control characters and secrets; may be empty
}

// Error says what was asked and what came back.
func (e *ReplyError) Error() string {
	text := fmt.Sprintf("%s of %s: the reply (HTTP status %d) is not one of the DDNS service: %s", e.Command, e.Hostname, e.Status, e.Problem)
	if e.Excerpt != "" {
		text += fmt.Sprintf("; it begins with %q", e.Excerpt)
	}
	return text + "; is there a proxy or a captive portal in between, or is endpoint wrong?"
}

// RequestError is a request that got no reply. It says nothing of whether the
// service has seen it.
type RequestError struct {
	Command  string
	Hostname string
	Err      error // never with the URL, which holds secrets
}

// Error says what was asked, and why there is no reply.
func (e *RequestError) Error() string {
	return fmt.Sprintf("%s of %s: no reply of the DDNS service: %v", e.Command, e.Hostname, e.Err)
}

// Unwrap returns the cause.
func (e *RequestError) Unwrap() error { return e.Err }

// excerptLength is how much of a foreign reply an error shows, in bytes.
const excerptLength = 120

// excerpt returns how a text begins, in one line of printable characters. A
// text that repeats a secret is withheld as a whole: a portal's page may hold
// the URL that was asked for, escaped in any way.
func excerpt(text []byte, secrets []string) string {
	if mentions(text, secrets) {
		return "(withheld: it repeats what was sent)"
	}
	var b strings.Builder
	space := false
	for _, r := range strings.ToValidUTF8(string(text), "?") {
		if unicode.IsSpace(r) {
			space = b.Len() > 0
			continue
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		if b.Len()+utf8.RuneLen(r)+1 > excerptLength {
			b.WriteString("…")
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// mentions tells whether a text holds one of the secrets, as it is or escaped
// for a URL, HTML, or JSON, up to three times over.
func mentions(text []byte, secrets []string) bool {
	current := text
	for range 4 {
		for _, secret := range secrets {
			if secret != "" && bytes.Contains(bytes.ToLower(current), bytes.ToLower([]byte(secret))) {
				return true
			}
		}
		next := []byte(html.UnescapeString(unescapeJSON(unescapePercent(string(current)))))
		if bytes.Equal(next, current) {
			return false
		}
		current = next
	}
	return false
}

// unescapePercent decodes %XX wherever it is one, and leaves the rest.
func unescapePercent(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// unescapeJSON decodes \/ and \uXXXX of ASCII, which is what secrets consist of.
func unescapeJSON(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			if s[i+1] == '/' || s[i+1] == '\\' || s[i+1] == '"' {
				continue // the character itself comes next
			}
			var c rune
			if n, _ := fmt.Sscanf(s[i+1:min(len(s), i+6)], "u%04x", &c); n == 1 && c < utf8.RuneSelf {
				b.WriteRune(c)
				i += 5
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

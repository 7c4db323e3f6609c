package synologytest

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Codes of a login.
const (
	loginWrong     = 400 // account or password
	loginOTPNeeded = 403
	loginOTPWrong  = 404
	loginBlocked   = 407

	noCode = -1 // success is false, and that is all
)

// DSM's defaults for blocking an address.
const (
	blockAfter  = 10
	blockWithin = 5 * time.Minute
)

// account is one that can log in.
type account struct {
	password string
	admin    bool
	otp      bool
	devices  map[string]string // names by token
}

// session is one that is open.
type session struct {
	account string
	token   string // empty: the session does without
}

// WithOTP asks for a second factor: a code, or the token of a device that a code
// was given for.
func WithOTP() DSMOption {
	return func(d *DSM) { d.accounts[d.Account].otp = true }
}

// WithoutAdmin makes the account one that is not in the group administrators.
func WithoutAdmin() DSMOption {
	return func(d *DSM) { d.accounts[d.Account].admin = false }
}

// WithDeviceKey has the reply to a login carry the device's token in another
// field than "did"; "device_id" is the other name that is known.
func WithDeviceKey(key string) DSMOption {
	return func(d *DSM) { d.deviceKey = key }
}

// login opens a session.
func (d *DSM) login(c *call) (any, *apiError) {
	if c.version != 7 {
		return nil, d.mistake(c, codeNoVersion, "only version 7 of login is known here")
	}
	if c.http.Method != http.MethodPost {
		return nil, d.mistake(c, codeNoRequest, "a login by "+c.http.Method)
	}
	for _, name := range []string{"account", "otp_code", "device_id"} {
		if c.query.Has(name) {
			return nil, d.mistake(c, codeBadParam, name+" in the query string, where logs show it")
		}
	}
	if c.text("passwd") == strconv.Quote(d.Password) || c.text("account") == strconv.Quote(d.Account) {
		return nil, d.mistake(c, codeBadParam, "quotes around a parameter that is not JSON")
	}
	if c.text("format") != "sid" {
		return nil, d.mistake(c, codeBadParam, "format is not sid")
	}
	for _, name := range []string{"enable_syno_token", "enable_device_token"} {
		if value := c.text(name); value != "" && value != "yes" && value != "no" {
			return nil, d.mistake(c, codeBadParam, name+" is neither yes nor no")
		}
	}
	if code := d.judge(c); code != 0 && code < loginWrong {
		return nil, &apiError{Code: code} // busy, say: nothing was judged
	} else if code != 0 {
		// Unknown: which refusals count for the block. Here all do.
		d.refused++
		d.failed = append(d.failed, d.now())
		if d.failedLately() >= blockAfter {
			d.blocked = true
		}
		return nil, &apiError{Code: code}
	}
	reply := d.open(c)
	if d.withoutSession.strike() != 0 {
		delete(reply, "sid")
	}
	return reply, nil
}

// judge returns the code that a login is refused with, or 0.
func (d *DSM) judge(c *call) int {
	if d.blocked {
		return loginBlocked
	}
	if code := d.failLogin.strike(); code != 0 {
		return code
	}
	a, ok := d.accounts[c.text("account")]
	if !ok || c.text("passwd") != a.password {
		return loginWrong
	}
	if !a.otp {
		return 0
	}
	if _, given := c.params["otp_code"]; given {
		if c.text("otp_code") != d.OTPSecretCode {
			return loginOTPWrong
		}
		return 0
	}
	// Unknown: that a token which DSM does not know is like none.
	if name, known := a.devices[c.text("device_id")]; !known || name != c.text("device_name") {
		return loginOTPNeeded
	}
	return 0
}

// failedLately is how many logins were refused within the time that counts.
func (d *DSM) failedLately() (n int) {
	for _, at := range d.failed {
		if d.now().Sub(at) < blockWithin {
			n++
		}
	}
	return n
}

// open makes a session, and the reply about it.
func (d *DSM) open(c *call) map[string]any {
	d.logins++
	a := d.accounts[c.text("account")]
	s := &session{account: c.text("account")}
	sid := d.secret("sid")
	d.sessions[sid] = s
	reply := map[string]any{"sid": sid, "account": s.account, "is_portal_port": false}
	if c.text("enable_syno_token") == "yes" {
		s.token = d.secret("synotoken")
		reply["synotoken"] = s.token
	}
	device := c.text("device_id")
	if _, known := a.devices[device]; !known {
		// There always is one, but unasked for it stands for nothing.
		device = d.secret("device")
		if c.text("enable_device_token") == "yes" && c.text("device_name") != "" {
			a.devices[device] = c.text("device_name")
		}
	}
	reply[d.deviceKey] = device
	return reply
}

func (d *DSM) secret(kind string) string {
	s := canary(kind)
	d.secrets = append(d.secrets, s)
	return s
}

// logout ends a session. Unknown: whether it needs the SynoToken; here it does not.
func (d *DSM) logout(c *call) (any, *apiError) {
	if failure := d.wantSID(c); failure != nil {
		return nil, failure
	}
	if _, ok := d.sessions[c.sid]; !ok {
		return nil, &apiError{Code: codeNoSession}
	}
	delete(d.sessions, c.sid)
	return nil, nil
}

// wantSID refuses a call that has no sid where it belongs.
func (d *DSM) wantSID(c *call) *apiError {
	switch {
	case c.body.Has("_sid"):
		return d.mistake(c, codeNoSession, "_sid in the body instead of the query string")
	case c.sid == "":
		return d.mistake(c, codeNoSession, "no _sid")
	}
	return nil
}

// admit finds a call's session, and refuses the call if it may not be made.
func (d *DSM) admit(c *call) *apiError {
	if failure := d.wantSID(c); failure != nil {
		return failure
	}
	s, ok := d.sessions[c.sid]
	if !ok {
		return &apiError{Code: codeNoSession}
	}
	if failure := d.checkToken(c, s); failure != nil {
		return failure
	}
	switch code := d.busy.strike(); code {
	case 0:
	case codeTimeout, codeDuplicate, codeNoSession:
		delete(d.sessions, c.sid)
		return &apiError{Code: code}
	default:
		return &apiError{Code: code}
	}
	if !d.accounts[s.account].admin {
		return &apiError{Code: codeNotAllowed}
	}
	c.session = s
	return nil
}

func (d *DSM) checkToken(c *call, s *session) *apiError {
	if c.body.Has("SynoToken") {
		return d.mistake(c, codeNoSession, "SynoToken in the body instead of the query string or X-SYNO-TOKEN")
	}
	for _, token := range []string{c.query.Get("SynoToken"), c.http.Header.Get("X-SYNO-TOKEN")} {
		if token != "" && token != s.token {
			return d.mistake(c, codeNoSession, fmt.Sprintf("a SynoToken that is not the session's (which has %d letters)", len(s.token)))
		}
		if token != "" {
			return nil
		}
	}
	if s.token != "" {
		return d.mistake(c, codeNoSession, "no SynoToken, though the login asked for one")
	}
	return nil
}

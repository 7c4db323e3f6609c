package synologytest

import "slices"

// Busy makes the next requests end with a code such as 117; a login and what needs
// no session are not among them. 106, 107 and 119 end the session besides.
func (d *DSM) Busy(code, times int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy = fault{code, times}
}

// FailLogin makes DSM refuse the next logins with a code, or without one if it is 0.
// Unknown: which count for the block. Here those from 400 on do.
func (d *DSM) FailLogin(code, times int) {
	if code == 0 {
		code = noCode
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failLogin = fault{code, times}
}

// Break makes the next requests, logins among them, be answered with a raw reply.
func (d *DSM) Break(body string, status, times int) {
	d.faults.setBroken(broken{body: body, status: status, times: times})
}

// BreakCall is Break for the requests of one method only, given as API and method
// with a space between them.
func (d *DSM) BreakCall(call, body string, status, times int) {
	d.faults.setBroken(broken{call: call, body: body, status: status, times: times})
}

// LoseReply is BreakCall, but DSM does what the requests want, and only its reply is
// replaced. With a status of 0 the connection ends without one.
func (d *DSM) LoseReply(call, body string, status, times int) {
	d.faults.setBroken(broken{call: call, body: body, status: status, times: times, late: true})
}

// WithoutSession makes the next logins succeed with a reply that has no session.
func (d *DSM) WithoutSession(times int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.withoutSession = fault{1, times}
}

// Hang makes requests wait until it is called with false, or the client is gone.
func (d *DSM) Hang(on bool) { d.faults.setHang(on) }

// ExpireSessions makes every sid unknown: code 119.
func (d *DSM) ExpireSessions() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.sessions)
}

// ForgetDevices makes every device token unknown.
func (d *DSM) ForgetDevices() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.accounts {
		clear(a.devices)
	}
}

// Unblock lifts the block, and begins to count anew for the next one.
func (d *DSM) Unblock() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blocked, d.failed = false, nil
}

// FailedLogins is how many logins were refused, for whatever reason.
func (d *DSM) FailedLogins() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused
}

// Logins is how many logins succeeded.
func (d *DSM) Logins() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.logins
}

// Sessions is how many are open now.
func (d *DSM) Sessions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.sessions)
}

// Blocked reports whether logins are refused with 407, because 10 were refused
// within 5 minutes.
func (d *DSM) Blocked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.blocked
}

// Secrets returns what must not appear in a log: the password, the code, and every
// sid, synotoken and device token that was handed out so far.
func (d *DSM) Secrets() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.secrets)
}

// Requests returns all requests so far, secrets included.
func (d *DSM) Requests() []DSMRequest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.requests)
}

package synologytest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

const listZones = "SYNO.DNSServer.Zone 1 list"

func TestLogin(t *testing.T) {
	c, _ := loggedIn(t, WithZone("example.com"))
	if c.sid == "" || c.token == "" || c.Sessions() != 1 || c.Logins() != 1 {
		t.Fatalf("sid %q, synotoken %q, %d sessions, %d logins", c.sid, c.token, c.Sessions(), c.Logins())
	}
	for _, secret := range []string{c.Password, c.OTPSecretCode, c.sid, c.token} {
		if !slices.Contains(c.Secrets(), secret) {
			t.Errorf("%s is not among the secrets", secret)
		}
	}
	const zones = `{"items":[{"domain_name":"example.com","domain_type":"forward","is_readonly":false,` +
		`"zone_enable":true,"zone_name":"example.com","zone_type":"master"}],"total":1}`
	c.want(t, zones, 0, listZones)
	if _, code := c.reply(t, c.query(listZones), nil); code != 0 {
		t.Errorf("by GET: code %d", code)
	}

	c.want(t, "", 0, "SYNO.API.Auth 7 logout")
	if c.Sessions() != 0 {
		t.Errorf("%d sessions after the logout", c.Sessions())
	}
	c.want(t, "", codeNoSession, listZones)
	c.want(t, "", codeNoSession, "SYNO.API.Auth 7 logout")

	requests := c.Requests()
	if r := requests[0]; r.API != "SYNO.API.Auth" || r.Version != 7 || r.Method != "login" || r.Params["passwd"] != c.Password {
		t.Errorf("the first request is %+v", r)
	}
	if r := requests[1]; r.Params["_sid"] != c.sid || r.Params["SynoToken"] != c.token {
		t.Errorf("the second request is %+v", r)
	}
}

func TestFingerprint(t *testing.T) {
	c := newClient(t, NewDSM(t))
	response, _, err := c.send(t.Context(), pairs("api", "SYNO.API.Info", "version", "1", "method", "query", "query", "all"), nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(response.TLS.PeerCertificates[0].Raw)
	if got := hex.EncodeToString(sum[:]); got != c.Fingerprint {
		t.Errorf("got %s, want %s", got, c.Fingerprint)
	}
	if _, err := http.Get(c.URL); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the CA file: %v", err)
	}
}

func TestTwoFactors(t *testing.T) {
	c := newClient(t, NewDSM(t, WithOTP(), WithDeviceKey("device_id")))
	refuse := func(want int, more ...string) {
		t.Helper()
		if _, code := c.login(t, more...); code != want {
			t.Errorf("login with %q: code %d, want %d", more, code, want)
		}
	}
	accept := func(more ...string) string {
		t.Helper()
		reply, code := c.login(t, more...)
		device, _ := reply["device_id"].(string)
		if code != 0 || !slices.Contains(c.Secrets(), device) {
			t.Fatalf("login with %q: code %d, device %q", more, code, device)
		}
		return device
	}
	refuse(loginOTPNeeded)
	refuse(loginOTPWrong, "otp_code", "x")
	unasked := accept("otp_code", c.OTPSecretCode)
	refuse(loginOTPNeeded, "device_name", "caddy", "device_id", unasked)
	device := accept("otp_code", c.OTPSecretCode, "enable_device_token", "yes", "device_name", "caddy")
	refuse(loginOTPNeeded, "device_name", "other", "device_id", device)
	refuse(loginWrong, "device_name", "caddy", "device_id", device, "passwd", "x")
	if again := accept("device_name", "caddy", "device_id", device); again != device {
		t.Errorf("another device token: %s, then %s", device, again)
	}
	c.ForgetDevices()
	refuse(loginOTPNeeded, "device_name", "caddy", "device_id", device)
	if c.FailedLogins() != 6 || c.Logins() != 3 {
		t.Errorf("%d failed logins and %d others", c.FailedLogins(), c.Logins())
	}
}

func TestBlock(t *testing.T) {
	d := NewDSM(t)
	var later time.Duration
	d.now = func() time.Time { return time.Now().Add(later) }
	c := newClient(t, d)
	wrong := func(n, want int) {
		t.Helper()
		for range n {
			if _, code := c.login(t, "passwd", "x"); code != want {
				t.Fatalf("code %d, want %d", code, want)
			}
		}
	}
	wrong(9, loginWrong)
	later = blockWithin // the nine don't count any more
	wrong(9, loginWrong)
	if d.Blocked() {
		t.Error("blocked after nine")
	}
	if _, code := c.login(t); code != 0 {
		t.Errorf("the right password after nine wrong ones: code %d", code)
	}
	wrong(1, loginWrong)
	if !d.Blocked() {
		t.Error("not blocked after ten")
	}
	later += time.Hour
	wrong(1, loginBlocked)
	if _, code := c.login(t); code != loginBlocked {
		t.Errorf("the right password: code %d", code)
	}
	if n := d.FailedLogins(); n != 21 {
		t.Errorf("%d failed logins, want 21", n)
	}
	d.Unblock()
	if _, code := c.login(t); code != 0 {
		t.Errorf("unblocked: code %d", code)
	}
}

func TestFailLogin(t *testing.T) {
	c := newClient(t, NewDSM(t))
	c.FailLogin(411, 1)
	if _, code := c.login(t); code != 411 || c.FailedLogins() != 1 {
		t.Errorf("code %d, %d failed logins", code, c.FailedLogins())
	}
	c.FailLogin(109, 2)
	for _, want := range []int{109, 109, 0} {
		if _, code := c.login(t); code != want || c.FailedLogins() != 1 {
			t.Errorf("code %d instead of %d, %d failed logins", code, want, c.FailedLogins())
		}
	}
}

// TestLoginStrict sends logins that no client should.
func TestLoginStrict(t *testing.T) {
	r := &recorder{TB: t}
	c := newClient(t, NewDSM(r))
	with := func(query url.Values, more ...string) url.Values {
		for name, values := range pairs(more...) {
			query[name] = values
		}
		return query
	}
	without := func(body url.Values, name string) url.Values { body.Del(name); return body }
	for _, test := range []struct {
		name        string
		query, body url.Values
		want        int
	}{
		{"by GET", with(loginQuery(), "account", c.Account, "passwd", c.Password, "format", "sid"), nil, codeBadParam},
		{"password in the query", with(loginQuery(), "passwd", c.Password), without(c.loginBody(), "passwd"), codeBadParam},
		{"code in the query", with(loginQuery(), "otp_code", "1"), c.loginBody(), codeBadParam},
		{"device token in the query", with(loginQuery(), "device_id", "1"), c.loginBody(), codeBadParam},
		{"password twice", with(loginQuery(), "passwd", "x"), c.loginBody(), codeNoRequest},
		{"quotes", loginQuery(), c.loginBody("passwd", `"`+c.Password+`"`), codeBadParam},
		{"unknown parameter", loginQuery(), c.loginBody("remember", "yes"), codeBadParam},
		{"missing parameter", loginQuery(), without(c.loginBody(), "account"), codeLost},
		{"cookie", loginQuery(), c.loginBody("format", "cookie"), codeBadParam},
		{"not yes", loginQuery(), c.loginBody("enable_syno_token", "true"), codeBadParam},
		{"version 6", with(loginQuery(), "version", "6"), c.loginBody(), codeNoVersion},
		{"no version", without(loginQuery(), "version"), c.loginBody(), codeNoRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, code := c.reply(t, test.query, test.body); code != test.want {
				t.Errorf("code %d, want %d", code, test.want)
			}
			if list := r.take(); len(list) != 1 {
				t.Errorf("got errors %q, want one", list)
			}
		})
	}
	if c.Logins() != 0 || c.FailedLogins() != 0 {
		t.Errorf("%d logins, %d failed ones", c.Logins(), c.FailedLogins())
	}
}

func TestSessions(t *testing.T) {
	c, r := loggedIn(t, WithZone("example.com"))
	c.ExpireSessions()
	c.want(t, "", codeNoSession, listZones)

	for _, code := range []int{106, 107, 119} {
		if _, refused := c.login(t); refused != 0 {
			t.Fatal(refused)
		}
		c.Busy(code, 1)
		c.want(t, "", code, listZones)
		c.want(t, "", codeNoSession, listZones)
	}
	if _, refused := c.login(t); refused != 0 {
		t.Fatal(refused)
	}
	for _, code := range []int{109, 110, 111, 117, 118, 150} {
		c.Busy(code, 2)
		c.want(t, "", code, listZones)
		c.want(t, "", code, listZones)
	}
	if _, code := c.call(t, listZones); code != 0 {
		t.Errorf("code %d after all that", code)
	}
	equal(t, "errors", r.take())
}

// TestSessionStrict makes calls whose session is in the wrong place.
func TestSessionStrict(t *testing.T) {
	c, r := loggedIn(t, WithZone("example.com"))
	without := func(name string) url.Values { q := c.query(listZones); q.Del(name); return q }
	other := c.query(listZones)
	other.Set("SynoToken", "another session's")
	for _, test := range []struct {
		name        string
		query, body url.Values
	}{
		{"no sid", without("_sid"), url.Values{}},
		{"sid in the body", without("_sid"), pairs("_sid", c.sid)},
		{"no token", without("SynoToken"), url.Values{}},
		{"token in the body", without("SynoToken"), pairs("SynoToken", c.token)},
		{"another token", other, url.Values{}},
	} {
		if _, code := c.reply(t, test.query, test.body); code != codeNoSession {
			t.Errorf("%s: code %d", test.name, code)
		}
		if list := r.take(); len(list) != 1 {
			t.Errorf("%s: got errors %q, want one", test.name, list)
		}
	}
	request, err := http.NewRequest(http.MethodGet, c.URL+"/webapi/entry.cgi?"+without("SynoToken").Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-SYNO-TOKEN", c.token)
	response, err := c.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	equal(t, "errors with the token in a header", r.take())
}

// TestWithoutToken has a session that did not ask for a token.
func TestWithoutToken(t *testing.T) {
	c := newClient(t, NewDSM(t, WithZone("example.com")))
	if reply, code := c.login(t, "enable_syno_token", "no"); code != 0 || reply["synotoken"] != nil {
		t.Fatalf("code %d, reply %v", code, reply)
	}
	if _, code := c.call(t, listZones); code != 0 {
		t.Errorf("code %d", code)
	}
}

func TestWithoutAdmin(t *testing.T) {
	c, _ := loggedIn(t, WithZone("example.com"), WithoutAdmin())
	c.want(t, "", codeNotAllowed, listZones)
}

func TestDSMFaults(t *testing.T) {
	c, _ := loggedIn(t, WithZone("example.com"))
	c.Break("<html>", http.StatusBadGateway, 1)
	response, text, err := c.send(t.Context(), c.query(listZones), nil)
	if err != nil || response.StatusCode != http.StatusBadGateway || string(text) != "<html>" {
		t.Errorf("%v, %v, %q", response, err, text)
	}
	c.BreakCall("SYNO.DNSServer.Zone list", "[", http.StatusOK, 1)
	c.BreakCall("SYNO.DNSServer.Zone list", "{", http.StatusOK, 1)
	if _, code := c.call(t, "SYNO.Core.Certificate.CRT 1 list"); code != 0 {
		t.Errorf("another call is broken, too: code %d", code)
	}
	if _, text, err := c.send(t.Context(), c.query(listZones), nil); err != nil || string(text) != "{" {
		t.Errorf("%v, %q", err, text)
	}

	c.Hang(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := c.send(ctx, c.query(listZones), url.Values{}); err == nil {
		t.Error("a reply from a DSM that hangs")
	}
	before := len(c.Requests())
	done := make(chan error)
	go func() {
		_, _, err := c.send(t.Context(), c.query(listZones), url.Values{})
		done <- err
	}()
	for len(c.Requests()) == before {
		runtime.Gosched()
	}
	c.Hang(false)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

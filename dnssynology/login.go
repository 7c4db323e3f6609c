package dnssynology

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	defaultDeviceName = "caddy-nas-registry"

	// loginTimeout bounds one login, with the wait for those of other instances.
	loginTimeout = 2 * time.Minute
)

// session is a login that DSM accepted.
type session struct {
	sid   string
	token string // against forged requests of browsers; empty where DSM wants none
}

// loginCredentials are what a login sends.
type loginCredentials struct {
	account, password string
	otp               string // empty where there is a device
	device, name      string // the token of a device, and the device's name
}

func (c *loginCredentials) hash(key []byte, url string) string {
	return keyedHash(key, url, c.account, c.password, c.otp, c.device)
}

// params returns them as DSM wants them.
func (c *loginCredentials) params() map[string]any {
	p := map[string]any{"account": c.account, "passwd": c.password, "format": "sid", "enable_syno_token": "yes"}
	switch {
	case c.device != "":
		p["device_name"], p["device_id"] = c.name, c.device
	case c.otp != "":
		p["otp_code"], p["enable_device_token"], p["device_name"] = c.otp, "yes", c.name
	}
	return p
}

// credentials returns what to log in with: the password as it is now, and the
// device's token if there is one, which makes the code unnecessary.
func (d *DSM) credentials(ctx context.Context, r *refusals) (*loginCredentials, error) {
	c := &loginCredentials{account: d.Account, password: d.Password, device: d.DeviceID, name: d.DeviceName}
	if d.PasswordFile != "" {
		var err error
		if c.password, err = readPasswordFile(d.PasswordFile); err != nil {
			return nil, err
		}
	}
	if c.name == "" {
		c.name = defaultDeviceName
	}
	if c.device != "" {
		return c, nil
	}
	known, err := r.device(ctx, d)
	if err != nil {
		return nil, err
	}
	if known != nil {
		c.device, c.name = known.Token, known.Name
		return c, nil
	}
	c.otp = d.OTPCode
	return c, nil
}

// maxPassword is far more than DSM accepts.
const maxPassword = 4 << 10

// readPasswordFile returns a file's content without the line break at its end. It
// is an error if others than its owner may read it.
func readPasswordFile(path string) (string, error) {
	// Opening a named pipe must not wait for its other end.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("reading password_file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", fmt.Errorf("reading password_file: %w", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("password_file %s is no regular file", path)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("password_file %s has mode %04o, so that others than its owner may use it: chmod 600 it", path, info.Mode().Perm())
	}
	content, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("reading password_file: %w", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	switch {
	case password == "":
		return "", fmt.Errorf("password_file %s is empty", path)
	case len(content) > maxPassword || strings.ContainsAny(password, "\n\x00"):
		return "", fmt.Errorf("password_file %s holds more than a line", path)
	}
	return password, nil
}

// device is a token that DSM gave for a code.
type device struct {
	Name  string `json:"name"`
	Token string `json:"token"`
}

// deviceKeys returns where the token is kept: for the code that it was given for,
// so that a new code replaces it, and for no code.
func deviceKeys(key []byte, url, account, otp string) []string {
	keys := []string{keyOfDevices + keyedHash(key, url, account, otp)}
	if otp != "" {
		keys = append(keys, keyOfDevices+keyedHash(key, url, account, ""))
	}
	return keys
}

// device returns the token that was given for d's code, or nil. While the memory
// can't be read that isn't known, and is an error: the code serves once only.
func (r *refusals) device(ctx context.Context, d *DSM) (*device, error) {
	for _, m := range r.memories {
		key, err := hashKey(ctx, m)
		if err != nil {
			return nil, err
		}
		value, err := m.Load(ctx, deviceKeys(key, r.url, d.Account, d.OTPCode)[0])
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("reading the device's token: %w", err)
		}
		known := new(device)
		if json.Unmarshal(value, known) == nil && known.Token != "" {
			return known, nil
		}
	}
	return nil, nil
}

// keepDevice stores the token that DSM gave.
func (r *refusals) keepDevice(ctx context.Context, c *loginCredentials, token string) error {
	value, err := json.Marshal(device{Name: c.name, Token: token})
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range r.memories {
		key, err := hashKey(ctx, m)
		if err == nil {
			for _, k := range deviceKeys(key, r.url, c.account, c.otp) {
				err = errors.Join(err, m.Store(ctx, k, value))
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// loginReply is what DSM answers a login with. The token of the device has had
// two names.
type loginReply struct {
	SID       string `json:"sid"`
	SynoToken string `json:"synotoken"`
	DID       string `json:"did"`
	DeviceID  string `json:"device_id"`
}

// login logs in, unless it is known that DSM would refuse. Of all instances in
// this process, one at a time does so at one URL.
func (w *webAPI) login(ctx context.Context) (*session, error) {
	unlock, err := w.refusals.lock(ctx)
	if err != nil {
		return nil, fmt.Errorf("logging in to %s: not tried: %w", w.url, err)
	}
	defer unlock()
	c, err := w.dsm.credentials(ctx, w.refusals)
	if err != nil {
		return nil, err
	}
	if err := w.refusals.check(ctx, c); err != nil {
		return nil, err
	}
	api, err := w.lookUp(ctx, authAPI) // not before: after a refusal DSM is asked nothing
	if err != nil {
		return nil, err
	}
	begun := w.refusals.now()
	end := func(s *loginState, _ []byte) error { s.end(begun); return nil }
	if err := w.refusals.update(ctx, func(s *loginState, key []byte) error {
		s.begin(pendingLogin{At: begun, Hash: c.hash(key, w.url), OTP: c.otp != ""})
		return nil
	}); err != nil {
		// Some memories may have it, and would make it the reason next time.
		_ = w.refusals.update(context.WithoutCancel(ctx), end)
		return nil, fmt.Errorf("logging in to %s: not tried, since a refusal could not be remembered: %w", w.url, err)
	}
	data, sent, err := w.sendLogin(ctx, api, c)
	if w.outdated(api, err) { // nothing was judged
		sent = false
		if api, err = w.lookUp(ctx, authAPI); err == nil {
			data, sent, err = w.sendLogin(ctx, api, c)
		}
	}

	// What is learnt now is kept also if the time is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var refused *APIError
	switch {
	case errors.As(err, &refused) && refused.refusedLogin():
		return nil, w.refuse(ctx, c, begun, refused.Code)
	case err != nil && sent && refused == nil:
		return nil, err // DSM may have counted it: it stays pending
	case err != nil: // nothing was sent, or DSM is busy
		_ = w.refusals.update(ctx, end)
		return nil, err
	}
	var reply loginReply
	if json.Unmarshal(data, &reply) != nil || reply.SID == "" {
		return nil, fmt.Errorf("logging in to %s: the reply has no session", w.url) // pending, too
	}
	// Should this fail, it counts as pending.
	_ = w.refusals.update(ctx, func(s *loginState, key []byte) error {
		s.end(begun)
		s.settle(c.hash(key, w.url))
		return nil
	})
	if token := cmp.Or(reply.DID, reply.DeviceID); token != "" && c.otp != "" {
		// Should it not be stored, this process has it all the same, and the
		// next one asks for another code.
		_ = w.refusals.keepDevice(ctx, c, token)
	}
	return &session{sid: reply.SID, token: reply.SynoToken}, nil
}

// refuse remembers a refused login, and returns the error that tells of it.
func (w *webAPI) refuse(ctx context.Context, c *loginCredentials, begun time.Time, code int) error {
	now := w.refusals.now()
	stored := w.refusals.update(ctx, func(s *loginState, key []byte) error {
		s.end(begun)
		s.refuse(c.hash(key, w.url), code, now)
		return nil
	})
	e := w.refusals.check(ctx, c)
	var known *LoginError
	if !errors.As(e, &known) {
		e = &LoginError{URL: w.url, Account: c.account, Refused: now, Code: code}
	}
	if stored != nil {
		return fmt.Errorf("%w; this is remembered until the process ends only: %w", e, stored)
	}
	return e
}

// sendLogin sends a login, again while DSM is busy, and tells whether DSM may have
// seen the last one.
func (w *webAPI) sendLogin(ctx context.Context, api *apiInfo, c *loginCredentials) (data json.RawMessage, sent bool, err error) {
	err = whileBusy(ctx, func() error {
		body, written, err := w.post(ctx, api, "login", c.params(), nil)
		sent = written
		if err == nil {
			data, err = openEnvelope(authAPI, "login", body)
		}
		return err
	})
	return data, sent, err
}

// logout ends a session.
func (w *webAPI) logout(ctx context.Context, s *session) error {
	api, err := w.lookUp(ctx, authAPI)
	if err != nil {
		return err
	}
	body, _, err := w.post(ctx, api, "logout", nil, s)
	if err == nil {
		_, err = openEnvelope(authAPI, "logout", body)
	}
	var refused *APIError
	if errors.As(err, &refused) && refused.expired() {
		return nil
	}
	return err
}

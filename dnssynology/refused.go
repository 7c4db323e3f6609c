package dnssynology

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// DSM blocks an address after ten failed logins in five minutes, by default. With
// these, nine are the most that any number of instances, restarts and requests
// to try again can come to, as long as they share this process or a [Memory] that
// can be locked. Hosts that share neither know nothing of one another.
const (
	refusedLimit  = 3 // different ones refused within refusedWindow: none for lockedFor
	refusedWindow = 24 * time.Hour
	lockedFor     = time.Hour

	// Logins whose answer never came may be failed ones; a process that died
	// meanwhile left one behind. So many of them, with any credentials, are all
	// within pendingWindow; with the same ones so many are all there are, and one
	// where a code was sent, which serves once. And RetryLogin has its limit too.
	pendingLimit  = 4
	lostLimit     = 3
	forcedLimit   = 2
	pendingWindow = 5 * time.Minute

	// So many refused logins, and so many without an answer, are remembered of
	// one URL.
	refusedKept = 64

	// Where they are in the Memory, with the hash of the URL at the end.
	keyOfHashes   = "dnssynology/key"
	keyOfLogins   = "dnssynology/logins/"
	keyOfDevices  = "dnssynology/devices/"
	lengthOfKey   = 32
	nameOfKeyLock = "dnssynology_key"     // of locks
	nameOfLock    = "dnssynology_logins_" // of locks, with the hash of the URL at the end
)

// loginState is what is remembered of the logins to one URL.
type loginState struct {
	Refused map[string]refusedLogin `json:"refused,omitempty"` // by hash of the credentials
	Until   time.Time               `json:"until,omitzero"`    // no login before
	Reason  string                  `json:"reason,omitempty"`  // of Until
	Pending []pendingLogin          `json:"begun,omitempty"`   // answer unknown
	Forced  []time.Time             `json:"forced,omitempty"`  // calls of RetryLogin
}

type refusedLogin struct {
	Code int       `json:"code"`
	At   time.Time `json:"at"`
}

// pendingLogin is a login that was begun, and whose answer isn't known: it is under
// way, was lost, or the process died.
type pendingLogin struct {
	At   time.Time `json:"at"`
	Hash string    `json:"hash,omitempty"` // of the credentials; empty once they may be tried anew
	OTP  bool      `json:"otp,omitempty"`  // a code was sent
}

func (p pendingLogin) within(d time.Duration, now time.Time) bool {
	return now.Sub(p.At) < d && p.At.Sub(now) < d
}

// check returns why a login must not be tried, or nil. hash is that of its
// credentials.
func (s *loginState) check(hash string, now time.Time) *LoginError {
	e := new(LoginError)
	if r, ok := s.Refused[hash]; ok {
		e.Refused, e.Code = r.At, r.Code
	} else {
		e.Refused, e.lost = s.lost(hash)
	}
	if s.locked(now) {
		e.Until, e.reason = s.Until, s.Reason
		if latest := now.Add(lockedFor); latest.Before(e.Until) {
			e.Until = latest
		}
	}
	var recent []time.Time
	for _, p := range s.Pending {
		if p.within(pendingWindow, now) {
			recent = append(recent, p.At)
		}
	}
	if len(recent) >= pendingLimit {
		if until := recent[0].Add(pendingWindow); until.After(e.Until) {
			e.Until, e.reason = until, fmt.Sprintf("%d logins have had no answer", len(recent))
		}
	}
	if e.Refused.IsZero() && e.Until.IsZero() {
		return nil
	}
	return e
}

// locked tells whether no login is tried before Until. A clock may be set back by as
// much as lockedFor; a time that lies further ahead comes from one that was wrong.
func (s *loginState) locked(now time.Time) bool {
	wait := s.Until.Sub(now)
	return wait > 0 && wait <= 2*lockedFor
}

// lost returns how many logins with these credentials had no answer, and when the
// last was, if they are so many that there must not be another one.
func (s *loginState) lost(hash string) (last time.Time, n int) {
	limit := lostLimit
	for _, p := range s.Pending {
		if p.Hash != hash {
			continue
		}
		last, n = p.At, n+1
		if p.OTP {
			limit = 1
		}
	}
	if n < limit {
		return time.Time{}, 0
	}
	return last, n
}

// begin notes a login before it is tried, so that it is known whatever happens.
func (s *loginState) begin(p pendingLogin) {
	s.Pending = append(slices.DeleteFunc(s.Pending, func(old pendingLogin) bool {
		return old.Hash == "" && !old.within(pendingWindow, p.At)
	}), p)
	s.Pending = s.Pending[max(len(s.Pending)-refusedKept, 0):]
}

// end removes what begin noted.
func (s *loginState) end(begun time.Time) {
	s.Pending = slices.DeleteFunc(s.Pending, func(p pendingLogin) bool { return begun.Equal(p.At) })
}

// settle lets the credentials be tried anew. Earlier logins without an answer still
// count among those of all credentials.
func (s *loginState) settle(hash string) {
	delete(s.Refused, hash)
	for i := range s.Pending {
		if s.Pending[i].Hash == hash {
			s.Pending[i].Hash = ""
		}
	}
}

// refuse notes that DSM refused a login.
func (s *loginState) refuse(hash string, code int, now time.Time) {
	if s.Refused == nil {
		s.Refused = map[string]refusedLogin{}
	}
	s.Refused[hash] = refusedLogin{Code: code, At: now}
	recent := 0
	for _, r := range s.Refused {
		if now.Sub(r.At) < refusedWindow {
			recent++
		}
	}
	switch {
	case code == 407:
		s.Until, s.Reason = now.Add(lockedFor), "DSM has blocked this host"
	case recent >= refusedLimit:
		s.Until, s.Reason = now.Add(lockedFor), fmt.Sprintf("%d different ones were refused", recent)
	}
	for len(s.Refused) > refusedKept {
		oldest := hash
		for h, r := range s.Refused {
			if r.At.Before(s.Refused[oldest].At) {
				oldest = h
			}
		}
		delete(s.Refused, oldest)
	}
}

// forget lets one login with these credentials be tried. Where nothing stands
// against them it does nothing, and doesn't count.
func (s *loginState) forget(hash string, now time.Time) error {
	if _, refused := s.Refused[hash]; !refused && !s.locked(now) {
		if _, lost := s.lost(hash); lost == 0 {
			return nil
		}
	}
	s.Forced = since(s.Forced, now, pendingWindow)
	if len(s.Forced) >= forcedLimit {
		return fmt.Errorf("a login was asked for %d times within %s; more could make DSM block this host: wait until %s",
			len(s.Forced), pendingWindow, s.Forced[0].Add(pendingWindow).Format(time.RFC3339))
	}
	s.Forced = append(s.Forced, now)
	s.settle(hash)
	s.Until, s.Reason = time.Time{}, ""
	return nil
}

// since returns the times of the last d.
func since(times []time.Time, now time.Time, d time.Duration) []time.Time {
	return slices.DeleteFunc(slices.Clone(times), func(t time.Time) bool { return now.Sub(t) >= d || t.Sub(now) >= d })
}

// refusals remember the logins to one URL that DSM refused, in all memories: this
// process's own, and the configured one. Nothing of them can be turned back into
// a password: what is stored is an HMAC with a random key of that Memory.
type refusals struct {
	url      string
	memories []Memory
	process  *locks
	now      func() time.Time
}

func newRefusals(url string, m Memory) *refusals {
	r := &refusals{url: url, memories: []Memory{processMemory}, process: &processLocks, now: time.Now}
	if m != nil {
		r.memories = append(r.memories, m)
	}
	return r
}

// check returns a [LoginError] if the login must not be tried, and another error
// if that isn't known: then it must not be tried either.
func (r *refusals) check(ctx context.Context, c *loginCredentials) error {
	for _, m := range r.memories {
		s, key, err := r.load(ctx, m)
		if err != nil {
			return fmt.Errorf("logging in to %s: not tried, since it isn't known whether it was refused before: %w", r.url, err)
		}
		if e := s.check(c.hash(key, r.url), r.now()); e != nil {
			e.URL, e.Account = r.url, c.account
			return e
		}
	}
	return nil
}

// update changes what is remembered, everywhere. Where the change fails, the
// other memories still have it.
func (r *refusals) update(ctx context.Context, change func(s *loginState, key []byte) error) error {
	var errs []error
	for _, m := range r.memories {
		s, key, err := r.load(ctx, m)
		if err == nil {
			if err = change(s, key); err == nil {
				err = r.store(ctx, m, key, s)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// forget lets one login with d's credentials be tried.
func (r *refusals) forget(ctx context.Context, d *DSM) error {
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	c, err := d.credentials(ctx, r)
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range r.memories {
		s, key, err := r.load(ctx, m)
		if errors.Is(err, errGarbled) { // the operator's word is a way out of it
			s, err = new(loginState), nil
		}
		if err == nil {
			if err = s.forget(c.hash(key, r.url), r.now()); err == nil {
				err = r.store(ctx, m, key, s)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// lock makes what is read and changed before unlock is called one step: in this
// process, and where a memory can be locked in all that share it.
func (r *refusals) lock(ctx context.Context) (unlock func(), err error) {
	var held []func()
	unlock = func() {
		for _, f := range slices.Backward(held) {
			f()
		}
	}
	f, err := r.process.lock(ctx, "login "+r.url)
	if err != nil {
		return nil, err
	}
	held = append(held, f)
	for _, m := range r.memories {
		key, err := hashKey(ctx, m)
		if err == nil {
			f, err = lockMemory(ctx, m, nameOfLock+keyedHash(key, r.url))
		}
		if err != nil {
			unlock()
			return nil, err
		}
		held = append(held, f)
	}
	return unlock, nil
}

var errGarbled = errors.New("what is stored can't be read; RetryLogin begins anew")

// load returns what a memory has, and its key.
func (r *refusals) load(ctx context.Context, m Memory) (*loginState, []byte, error) {
	key, err := hashKey(ctx, m)
	if err != nil {
		return nil, nil, err
	}
	s := new(loginState)
	value, err := m.Load(ctx, keyOfLogins+keyedHash(key, r.url))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s, key, nil
	case err != nil:
		return nil, nil, fmt.Errorf("reading what is remembered of logins: %w", err)
	case json.Unmarshal(value, s) != nil:
		return nil, key, fmt.Errorf("reading what is remembered of logins: %w", errGarbled)
	}
	return s, key, nil
}

func (r *refusals) store(ctx context.Context, m Memory, key []byte, s *loginState) error {
	value, err := json.Marshal(s)
	if err == nil {
		err = m.Store(ctx, keyOfLogins+keyedHash(key, r.url), value)
	}
	if err != nil {
		return fmt.Errorf("storing what is remembered of logins: %w", err)
	}
	return nil
}

package dnssynology

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// DSM blocks an address after ten failed logins in five minutes, by default. With
// these, nine are the most that any number of instances, restarts and requests
// to try again can come to.
const (
	refusedLimit  = 3 // different ones refused within refusedWindow: none for lockedFor
	refusedWindow = 24 * time.Hour
	lockedFor     = time.Hour

	// Logins whose answer never came may be failed ones; a process that died
	// meanwhile left one behind. And RetryLogin has its limit too.
	pendingLimit  = 4
	forcedLimit   = 2
	pendingWindow = 5 * time.Minute

	// So many refused logins are remembered of one URL.
	refusedKept = 64

	// Where they are in the Memory, with the hash of the URL at the end.
	keyOfHashes   = "dnssynology/key"
	keyOfLogins   = "dnssynology/logins/"
	keyOfDevices  = "dnssynology/devices/"
	lengthOfKey   = 32
	nameOfKeyLock = "key of hashes"
)

// loginState is what is remembered of the logins to one URL.
type loginState struct {
	Refused map[string]refusedLogin `json:"refused,omitempty"` // by hash of the credentials
	Until   time.Time               `json:"until,omitzero"`    // no login before
	Reason  string                  `json:"reason,omitempty"`  // of Until
	Pending []time.Time             `json:"pending,omitempty"` // begun, answer unknown
	Forced  []time.Time             `json:"forced,omitempty"`  // calls of RetryLogin
}

type refusedLogin struct {
	Code int       `json:"code"`
	At   time.Time `json:"at"`
}

// check returns why a login must not be tried, or nil. hash is that of its
// credentials.
func (s *loginState) check(hash string, now time.Time) *LoginError {
	e := new(LoginError)
	if r, ok := s.Refused[hash]; ok {
		e.Refused, e.Code = r.At, r.Code
	}
	// A time that lies further ahead comes from a clock that was wrong.
	if wait := s.Until.Sub(now); wait > 0 && wait <= lockedFor {
		e.Until, e.reason = s.Until, s.Reason
	}
	if recent := since(s.Pending, now, pendingWindow); len(recent) >= pendingLimit {
		if until := recent[0].Add(pendingWindow); until.After(e.Until) {
			e.Until, e.reason = until, fmt.Sprintf("%d logins have had no answer", len(recent))
		}
	}
	if e.Refused.IsZero() && e.Until.IsZero() {
		return nil
	}
	return e
}

// begin notes a login before it is tried, so that it is known whatever happens.
func (s *loginState) begin(now time.Time) {
	s.Pending = append(since(s.Pending, now, pendingWindow), now)
}

// end removes what begin noted.
func (s *loginState) end(begun time.Time) {
	s.Pending = slices.DeleteFunc(s.Pending, begun.Equal)
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

// forget lets one login with these credentials be tried.
func (s *loginState) forget(hash string, now time.Time) error {
	s.Forced = since(s.Forced, now, pendingWindow)
	if len(s.Forced) >= forcedLimit {
		return fmt.Errorf("a login was asked for %d times within %s; more could make DSM block this host: wait until %s",
			len(s.Forced), pendingWindow, s.Forced[0].Add(pendingWindow).Format(time.RFC3339))
	}
	s.Forced = append(s.Forced, now)
	delete(s.Refused, hash)
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
	now      func() time.Time
}

func newRefusals(url string, m Memory) *refusals {
	r := &refusals{url: url, memories: []Memory{processMemory}, now: time.Now}
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
	unlock, err := processLocks.lock(ctx, "login "+r.url)
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

// hashKey returns the memory's key, which the first call makes.
func hashKey(ctx context.Context, m Memory) ([]byte, error) {
	unlock, err := processLocks.lock(ctx, nameOfKeyLock)
	if err != nil {
		return nil, err
	}
	defer unlock()
	key, err := m.Load(ctx, keyOfHashes)
	if errors.Is(err, fs.ErrNotExist) {
		fresh := make([]byte, lengthOfKey)
		rand.Read(fresh) // never fails
		if err := m.Store(ctx, keyOfHashes, fresh); err != nil {
			return nil, fmt.Errorf("storing the key of what is remembered: %w", err)
		}
		// Another process may have been quicker.
		key, err = m.Load(ctx, keyOfHashes)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key of what is remembered: %w", err)
	}
	if len(key) != lengthOfKey {
		return nil, fmt.Errorf("the key of what is remembered, %s, has %d bytes and not %d: remove it", keyOfHashes, len(key), lengthOfKey)
	}
	return key, nil
}

// keyedHash returns the HMAC-SHA256 of parts in hexadecimal digits.
func keyedHash(key []byte, parts ...string) string {
	h := hmac.New(sha256.New, key)
	for _, part := range parts {
		// With its length, so that parts can't run into one another.
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}

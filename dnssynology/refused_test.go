package dnssynology

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
)

var allLoginCodes = []int{400, 401, 402, 403, 404, 406, 407, 408, 409, 410, 411}

// After each of the codes no further request is made, by nobody, also after a
// restart, before the credentials change or the operator asks.
func TestRefusedLogin(t *testing.T) {
	for _, code := range append(allLoginCodes, 499) {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			fake := synologytest.NewDSM(t)
			d := dsmAt(fake)
			fake.FailLogin(code, 1)
			w := apiTo(t, d)
			err := ask(t.Context(), w)
			var refused *LoginError
			var api *APIError
			if !errors.As(err, &refused) || refused.Code != code || !errors.As(err, &api) || api.Code != code {
				t.Fatalf("the refusal: %v", err)
			}
			if !strings.Contains(err.Error(), "RetryLogin") || !strings.Contains(err.Error(), fmt.Sprint("code ", code)) {
				t.Errorf("the error doesn't say what to do: %v", err)
			}
			noSecrets(t, fake, err)
			requests := len(fake.Requests())
			for range 3 {
				if again := ask(t.Context(), w); again == nil || again.Error() != err.Error() {
					t.Errorf("again: %v\nfirst: %v", again, err)
				}
			}
			if len(fake.Requests()) != requests {
				t.Error("a request was made after a refusal")
			}
			forgetProcess(t)
			if err := ask(t.Context(), apiTo(t, d)); !errors.As(err, &refused) || fake.FailedLogins() != 1 {
				t.Errorf("after a restart: %v, %d failed logins", err, fake.FailedLogins())
			}
			if err := (&Provider{DSM: d}).RetryLogin(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := ask(t.Context(), w); err != nil {
				t.Errorf("the operator asked: %v", err)
			}
		})
	}
}

// Ten wrong configurations, one after the other or all at once, with one store or
// each with its own, come to three failed logins, and DSM never blocks.
func TestTenWrongConfigurations(t *testing.T) {
	for _, shared := range []bool{true, false} {
		for _, together := range []bool{false, true} {
			t.Run(fmt.Sprintf("shared=%t,together=%t", shared, together), func(t *testing.T) {
				fake := synologytest.NewDSM(t)
				memory := new(volatile)
				var wg sync.WaitGroup
				for i := range 10 {
					d := dsmAt(fake)
					d.Password = fmt.Sprint("wrong ", i)
					if shared {
						d.Memory = memory
					}
					w := apiTo(t, d)
					try := func() {
						for range 3 {
							err := ask(t.Context(), w)
							var refused *LoginError
							if !errors.As(err, &refused) {
								t.Errorf("configuration %d: %v", i, err)
							}
							noSecrets(t, fake, err)
						}
					}
					if together {
						wg.Go(try)
					} else {
						try()
					}
				}
				wg.Wait()
				if fake.FailedLogins() != refusedLimit || fake.Blocked() {
					t.Fatalf("%d failed logins", fake.FailedLogins())
				}
				// The right one waits too, and says until when.
				d := dsmAt(fake)
				d.Memory = memory
				w := apiTo(t, d)
				var refused *LoginError
				if err := ask(t.Context(), w); !errors.As(err, &refused) || refused.Until.IsZero() || !refused.Refused.IsZero() {
					t.Errorf("the right configuration: %v", err)
				}
				// An hour later it does not.
				w.refusals.now = func() time.Time { return time.Now().Add(lockedFor + time.Second) }
				if err := ask(t.Context(), w); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Whatever an operator and broken replies do, DSM's ten are not reached.
func TestNeverBlocked(t *testing.T) {
	fake := synologytest.NewDSM(t)
	for i := range 30 {
		d := dsmAt(fake)
		d.Password = fmt.Sprint("wrong ", i)
		w := apiTo(t, d)
		if i < 8 { // DSM refuses, but its answer is lost
			fake.LoseReply(loginCall, "<html>", http.StatusOK, 1)
		}
		ask(t.Context(), w)
		fake.LoseReply(loginCall, "", http.StatusOK, 0)
		d.RetryLogin(t.Context())
		ask(t.Context(), w)
	}
	// All of them failed, those whose answer was lost too.
	if fake.Blocked() || fake.FailedLogins() > 9 || fake.FailedLogins() != logins(fake) {
		t.Errorf("%d failed logins of %d", fake.FailedLogins(), logins(fake))
	}
}

const loginCall = authAPI + " login"

// logins counts those that were sent.
func logins(fake *synologytest.DSM) (n int) {
	for _, r := range fake.Requests() {
		if r.Method == "login" {
			n++
		}
	}
	return n
}

// Guards against logins without limit where DSM's answer is neither a session nor one
// of the published refusals: each definite one is remembered, at once.
func TestOtherRefusals(t *testing.T) {
	for _, code := range []int{0, 100, 101, 103, 105, 119} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			fake := synologytest.NewDSM(t)
			fake.FailLogin(code, 99)
			for range 9 {
				var refused *LoginError
				if err := ask(t.Context(), apiTo(t, dsmAt(fake))); !errors.As(err, &refused) || refused.Code != max(code, 100) {
					t.Errorf("%v", err)
				}
			}
			if n := logins(fake); n != 1 {
				t.Errorf("%d logins", n)
			}
		})
	}
}

// Guards against the other side of it: a busy DSM has judged nothing.
func TestBusyLoginIsNoRefusal(t *testing.T) {
	fake := synologytest.NewDSM(t)
	fake.FailLogin(117, 2)
	if err := ask(t.Context(), apiTo(t, dsmAt(fake))); err != nil {
		t.Error(err)
	}
}

// Guards against a login that is repeated for ever, 4 in 5 minutes, because its answer
// never comes; and against a code of the second factor that is sent twice.
func TestLostAnswers(t *testing.T) {
	for name, lose := range map[string]func(*synologytest.DSM){
		"a gateway":  func(f *synologytest.DSM) { f.LoseReply(loginCall, "<html>", http.StatusBadGateway, 99) },
		"a web page": func(f *synologytest.DSM) { f.LoseReply(loginCall, "<html>", http.StatusOK, 99) },
		"cut":        func(f *synologytest.DSM) { f.LoseReply(loginCall, "", 0, 99) },
		"no session": func(f *synologytest.DSM) { f.WithoutSession(99) },
	} {
		for _, otp := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,otp=%t", name, otp), func(t *testing.T) {
				fake := synologytest.NewDSM(t)
				want := lostLimit
				d := dsmAt(fake)
				if otp {
					want, d.OTPCode = 1, fake.OTPSecretCode
				}
				lose(fake)
				now := time.Now()
				var err error
				for range 9 {
					now = now.Add(pendingWindow) // so that only what is known of these credentials counts
					w := apiTo(t, d)
					w.refusals.now = func() time.Time { return now }
					err = ask(t.Context(), w)
					noSecrets(t, fake, err)
					forgetProcess(t)
				}
				var refused *LoginError
				if !errors.As(err, &refused) || refused.Code != 0 || refused.Refused.IsZero() || errors.As(err, new(*APIError)) || !strings.Contains(err.Error(), "no answer came") {
					t.Errorf("%v", err)
				}
				if n := logins(fake); n != want {
					t.Errorf("%d logins, want %d", n, want)
				}
				fake.LoseReply(loginCall, "", http.StatusOK, 0)
				fake.WithoutSession(0)
				if err := d.RetryLogin(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := ask(t.Context(), apiTo(t, d)); err != nil {
					t.Errorf("the operator asked: %v", err)
				}
			})
		}
	}
}

// Guards against answers that were lost long ago counting after a login that succeeded.
func TestSuccessSettlesLostAnswers(t *testing.T) {
	fake := synologytest.NewDSM(t)
	w := apiTo(t, dsmAt(fake))
	now := time.Now()
	w.refusals.now = func() time.Time { return now }
	for range 4 {
		fake.ExpireSessions()
		fake.LoseReply(loginCall, "<html>", http.StatusOK, lostLimit-1)
		for range lostLimit - 1 {
			now = now.Add(pendingWindow)
			ask(t.Context(), w)
		}
		if err := ask(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
}

// lockedMemory is one that several processes share.
type lockedMemory struct {
	volatile
	locks locks
	held  sync.Map
}

func (m *lockedMemory) Lock(ctx context.Context, name string) error {
	unlock, err := m.locks.lock(ctx, name)
	if err == nil {
		m.held.Store(name, unlock)
	}
	return err
}

func (m *lockedMemory) Unlock(_ context.Context, name string) error {
	unlock, _ := m.held.LoadAndDelete(name)
	unlock.(func())()
	return nil
}

// Guards against processes that share a Memory and each have a login refused, since
// none sees what the others begin: with the lock they come to three.
func TestProcessesShareMemory(t *testing.T) {
	fake := synologytest.NewDSM(t)
	memory := new(lockedMemory)
	var wg sync.WaitGroup
	for i := range 10 {
		d := dsmAt(fake)
		d.Password, d.Memory = fmt.Sprint("wrong ", i), memory
		w := apiTo(t, d)
		w.refusals.memories = []Memory{new(volatile), memory}
		w.refusals.process = new(locks)
		wg.Go(func() { ask(t.Context(), w) })
	}
	wg.Wait()
	if n := logins(fake); n != refusedLimit {
		t.Errorf("%d logins", n)
	}
	memory.held.Range(func(name, _ any) bool { t.Errorf("%s is still locked", name); return true })
}

// Guards against requests to a DSM that has blocked this host: not even the list of
// APIs is asked for by a new process.
func TestNoRequestAfterRefusal(t *testing.T) {
	for _, code := range []int{400, 407} {
		fake := synologytest.NewDSM(t)
		d := dsmAt(fake)
		fake.FailLogin(code, 1)
		ask(t.Context(), apiTo(t, d))
		forgetProcess(t)
		requests := len(fake.Requests())
		var refused *LoginError
		if err := ask(t.Context(), apiTo(t, d)); !errors.As(err, &refused) {
			t.Errorf("%d: %v", code, err)
		}
		if n := len(fake.Requests()) - requests; n != 0 {
			t.Errorf("%d: %d requests after a restart", code, n)
		}
	}
}

// Guards against an operator's request that is used up by the blocks of one
// configuration, which all have the same NAS and account.
func TestRetryLoginForEachBlock(t *testing.T) {
	fake := synologytest.NewDSM(t)
	d := dsmAt(fake)
	for round := range forcedLimit + 1 {
		fake.FailLogin(400, 1)
		ask(t.Context(), apiTo(t, d))
		for range 3 {
			if err := d.RetryLogin(t.Context()); (err != nil) != (round == forcedLimit) {
				t.Errorf("round %d: %v", round, err)
			}
		}
	}
}

// What never reaches DSM counts for nothing.
func TestNetworkErrorIsNoRefusal(t *testing.T) {
	fake := synologytest.NewDSM(t)
	d := dsmAt(fake)
	right := d.Fingerprint
	d.Fingerprint = strings.Repeat("00", 32)
	for range 20 {
		if err := ask(t.Context(), apiTo(t, d)); err == nil {
			t.Fatal("a foreign certificate was trusted")
		}
	}
	d.Fingerprint = right
	if err := ask(t.Context(), apiTo(t, d)); err != nil {
		t.Error(err)
	}
}

// brokenMemory fails in one way or the other.
type brokenMemory struct {
	volatile
	load, store error
}

func (m *brokenMemory) Load(ctx context.Context, key string) ([]byte, error) {
	if m.load != nil {
		return nil, m.load
	}
	return m.volatile.Load(ctx, key)
}

func (m *brokenMemory) Store(ctx context.Context, key string, value []byte) error {
	if m.store != nil {
		return m.store
	}
	return m.volatile.Store(ctx, key, value)
}

// In doubt nothing is logged in: a refusal that isn't known, or couldn't be
// remembered, would be repeated.
func TestBrokenMemory(t *testing.T) {
	fake := synologytest.NewDSM(t)
	memory := &brokenMemory{load: fs.ErrPermission}
	d := dsmAt(fake)
	d.Memory = memory
	w := apiTo(t, d)
	if err := ask(t.Context(), w); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("unreadable: %v", err)
	}
	memory.load, memory.store = nil, fs.ErrPermission
	// Each time: what couldn't be stored must not count as a login without an answer.
	for range pendingLimit + 2 {
		if err := ask(t.Context(), w); !errors.Is(err, fs.ErrPermission) || errors.As(err, new(*LoginError)) {
			t.Errorf("not writable: %v", err)
		}
	}
	if fake.Logins() != 0 {
		t.Error("a login was made")
	}
	memory.store = nil
	if err := ask(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	fake.ExpireSessions()
	memory.values.Range(func(key, _ any) bool {
		if strings.HasPrefix(key.(string), keyOfLogins) {
			memory.values.Store(key, []byte("{garbled"))
		}
		return true
	})
	if err := ask(t.Context(), w); !errors.Is(err, errGarbled) {
		t.Errorf("garbled: %v", err)
	}
	if err := d.RetryLogin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ask(t.Context(), w); err != nil {
		t.Error(err)
	}
}

// Nothing that is stored shows the account, the password or the URL.
func TestStoredHashes(t *testing.T) {
	fake := synologytest.NewDSM(t)
	memory := new(volatile)
	d := dsmAt(fake)
	d.Memory, d.Password = memory, "a wrong password"
	ask(t.Context(), apiTo(t, d))
	found := 0
	memory.values.Range(func(key, value any) bool {
		found++
		text := key.(string) + string(value.([]byte))
		for _, shown := range []string{d.Account, d.Password, "127.0.0.1"} {
			if strings.Contains(text, shown) {
				t.Errorf("%s is stored: %s", shown, text)
			}
		}
		return true
	})
	if found != 2 {
		t.Errorf("%d values are stored", found)
	}
}

func TestLoginState(t *testing.T) {
	now := time.Now()
	s := new(loginState)
	for i := range refusedKept + 10 {
		s.refuse(fmt.Sprint(i), 400, now.Add(time.Duration(i)*time.Minute))
	}
	if len(s.Refused) != refusedKept || s.Refused["0"] != (refusedLogin{}) {
		t.Errorf("%d are kept", len(s.Refused))
	}
	// A clock that was in the next century doesn't lock for so long.
	s = &loginState{Until: now.AddDate(100, 0, 0)}
	if e := s.check("x", now); e != nil {
		t.Error(e)
	}
	// One that is set back a little doesn't end the hour, nor make it longer.
	s = new(loginState)
	s.refuse("x", 407, now)
	for _, back := range []time.Duration{time.Second, lockedFor} {
		if e := s.check("y", now.Add(-back)); e == nil || !e.Until.Equal(now.Add(lockedFor-back)) {
			t.Errorf("set back by %s: %v", back, e)
		}
	}
	if keyedHash(nil, "ab", "c") == keyedHash(nil, "a", "bc") {
		t.Error("parts of a hash run into one another")
	}
}

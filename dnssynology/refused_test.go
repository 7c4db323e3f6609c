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
			fake.BreakCall("SYNO.API.Auth login", "<html>", http.StatusOK, 1)
		}
		ask(t.Context(), w)
		fake.BreakCall("SYNO.API.Auth login", "", http.StatusOK, 0)
		d.RetryLogin(t.Context())
		ask(t.Context(), w)
	}
	if fake.Blocked() || fake.FailedLogins() > 9 {
		t.Errorf("%d failed logins", fake.FailedLogins())
	}
	logins := 0
	for _, r := range fake.Requests() {
		if r.Method == "login" {
			logins++
		}
	}
	if logins > 9 {
		t.Errorf("%d logins that may have failed", logins)
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
	if err := ask(t.Context(), w); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("not writable: %v", err)
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
	if keyedHash(nil, "ab", "c") == keyedHash(nil, "a", "bc") {
		t.Error("parts of a hash run into one another")
	}
}

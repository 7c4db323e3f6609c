package dnssynology

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
)

// dsmAt returns the settings that log in to a fake.
func dsmAt(fake *synologytest.DSM) *DSM {
	return &DSM{URL: fake.URL, Account: fake.Account, Password: fake.Password, Fingerprint: fake.Fingerprint, Memory: new(volatile)}
}

// apiTo returns a client that is closed with the test.
func apiTo(t *testing.T, d *DSM) *webAPI {
	t.Helper()
	w, err := newWebAPI(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.close(context.WithoutCancel(t.Context())) })
	return w
}

// ask makes a harmless call.
func ask(ctx context.Context, w *webAPI) error {
	return w.call(ctx, ddnsAPI, "list", nil, nil)
}

// noSecrets fails if an error shows what it must not.
func noSecrets(t *testing.T, fake *synologytest.DSM, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for _, secret := range fake.Secrets() {
			if strings.Contains(text, secret) {
				t.Errorf("an error shows a secret: %s", text)
			}
		}
	}
}

// forgetProcess makes the process a new one, as far as logins are concerned.
func forgetProcess(t *testing.T) {
	t.Helper()
	processMemory.(*volatile).values.Clear()
}

func TestLoginSharedAndLogout(t *testing.T) {
	fake := synologytest.NewDSM(t)
	w := apiTo(t, dsmAt(fake))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := ask(t.Context(), w); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if fake.Logins() != 1 || fake.Sessions() != 1 {
		t.Errorf("%d logins and %d sessions instead of one", fake.Logins(), fake.Sessions())
	}
	for range 2 {
		if err := w.close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if fake.Sessions() != 0 {
		t.Error("the session outlives close")
	}
	if err := ask(t.Context(), w); !errors.Is(err, errClosed) {
		t.Errorf("a call after close: %v", err)
	}
}

// The session ends in the middle of concurrent calls: one new login for all.
func TestSessionExpires(t *testing.T) {
	fake := synologytest.NewDSM(t)
	w := apiTo(t, dsmAt(fake))
	if err := ask(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	for round := 1; round <= 5; round++ {
		fake.ExpireSessions()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := ask(t.Context(), w); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if fake.Logins() != round+1 {
			t.Fatalf("%d logins after %d expired sessions", fake.Logins(), round)
		}
	}
}

func TestExpiredAndBusyCodes(t *testing.T) {
	for _, test := range []struct{ code, times, logins, wantCode int }{
		{106, 1, 2, 0}, {107, 1, 2, 0}, {119, 1, 2, 0}, {150, 1, 2, 0},
		{119, 9, 2, 119}, // renewed once only
		{109, 1, 1, 0}, {110, 1, 1, 0}, {111, 1, 1, 0}, {117, 2, 1, 0}, {118, 1, 1, 0},
		{105, 1, 1, 105}, {100, 1, 1, 100}, {114, 1, 1, 114},
	} {
		t.Run(fmt.Sprint(test.code, "×", test.times), func(t *testing.T) {
			t.Parallel()
			fake := synologytest.NewDSM(t)
			w := apiTo(t, dsmAt(fake))
			fake.Busy(test.code, test.times)
			err := ask(t.Context(), w)
			var refused *APIError
			if errors.As(err, &refused); (err != nil) != (test.wantCode != 0) || refused != nil && refused.Code != test.wantCode {
				t.Errorf("error %v, want code %d", err, test.wantCode)
			}
			if fake.Logins() != test.logins {
				t.Errorf("%d logins, want %d", fake.Logins(), test.logins)
			}
		})
	}
}

// A code serves once: the token that it was given for does the rest, also after a
// restart, and when the code is no longer configured.
func TestOTP(t *testing.T) {
	for _, key := range []string{"did", "device_id"} {
		t.Run(key, func(t *testing.T) {
			fake := synologytest.NewDSM(t, synologytest.WithOTP(), synologytest.WithDeviceKey(key))
			d := dsmAt(fake)
			d.OTPCode = fake.OTPSecretCode
			for restart := range 3 {
				forgetProcess(t)
				if restart == 2 {
					d.OTPCode = ""
				}
				w := apiTo(t, d)
				if err := ask(t.Context(), w); err != nil {
					t.Fatal(err)
				}
			}
			codes := 0
			for _, r := range fake.Requests() {
				if _, ok := r.Params["otp_code"]; ok {
					codes++
				}
			}
			if codes != 1 {
				t.Errorf("the code was sent %d times", codes)
			}
			// The token has become unknown: refused, and not asked for again
			// before there is a new code.
			fake.ForgetDevices()
			for range 2 {
				err := ask(t.Context(), apiTo(t, d))
				var refused *LoginError
				if !errors.As(err, &refused) || refused.Code != 403 || !strings.Contains(err.Error(), "otp_code") {
					t.Errorf("with a forgotten device: %v", err)
				}
				noSecrets(t, fake, err)
			}
			if fake.FailedLogins() != 1 {
				t.Errorf("%d failed logins", fake.FailedLogins())
			}
		})
	}
}

func TestPasswordFile(t *testing.T) {
	fake := synologytest.NewDSM(t)
	path := filepath.Join(t.TempDir(), "password")
	write := func(content string, mode os.FileMode) {
		t.Helper()
		os.Remove(path)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	d := dsmAt(fake)
	d.Password, d.PasswordFile = "", path
	w := apiTo(t, d)
	for _, test := range []struct {
		name, content string
		mode          os.FileMode
		want          string
	}{
		{"readable by others", fake.Password, 0o604, "chmod 600"},
		{"readable by the group", fake.Password, 0o640, "chmod 600"},
		{"empty", "\n", 0o600, "is empty"},
		{"lines", fake.Password + "\nmore\n", 0o600, "more than a line"},
		{"huge", strings.Repeat("x", maxPassword+1), 0o600, "more than a line"},
	} {
		write(test.content, test.mode)
		err := ask(t.Context(), w)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
		noSecrets(t, fake, err)
	}
	os.Remove(path)
	if err := ask(t.Context(), w); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	if fake.FailedLogins() != 0 {
		t.Error("a login was tried without a password")
	}
	// It is read at each login.
	write("wrong\n", 0o600)
	var refused *LoginError
	if err := ask(t.Context(), w); !errors.As(err, &refused) {
		t.Errorf("wrong: %v", err)
	}
	write(fake.Password+"\r\n", 0o400)
	if err := ask(t.Context(), w); err != nil {
		t.Error(err)
	}
}

// A caller that goes away leaves neither a login behind that nobody remembers,
// nor waits for it.
func TestHangingLogin(t *testing.T) {
	fake := synologytest.NewDSM(t)
	d := dsmAt(fake)
	d.Password = "wrong"
	w := apiTo(t, d)
	if _, err := w.lookUp(t.Context(), authAPI); err != nil {
		t.Fatal(err)
	}
	fake.Hang(true)
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := ask(ctx, w); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a hanging login: %v", err)
		}
		cancel()
	}
	fake.Hang(false)
	var refused *LoginError
	if err := ask(t.Context(), w); !errors.As(err, &refused) || refused.Code != 400 {
		t.Errorf("after it: %v", err)
	}
	if fake.FailedLogins() != 1 {
		t.Errorf("%d failed logins", fake.FailedLogins())
	}
}

// close waits for a login no longer than its context.
func TestCloseWhileHanging(t *testing.T) {
	fake := synologytest.NewDSM(t)
	w := apiTo(t, dsmAt(fake))
	if _, err := w.lookUp(t.Context(), authAPI); err != nil {
		t.Fatal(err)
	}
	fake.Hang(true)
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := ask(short, w); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w.close(ctx)
	if w.loggingIn != nil {
		t.Error("the login outlives close")
	}
}

// Guards against a named pipe that everything waits for, close too.
func TestPipes(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := exec.Command("mkfifo", "-m", "600", pipe).Run(); err != nil {
		t.Skip(err)
	}
	fake := synologytest.NewDSM(t)
	d := dsmAt(fake)
	d.Password, d.PasswordFile = "", pipe
	w := apiTo(t, d)
	if err := ask(t.Context(), w); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("password_file: %v", err)
	}
	d.Fingerprint, d.CAFile = "", pipe
	if _, err := newWebAPI(d); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("ca_file: %v", err)
	}
}

// Guards against a close that waits for what can't be cancelled, such as a read from
// a disk that hangs.
func TestCloseKeepsItsTime(t *testing.T) {
	w := apiTo(t, dsmAt(synologytest.NewDSM(t)))
	hung := make(chan struct{})
	defer close(hung)
	w.mu.Lock()
	w.start(time.Minute, func(context.Context) error { <-hung; return nil })
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := w.close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

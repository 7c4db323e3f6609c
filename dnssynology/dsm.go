package dnssynology

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"strings"
	"sync"
)

var errClosed = errors.New("the provider is closed")

// DSM says how a NAS's Web API is reached, and as whom.
type DSM struct {
	// URL is where DSM listens, such as "https://nas.lan:5001". Required. Plain
	// http is refused but on loopback, where nobody else can read the password.
	URL string `json:"url,omitempty"`

	// Account is a user in the group administrators. Required.
	Account string `json:"account,omitempty"`

	// Password is the account's; PasswordFile is a file that holds it, which
	// nobody but its owner may read. One of the two. The file is read at each
	// login, so that it may change; a line break at its end is not part of the
	// password.
	Password     string `json:"password,omitempty"`
	PasswordFile string `json:"password_file,omitempty"`

	// DeviceID is the token of a device that DSM trusts, so that it asks for no
	// second factor; DeviceName is the name that it was given under.
	// Default name: caddy-nas-registry.
	DeviceID   string `json:"device_id,omitempty"`
	DeviceName string `json:"device_name,omitempty"`

	// OTPCode is a code of the second factor, for the first login. The token
	// that DSM answers with is remembered by Memory and used from then on, also
	// when OTPCode is gone. Not used where DeviceID is set.
	OTPCode string `json:"otp_code,omitempty"`

	// CAFile is a PEM file with the authority of DSM's certificate, and
	// Fingerprint its SHA-256 fingerprint in hexadecimal digits, with or without
	// colons. At most one. A fingerprint stands for that very certificate, so
	// that neither its names nor its dates matter.
	// Default: the system's authorities.
	CAFile      string `json:"ca_file,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`

	// Memory keeps what must outlast the process: logins that were refused,
	// which are not tried again, and the device's token. Without it they are
	// remembered until the process ends. While it can't be read, nothing is
	// logged in: a refused login that isn't known would be repeated.
	Memory Memory `json:"-"`
}

// Memory is a small store; a certmagic.Storage is one. Where it also has that one's
// Lock and Unlock, the processes and hosts that share it log in one at a time, and
// what they remember is exact.
type Memory interface {
	// Load returns a value, or an error that is fs.ErrNotExist.
	Load(ctx context.Context, key string) ([]byte, error)
	Store(ctx context.Context, key string, value []byte) error
}

// RetryLogin lets the login be tried again, once, that DSM refused with these
// credentials, and ends the hour in which none is tried. It is for an operator
// who has put something right in DSM, not for a program. No request is made. Where
// nothing stands against a login it does nothing; twice within five minutes is all.
func (d *DSM) RetryLogin(ctx context.Context) error {
	base, err := d.check()
	if err != nil {
		return err
	}
	return newRefusals(base.String(), d.Memory).forget(ctx, d)
}

// RetryLogin is [DSM.RetryLogin] of the provider's DSM.
func (p *Provider) RetryLogin(ctx context.Context) error {
	if p.DSM == nil {
		return errors.New("no DSM is configured, and the DDNS service has no logins")
	}
	return p.DSM.RetryLogin(ctx)
}

// check returns the URL in its one spelling, or what is wrong with the settings. It
// reads no files.
func (d *DSM) check() (*url.URL, error) {
	switch {
	case d.URL == "":
		return nil, errors.New("dsm: the URL is missing, such as https://nas.lan:5001")
	case d.Account == "":
		return nil, errors.New("dsm: the account is missing: a user in the group administrators")
	case d.Password == "" && d.PasswordFile == "":
		return nil, errors.New("dsm: the password is missing: set password_file or password")
	case d.Password != "" && d.PasswordFile != "":
		return nil, errors.New("dsm: password and password_file exclude each other")
	case d.CAFile != "" && d.Fingerprint != "":
		return nil, errors.New("dsm: ca_file and fingerprint exclude each other")
	case d.Fingerprint != "":
		if _, err := parseFingerprint(d.Fingerprint); err != nil {
			return nil, err
		}
	}
	u, err := url.Parse(d.URL)
	if err != nil {
		return nil, errors.New("dsm: the URL can't be parsed") // it may hold a password
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch {
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("dsm: the URL has more than a scheme, a host and a path")
	case u.Hostname() == "":
		return nil, errors.New("dsm: the URL has no host: write https://nas.lan:5001")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("dsm: %s would send the password readable for everyone on the way: use https (port 5001) with ca_file or fingerprint", u)
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("dsm: the URL's scheme is %q, not https", u.Scheme)
	}
	if port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]; strings.HasSuffix(u.Host, port) {
		u.Host = strings.TrimSuffix(u.Host, port)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), ""
	return u, nil
}

// loopback tells whether a host of a URL never leaves this machine.
func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// processMemory is the memory of this process: the default, and beside every
// other one, so that what one instance was told holds for all of them, also
// where they have different stores, or one that doesn't store.
var processMemory Memory = new(volatile)

// volatile is a Memory that ends with the process.
type volatile struct{ values sync.Map }

// Load returns the value of a key.
func (v *volatile) Load(_ context.Context, key string) ([]byte, error) {
	if value, ok := v.values.Load(key); ok {
		return value.([]byte), nil
	}
	return nil, fs.ErrNotExist
}

// Store keeps a value, which is not changed afterwards.
func (v *volatile) Store(_ context.Context, key string, value []byte) error {
	v.values.Store(key, value)
	return nil
}

// locks are held for names, by one holder each.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	token chan struct{} // holds one value while nobody holds the lock
	users int           // holders and those who wait
}

// processLocks serialise the logins to a URL, and the writers of a zone, of all
// instances in this process: a reload has two of each for a while.
var processLocks locks

// lock waits for the lock of that name, or for ctx.
func (l *locks) lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*lock{}
	}
	k := l.held[name]
	if k == nil {
		k = &lock{token: make(chan struct{}, 1)}
		k.token <- struct{}{}
		l.held[name] = k
	}
	k.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(l.held, name)
		}
	}
	select {
	case <-k.token:
		return func() { k.token <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

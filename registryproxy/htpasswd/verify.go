package htpasswd

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"
)

const (
	// cacheSize bounds how many logins are remembered: 32 bytes and a time each.
	cacheSize = 4096
	// cacheTime is how long a login is remembered after its last use: a client at
	// work needs no bcrypt. Wrong ones are remembered as long, so that a machine
	// with an old password costs nothing and nobody else a login. A change of the
	// file ends both at once, since the stored hash is part of what is remembered.
	cacheTime = 15 * time.Minute
	// maxWait bounds how long a login waits for a processor.
	maxWait = 5 * time.Second
	// waitersPerRun is how many logins may wait for each that runs.
	waitersPerRun = 8
)

// errBusy means that so many passwords are being verified that another one is
// not even begun.
var errBusy = errors.New("too many logins at once")

// verifier compares passwords with hashes. It remembers successes, so that
// bcrypt runs once per client and not once per request, and bounds how much
// of the machine strangers can keep busy.
type verifier struct {
	key    []byte                          // of the HMAC; random
	macs   sync.Pool                       // of *keyed
	known  *lru.Cache[fingerprint, expiry] // successes
	wrong  *lru.Cache[fingerprint, expiry] // failures
	flight singleflight.Group
	runs   *semaphore.Weighted // bcrypt runs at once
	room   *semaphore.Weighted // those, and those that wait for them
	apart  *semaphore.Weighted // the same, of familiar clients: strangers can't take their place
	now    func() time.Time
}

type (
	fingerprint [sha256.Size]byte
	expiry      = time.Time
)

func newVerifier() (*verifier, error) {
	known, err := lru.New[fingerprint, expiry](cacheSize)
	if err != nil {
		return nil, err
	}
	wrong, err := lru.New[fingerprint, expiry](cacheSize)
	if err != nil {
		return nil, err
	}
	key := make([]byte, sha256.Size)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	// Half of the machine stays for requests of those who are known.
	runs := int64(max(1, runtime.GOMAXPROCS(0)/2))
	return &verifier{
		key:   key,
		known: known,
		wrong: wrong,
		runs:  semaphore.NewWeighted(runs),
		room:  semaphore.NewWeighted(runs * (1 + waitersPerRun)),
		apart: semaphore.NewWeighted(runs * waitersPerRun),
		now:   time.Now,
	}, nil
}

// keyed is an HMAC that is used again, and room for what it is made of: both
// would else be allocated for every request.
type keyed struct {
	hash   hash.Hash
	buffer []byte
}

// mac returns an HMAC over a client's network, a login and, if it is given, the
// user's hash, each with its length, so that no two have the same. What is
// remembered holds no password.
func (v *verifier) mac(network netip.Prefix, user, password string, hash []byte) (sum fingerprint) {
	k, _ := v.macs.Get().(*keyed)
	if k == nil {
		k = &keyed{hash: hmac.New(sha256.New, v.key)}
	}
	// Room for all at once: what grows leaves a copy behind.
	const most = 1 + 16 // of a network
	b := slices.Grow(k.buffer[:0], most+3*8+len(user)+len(password)+len(hash)+len(sum))
	if network.IsValid() {
		address := network.Addr().As16()
		b = append(b, byte(network.Bits())) //nolint:gosec // at most 128
		b = append(b, address[:]...)
	} else {
		b = append(b, 0xff)
	}
	b = append(binary.BigEndian.AppendUint64(b, uint64(len(user))), user...)
	b = append(binary.BigEndian.AppendUint64(b, uint64(len(password))), password...)
	if hash != nil {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(hash))), hash...)
	}
	k.hash.Reset()
	k.hash.Write(b)
	b = k.hash.Sum(b) // no room of its own on the heap
	copy(sum[:], b[len(b)-len(sum):])
	clear(b) // of the password
	k.buffer = b
	v.macs.Put(k)
	return sum
}

// isKnown reports whether user has logged in with password from a network before,
// and hash is still the user's. From anywhere else it is a guess, like any other.
func (v *verifier) isKnown(network netip.Prefix, user, password string, hash []byte) bool {
	sum := v.mac(network, user, password, hash)
	until, ok := v.known.Get(sum)
	now := v.now()
	switch {
	case !ok:
		return false
	case now.After(until):
		v.known.Remove(sum)
		return false
	case until.Sub(now) < cacheTime/2: // not on each request
		v.known.Add(sum, now.Add(cacheTime))
	}
	return true
}

// isWrong reports whether user has failed with password from a network a while ago,
// and hash is still what it was compared with. Who is elsewhere learns nothing.
func (v *verifier) isWrong(network netip.Prefix, user, password string, hash []byte) bool {
	until, ok := v.wrong.Get(v.mac(network, user, password, hash))
	return ok && v.now().Before(until)
}

// verify reports whether hash is that of password. Requests with the same user
// and password from a network share one run; failed is called once per run that
// found the password wrong, whoever is still there to hear of it. Familiar clients
// wait apart from others. The error is errBusy, or that of ctx.
func (v *verifier) verify(ctx context.Context, network netip.Prefix, user, password string, hash []byte, familiar bool, failed func(),
) (bool, error) {
	// The key is made of what the client sent, and of nothing else: it must not
	// tell apart what the client can't.
	sum := v.mac(network, user, password, nil)
	result := v.flight.DoChan(string(sum[:]), func() (any, error) {
		// A run serves several requests: it does not end with the first.
		ok, err := v.run(context.WithoutCancel(ctx), password, hash, familiar)
		if ok {
			v.known.Add(v.mac(network, user, password, hash), v.now().Add(cacheTime))
		} else if err == nil {
			v.wrong.Add(v.mac(network, user, password, hash), v.now().Add(cacheTime))
			failed()
		}
		return ok, err
	})
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case r := <-result:
		ok, _ := r.Val.(bool)
		return ok, r.Err
	}
}

func (v *verifier) run(ctx context.Context, password string, hash []byte, familiar bool) (bool, error) {
	room := v.room
	if familiar {
		room = v.apart
	}
	if !room.TryAcquire(1) {
		return false, errBusy
	}
	defer room.Release(1)
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	if v.runs.Acquire(ctx, 1) != nil {
		return false, errBusy
	}
	defer v.runs.Release(1)
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil, nil
}

package dnssynology

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// memoryLocker is what a [Memory] also has that several processes share, such as a
// certmagic.Storage.
type memoryLocker interface {
	Lock(ctx context.Context, name string) error
	Unlock(ctx context.Context, name string) error
}

// lockMemory locks a memory, if it can be.
func lockMemory(ctx context.Context, m Memory, name string) (unlock func(), err error) {
	l, ok := m.(memoryLocker)
	if !ok {
		return func() {}, nil
	}
	if err := l.Lock(ctx, name); err != nil {
		return nil, fmt.Errorf("locking what is remembered of logins: %w", err)
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		// Should this fail, the next one waits until its time is over.
		_ = l.Unlock(ctx, name)
	}, nil
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
		key, err = makeHashKey(ctx, m)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key of what is remembered: %w", err)
	}
	if len(key) != lengthOfKey {
		return nil, fmt.Errorf("the key of what is remembered, %s, has %d bytes and not %d: remove it", keyOfHashes, len(key), lengthOfKey)
	}
	return key, nil
}

// makeHashKey makes the memory's key, unless another process has been quicker.
func makeHashKey(ctx context.Context, m Memory) ([]byte, error) {
	unlock, err := lockMemory(ctx, m, nameOfKeyLock)
	if err != nil {
		return nil, err
	}
	defer unlock()
	key, err := m.Load(ctx, keyOfHashes)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	fresh := make([]byte, lengthOfKey)
	rand.Read(fresh) // never fails
	if err := m.Store(ctx, keyOfHashes, fresh); err != nil {
		return nil, fmt.Errorf("storing the key of what is remembered: %w", err)
	}
	// Where there is no lock, another process may have stored its own.
	return m.Load(ctx, keyOfHashes)
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

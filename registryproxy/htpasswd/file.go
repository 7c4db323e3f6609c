package htpasswd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

const (
	// checkInterval is how long a change of the file may go unnoticed.
	checkInterval = time.Second

	// settleTime is how old a file must be before its size and time of
	// modification tell it from a later one. File systems keep the time in
	// steps, up to two seconds on FAT.
	settleTime = 2 * time.Second

	// maxFile bounds the memory for a file, in bytes: some ten thousand users.
	maxFile = 1 << 20
)

// file is an htpasswd file that may change while it is in use. It is looked at
// when it is needed, once a second at the most: no watcher, nothing to stop,
// and it works on every file system.
type file struct {
	path    string
	users   atomic.Pointer[users] // nil: never read
	checkAt atomic.Int64          // when to look again, in Unix nanoseconds

	mu      sync.Mutex  // guards all following fields
	seen    fs.FileInfo // of the content that was read last
	settled bool        // seen tells every later content from that one
	lastErr string
}

// sameContent reports whether two looks at a file saw the same content, as far
// as inode, size and time of modification tell.
func sameContent(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// current returns the users of the file as it was a second ago or later. A
// file that can't be read leaves the users that were there, with one Warn.
func (f *file) current(now time.Time, logger *zap.Logger) *users {
	due := f.checkAt.Load()
	if now.UnixNano() >= due && f.checkAt.CompareAndSwap(due, now.Add(checkInterval).UnixNano()) {
		switch changed, err := f.refresh(now); {
		case err != nil && changed:
			logger.Warn("htpasswd file can't be used; its former users stay",
				zap.String("file", f.path), zap.Error(err))
		case changed:
			logger.Info("htpasswd file read", zap.String("file", f.path),
				zap.Int("users", len(f.users.Load().hashes)))
		}
	}
	if us := f.users.Load(); us != nil {
		return us
	}
	return &users{dummy: dummyHash(DefaultCost)}
}

// refresh reads the file if it is another than at the last call. It reports
// whether the outcome, users or error, is new.
func (f *file) refresh(now time.Time) (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()

	content, info, err := f.read()
	if err == nil && content == nil {
		return false, nil
	}
	var us *users
	if err == nil {
		f.seen, f.settled = info, now.Sub(info.ModTime()) > settleTime
		if us, err = parse(content); err != nil {
			err = fmt.Errorf("%s: %w", f.path, err)
		}
	}
	if err != nil {
		changed = f.lastErr != err.Error()
		f.lastErr = err.Error()
		// The next look reads again, whatever was seen.
		f.settled = false
		return changed, err
	}
	old := f.users.Load()
	changed = f.lastErr != "" || old == nil || !old.equal(us)
	f.lastErr = ""
	if changed {
		f.users.Store(us)
	}
	return changed, nil
}

// read returns the content, or nil if it is the one that was read before.
func (f *file) read() ([]byte, fs.FileInfo, error) {
	if f.settled {
		info, err := os.Stat(f.path)
		if err != nil {
			return nil, nil, describe(err)
		}
		if sameContent(info, f.seen) {
			return nil, nil, nil
		}
	}
	r, err := os.Open(f.path)
	if err != nil {
		return nil, nil, describe(err)
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return nil, nil, describe(err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("htpasswd file %s is not a regular file", f.path)
	}
	content, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, nil, describe(err)
	}
	if len(content) > maxFile {
		return nil, nil, fmt.Errorf("htpasswd file %s is larger than %d bytes", f.path, maxFile)
	}
	return content, info, nil
}

// describe adds to an error of the file system what to do about it.
func describe(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("htpasswd file is missing, make it with caddy registry-passwd or the option create: %w", err)
	}
	return fmt.Errorf("htpasswd file can't be read: %w", err)
}

func (us *users) equal(o *users) bool {
	if len(us.hashes) != len(o.hashes) {
		return false
	}
	for user, hash := range us.hashes {
		if string(o.hashes[user]) != string(hash) {
			return false
		}
	}
	return true
}

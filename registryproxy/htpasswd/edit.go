package htpasswd

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// DefaultCost is the cost of new hashes: some 60 ms of a processor per login.
const DefaultCost = bcrypt.DefaultCost

// ErrNoUser is returned by [Delete] for a user that has no line.
var ErrNoUser = errors.New("no such user")

// ErrUnusable is returned by [Set] and [Delete] for an edit that would leave a
// file that Caddy refuses, and so would have no effect.
var ErrUnusable = errors.New("the file could not be used, so nothing was changed")

// Set gives user the password, in the file at path, which is made if it is
// missing. All other lines stay as they are. Cost is 4 to 16.
func Set(path, user, password string, cost int) error {
	if err := CheckUser(user); err != nil {
		return err
	}
	if password == "" {
		return errors.New("the password is empty")
	}
	if cost < bcrypt.MinCost || cost > maxCost {
		return fmt.Errorf("cost %d is not between %d and %d", cost, bcrypt.MinCost, maxCost)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if errors.Is(err, bcrypt.ErrPasswordTooLong) {
		return errors.New("the password is longer than 72 bytes, which is all that bcrypt reads")
	} else if err != nil {
		return fmt.Errorf("hashing the password: %w", err)
	}
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return edit(path, setLine(content, user, user+":"+string(hash)))
}

// Delete removes the lines of user from the file at path.
func Delete(path, user string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	rest := setLine(content, user, "")
	if len(rest) == len(content) {
		return fmt.Errorf("%w: %s has no line in %s", ErrNoUser, user, path)
	}
	return edit(path, rest)
}

// edit replaces the file at path by one that can be used.
func edit(path string, content []byte) error {
	if _, err := parse(content); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnusable, path, err)
	}
	return writeFile(path, content)
}

// setLine puts line in the place of the first line of user, or at the end, and
// drops further ones. An empty line drops all. The rest stays byte for byte.
func setLine(content []byte, user, line string) []byte {
	var out strings.Builder
	for old := range strings.Lines(string(content)) {
		name, _, ok := strings.Cut(strings.TrimPrefix(old, "\xef\xbb\xbf"), ":")
		if !ok || name != user {
			out.WriteString(old)
			continue
		}
		if line != "" {
			out.WriteString(line + "\n")
			line = ""
		}
	}
	if line != "" {
		if s := out.String(); s != "" && !strings.HasSuffix(s, "\n") {
			out.WriteString("\n")
		}
		out.WriteString(line + "\n")
	}
	return []byte(out.String())
}

// create makes the file at path with one user, and returns the password. It
// reports false if there is a file already.
func create(path, user string) (password string, made bool, err error) {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", false, err
	}
	password = rand.Text()
	return password, true, Set(path, user, password, DefaultCost)
}

// writeFile replaces the file at path in one step, with mode 0600. A file that
// is replaced keeps its owner, where we may give it away: otherwise root would
// take it from a Caddy that doesn't run as root.
func writeFile(path string, content []byte) (err error) {
	// A symbolic link stays one.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp.Name()))
		}
	}()
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err = keepOwner(tmp.Name(), path); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

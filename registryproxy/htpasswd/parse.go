package htpasswd

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxCost is the greatest cost of a hash that a file may hold. Each step
// doubles the time: at 16 a login takes about four seconds of a processor.
const maxCost = 16

// users are the entries of a file. They don't change.
type users struct {
	hashes map[string][]byte
	// dummy is compared with the password of an unknown user, so that it takes
	// as long as a known one. Its cost is the highest in the file.
	dummy []byte
}

// ParseError says what is wrong with a line of a file. It never holds a hash
// or a password.
type ParseError struct {
	Line   int // from 1
	Reason string
}

func (e *ParseError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// parse reads an htpasswd file: a user, a colon and a bcrypt hash on each
// line. Empty lines and those that begin with # don't count.
//
// Source: https://httpd.apache.org/docs/2.4/misc/password_encryptions.html
func parse(content []byte) (*users, error) {
	us := &users{hashes: make(map[string][]byte)}
	cost := 0
	for i, line := range splitLines(content) {
		if isIgnored(line) {
			continue
		}
		failed := func(format string, args ...any) (*users, error) {
			return nil, &ParseError{Line: i + 1, Reason: fmt.Sprintf(format, args...)}
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok {
			return failed("there is no colon between a user and a hash")
		}
		if err := CheckUser(user); err != nil {
			return failed("%v", err)
		}
		if _, ok := us.hashes[user]; ok {
			return failed("user %s has a line already", user)
		}
		c, err := hashCost(hash)
		if err != nil {
			return failed("the entry of user %s %v; write it anew with: caddy registry-passwd --file FILE %s", user, err, user)
		}
		cost = max(cost, c)
		us.hashes[user] = []byte(hash)
	}
	if len(us.hashes) == 0 {
		return nil, &ParseError{Line: 1, Reason: "the file holds no user; add one with: caddy registry-passwd --file FILE USER"}
	}
	us.dummy = dummyHash(cost)
	return us, nil
}

// splitLines cuts content into lines without their ends, and drops the byte
// order mark that some editors put first.
func splitLines(content []byte) []string {
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	lines := strings.Split(string(content), "\n")
	for i := range lines {
		lines[i] = strings.TrimSuffix(lines[i], "\r")
	}
	return lines
}

func isIgnored(line string) bool {
	return strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#")
}

// CheckUser says why name can't be the name of a user in a file.
func CheckUser(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the user's name is empty")
	case len(name) > 255:
		return fmt.Errorf("the user's name is longer than 255 bytes")
	case strings.HasPrefix(name, "#"):
		return fmt.Errorf("a user's name can't begin with #")
	case strings.Contains(name, ":"):
		return fmt.Errorf("a user's name can't hold a colon")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("the user's name %q holds a character that can't be printed", name)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("the user's name %q begins or ends with a space", name)
	}
	return nil
}

const (
	hashLength = 60
	hashPrefix = len("$2y$10$")
	// hashAlphabet is bcrypt's own Base64.
	hashAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// hashCost returns the cost of a bcrypt hash, or what is wrong with it.
func hashCost(hash string) (int, error) {
	if len(hash) < 4 || hash[:2] != "$2" || !strings.ContainsRune("aby", rune(hash[2])) || hash[3] != '$' {
		return 0, fmt.Errorf("is not a bcrypt hash but %s", describeFormat(hash))
	}
	if len(hash) != hashLength || hash[6] != '$' || strings.Trim(hash[hashPrefix:], hashAlphabet) != "" {
		return 0, fmt.Errorf("is a damaged bcrypt hash")
	}
	cost, err := strconv.Atoi(hash[4:6])
	if err != nil || cost < 4 {
		return 0, fmt.Errorf("is a damaged bcrypt hash")
	}
	if cost > maxCost {
		return 0, fmt.Errorf("has cost %d, above %d a login takes too long", cost, maxCost)
	}
	return cost, nil
}

// describeFormat names the format of an entry that isn't bcrypt.
func describeFormat(hash string) string {
	for prefix, name := range map[string]string{
		"{SHA}": "SHA-1", "{SSHA}": "salted SHA-1", "$apr1$": "Apache's MD5", "$1$": "MD5",
		"$5$": "SHA-256", "$6$": "SHA-512", "$argon2": "Argon2", "$y$": "yescrypt", "$2": "an unknown kind of bcrypt",
	} {
		if strings.HasPrefix(hash, prefix) && (prefix != "$2" || len(hash) > 2) {
			return name
		}
	}
	return "plain text or an unknown format"
}

// dummyHash returns a well-formed hash of the given cost to which no password
// is known.
func dummyHash(cost int) []byte {
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat("N", hashLength-hashPrefix))
}

package htpasswd

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// hashOfSecret returns a cheap hash of the password "secret".
func hashOfSecret(t testing.TB) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func TestParse(t *testing.T) {
	hash := hashOfSecret(t)
	for _, tc := range []struct {
		name, content string
		users         []string
	}{
		{"one", "alice:" + hash + "\n", []string{"alice"}},
		{"no newline at the end", "alice:" + hash, []string{"alice"}},
		{"comments, empty lines, CRLF, byte order mark",
			"\xef\xbb\xbf# users\r\n\r\nalice:" + hash + "\r\n  \r\nbob:" + hash + "\r\n", []string{"alice", "bob"}},
		{"each kind", "a:$2a" + hash[3:] + "\nb:$2b" + hash[3:] + "\nc:$2y" + hash[3:], []string{"a", "b", "c"}},
		{"names beyond ASCII", "Jürgen Müller:" + hash, []string{"Jürgen Müller"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			us, err := parse([]byte(tc.content))
			if err != nil {
				t.Fatal(err)
			}
			if len(us.hashes) != len(tc.users) {
				t.Errorf("%d users, want %v", len(us.hashes), tc.users)
			}
			for _, user := range tc.users {
				if bcrypt.CompareHashAndPassword(us.hashes[user], []byte("secret")) != nil {
					t.Errorf("user %s has another password", user)
				}
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	hash := hashOfSecret(t)
	good := "alice:" + hash + "\n"
	for _, tc := range []struct {
		name, content string
		line          int
		says          string
	}{
		{"empty", "", 1, "no user"},
		{"comments only", "# nobody\n", 1, "no user"},
		{"no colon", good + "bob\n", 2, "no colon"},
		{"no name", ":" + hash, 1, "empty"},
		{"twice", good + "\n" + good, 3, "user alice has a line already"},
		{"plain text", good + "bob:hunter2\n", 2, "plain text"},
		{"empty password", "bob:\n", 1, "plain text"},
		{"SHA-1", "bob:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", 1, "SHA-1"},
		{"Apache's MD5", "bob:$apr1$x$y", 1, "Apache's MD5"},
		{"SHA-512", "bob:$6$salt$hash", 1, "SHA-512"},
		{"half-written", good + "bob:" + hash[:40], 2, "damaged"},
		{"too long", "bob:" + hash + "x", 1, "damaged"},
		{"a character that is none of bcrypt's", "bob:" + hash[:59] + "!", 1, "damaged"},
		{"cost is no number", "bob:$2y$xx$" + hash[7:], 1, "damaged"},
		{"cost too low", "bob:$2y$03$" + hash[7:], 1, "damaged"},
		{"cost too high", "bob:$2y$31$" + hash[7:], 1, "takes too long"},
		{"unknown bcrypt", "bob:$2x$10$" + hash[7:], 1, "unknown kind of bcrypt"},
		{"a third field", "bob:" + hash + ":more", 1, "damaged"},
		{"control character", "bo\x1bb:" + hash, 1, "can't be printed"},
		{"not UTF-8", "bo\xffb:" + hash, 1, "can't be printed"},
		{"space before", " bob:" + hash, 1, "begins or ends with a space"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := parse([]byte(tc.content))
			var e *ParseError
			if !errors.As(err, &e) || e.Line != tc.line || !strings.Contains(e.Reason, tc.says) {
				t.Fatalf("got %v, want line %d: %s", err, tc.line, tc.says)
			}
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), hash[7:40]) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("alice:" + hashOfSecret(f) + "\n# x\r\nbob:{SHA}x"))
	f.Add([]byte("\xef\xbb\xbf:\n:"))
	f.Fuzz(func(t *testing.T, content []byte) {
		us, err := parse(content)
		if err != nil {
			return
		}
		for user, hash := range us.hashes {
			cost, err := bcrypt.Cost(hash)
			if err != nil || cost > maxCost || CheckUser(user) != nil {
				t.Errorf("accepted %q %q: %v", user, hash, err)
			}
			if dummy, err := bcrypt.Cost(us.dummy); err != nil || dummy < cost {
				t.Errorf("the dummy costs %d (%v), user %q %d", dummy, err, user, cost)
			}
			// A file that we rewrite keeps everybody else.
			again, err := parse(setLine(content, "somebody else", "somebody else:"+string(hash)))
			if _, ok := us.hashes["somebody else"]; !ok && (err != nil || len(again.hashes) != len(us.hashes)+1) {
				t.Errorf("after adding a user: %v", err)
			}
		}
	})
}

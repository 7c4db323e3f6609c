package access

import (
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

var (
	// The expression of the OCI distribution specification.
	specName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

	anchoredTag = regexp.MustCompile(`^(?:` + reference.TagRegexp.String() + `)$`)

	// The expression of the reference registry's route.
	uploadID = regexp.MustCompile(`^[a-zA-Z0-9-_.=]+$`)
)

func TestLengths(t *testing.T) {
	tests := []struct {
		name string
		got  bool
		want bool
	}{
		{"name of 255", isName(strings.Repeat("a", 255)), true},
		{"name of 256", isName(strings.Repeat("a", 256)), false},
		{"name of 256 in segments", isName(strings.Repeat("a/", 127) + "aa"), false},
		{"tag of 128", isTag(strings.Repeat("a", 128)), true},
		{"tag of 129", isTag(strings.Repeat("a", 129)), false},
		{"upload in the same folder", isUploadID("."), false},
		{"upload in the folder above", isUploadID(".."), false},
		{"three dots", isUploadID("..."), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.got != test.want {
				t.Errorf("accepted: %t, want %t", test.got, test.want)
			}
		})
	}
}

// FuzzGrammar holds the hand-written grammar against the expressions that the
// reference registry uses.
func FuzzGrammar(f *testing.F) {
	for _, seed := range []string{
		"", "a", "a/b", "a//b", "a.b", "a..b", "a__b", "a___b", "a---b", "a._b", "a-_b", "-a", "a-", "a/", "/a",
		"A/b", "a.b:5/c", "[::1]/a", "a\n", "v1.0", ".a", "_a", "a:b", strings.Repeat("a", 129), strings.Repeat("a", 256),
		"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "a+b:c=", "a:", ":a", "a+:b", "a=b", "..",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := isName(s), specName.MatchString(s) && len(s) <= reference.RepositoryNameTotalLengthMax; got != want {
			t.Errorf("isName(%q) = %t, want %t", s, got, want)
		}
		named, err := reference.WithName(s)
		if isName(s) && (err != nil || named.Name() != s) {
			t.Errorf("the registry reads repository %q as %v: %v", s, named, err)
		}
		if err == nil && len(s) <= maxNameLength && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789._-/") == "" && !isName(s) {
			t.Errorf("repository %q is refused", s)
		}
		if got, want := isTag(s), anchoredTag.MatchString(s); got != want {
			t.Errorf("isTag(%q) = %t, want %t", s, got, want)
		}
		if got, want := isDigest(s), digest.DigestRegexpAnchored.MatchString(s); got != want {
			t.Errorf("isDigest(%q) = %t, want %t", s, got, want)
		}
		if got, want := isUploadID(s), uploadID.MatchString(s) && s != "." && s != ".."; got != want {
			t.Errorf("isUploadID(%q) = %t, want %t", s, got, want)
		}
	})
}

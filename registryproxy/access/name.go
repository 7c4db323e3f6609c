package access

// The grammar of the distribution API, by hand: it is read on every request,
// and a regular expression takes longer than the rest of the rules together.
// The fuzz tests hold it against the expressions of the reference packages.

const (
	maxNameLength = 255 // of a repository, as in github.com/distribution/reference
	maxTagLength  = 128
)

// isName reports whether s is a repository name:
//
//	[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*
//
// Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
func isName(s string) bool {
	if s == "" || len(s) > maxNameLength {
		return false
	}
	last := byte('/') // the character before, as if the name began after a slash
	run := 0          // how many separators stand in a row
	for i := range len(s) {
		c := s[i]
		switch {
		case isLowerAlphanumeric(c):
			run = 0
		case c == '/' || c == '.' || c == '_' || c == '-':
			run++
			ok := run == 1 && last != '/' ||
				run == 2 && c == '_' && last == '_' ||
				run >= 2 && c == '-' && last == '-'
			if !ok {
				return false
			}
		default:
			return false
		}
		last = c
	}
	return isLowerAlphanumeric(last)
}

// isTag reports whether s is a tag: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
func isTag(s string) bool {
	if s == "" || len(s) > maxTagLength || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// isDigest reports whether s is a digest of any algorithm:
//
//	[a-z0-9]+([+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+
//
// Source: https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests
func isDigest(s string) bool {
	separator := true // an algorithm neither begins nor ends with one
	for i := range len(s) {
		c := s[i]
		switch {
		case isLowerAlphanumeric(c):
			separator = false
		case separator:
			return false
		case c == ':':
			return isEncoded(s[i+1:])
		case c == '+' || c == '.' || c == '_' || c == '-':
			separator = true
		default:
			return false
		}
	}
	return false
}

// isEncoded reports whether s is the part of a digest after the colon.
func isEncoded(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '=' && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

// isUploadID reports whether s may identify an upload: [a-zA-Z0-9-_.=]+, as in
// the reference registry, save for the two names that mean a folder.
func isUploadID(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '_' && c != '.' && c != '=' {
			return false
		}
	}
	return s != "" && s != "." && s != ".."
}

func isLowerAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
}

func isAlphanumeric(c byte) bool {
	return isLowerAlphanumeric(c) || 'A' <= c && c <= 'Z'
}

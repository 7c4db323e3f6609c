// Package redact removes from texts what DNS providers should not have put there.
package redact

import (
	"cmp"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// inURL is what may be a secret in a URL, which HTTP clients put in their errors.
var inURL = regexp.MustCompile(`(://)[^/@\s"]+@|\?[^\s"]+`)

// Text returns a text with all secrets, and the users and queries of URLs, replaced
// by "…".
func Text(text string, secrets []string) string {
	text = inURL.ReplaceAllString(text, "${1}…")
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "…")
	}
	return text
}

// secretName is how the fields of providers are called that hold secrets, or what
// belongs to one; tokenName those that hold one for certain.
var (
	secretName = regexp.MustCompile(`(?i)token|key|secret|pass|auth|credential`)
	tokenName  = regexp.MustCompile(`(?i)token$|secret$|password$|(^|api_?|auth_?)key$`)
)

// SecretsOf returns the values of a provider's secret fields, the longest first, so
// that none hides in another.
func SecretsOf(module any) []string {
	encoded, err := json.Marshal(module)
	if err != nil {
		return nil
	}
	var secrets []string
	EachString(encoded, func(path, value string) {
		// Shorter ones would make a text unreadable, and protect nothing.
		if secretName.MatchString(path) && len(value) >= 6 {
			secrets = append(secrets, value, url.QueryEscape(value), url.PathEscape(value))
		}
	})
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(secrets)
}

// LiteralSecrets returns the fields of a provider's config that hold a secret
// itself, and not a placeholder for one.
func LiteralSecrets(config json.RawMessage) []string {
	var fields []string
	EachString(config, func(path, value string) {
		if tokenName.MatchString(path) && value != "" && !strings.Contains(value, "{") {
			fields = append(fields, path)
		}
	})
	slices.Sort(fields)
	return fields
}

// EachString calls f with each string in JSON, and its path in dots.
func EachString(encoded []byte, f func(path, value string)) {
	var root any
	if json.Unmarshal(encoded, &root) != nil {
		return
	}
	var visit func(path string, value any)
	visit = func(path string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for name, field := range v {
				visit(strings.TrimPrefix(path+"."+name, "."), field)
			}
		case []any:
			for _, element := range v {
				visit(path, element)
			}
		case string:
			f(path, v)
		}
	}
	visit("", root)
}

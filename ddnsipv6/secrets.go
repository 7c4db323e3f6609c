package ddnsipv6

import (
	"cmp"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// redactedError is an error whose text was freed of secrets.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }

// inURL is what may be a secret in a URL, which HTTP clients put in their errors.
var inURL = regexp.MustCompile(`(://)[^/@\s"]+@|\?[^\s"]+`)

// redacted removes from an error what a provider should not have put there.
func (p *provider) redacted(err error) error {
	if err == nil {
		return nil
	}
	text := inURL.ReplaceAllString(err.Error(), "${1}…")
	for _, secret := range p.secrets {
		text = strings.ReplaceAll(text, secret, "…")
	}
	if text == err.Error() {
		return err
	}
	return &redactedError{text, err}
}

// secretName is how the fields of providers are called that hold secrets, or what
// belongs to one; tokenName those that hold one for certain.
var (
	secretName = regexp.MustCompile(`(?i)token|key|secret|pass|auth|credential`)
	tokenName  = regexp.MustCompile(`(?i)token$|secret$|password$|(^|api_?|auth_?)key$`)
)

// secretsOf returns the values of a provider's secret fields, the longest first,
// so that none hides in another.
func secretsOf(module any) []string {
	encoded, err := json.Marshal(module)
	if err != nil {
		return nil
	}
	var secrets []string
	eachString(encoded, func(path, value string) {
		// Shorter ones would make a text unreadable, and protect nothing.
		if secretName.MatchString(path) && len(value) >= 6 {
			secrets = append(secrets, value, url.QueryEscape(value), url.PathEscape(value))
		}
	})
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(secrets)
}

// literalSecrets returns the fields of a provider's config that hold a secret
// itself, and not a placeholder for one.
func literalSecrets(config json.RawMessage) []string {
	var fields []string
	eachString(config, func(path, value string) {
		if tokenName.MatchString(path) && value != "" && !strings.Contains(value, "{") {
			fields = append(fields, path)
		}
	})
	slices.Sort(fields)
	return fields
}

// eachString calls f with each string in JSON, and its path in dots.
func eachString(encoded []byte, f func(path, value string)) {
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

package ddnsipv6

import "github.com/caddy-nas/caddy-nas-registry/internal/redact"

// redactedError is an error whose text was freed of secrets.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }

// redacted removes from an error what a provider should not have put there.
func (p *provider) redacted(err error) error {
	if err == nil {
		return nil
	}
	text := redact.Text(err.Error(), p.secrets)
	if text == err.Error() {
		return err
	}
	return &redactedError{text, err}
}

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/libdns/libdns"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology"
	"github.com/caddy-nas/caddy-nas-registry/internal/redact"
)

// lookProvider asks the DNS providers whether they accept the credentials, by a
// request that changes no record.
func lookProvider(ctx context.Context, p *patient) Finding {
	modules, release, err := p.modules(ctx)
	if err != nil {
		return unknown("Run the doctor where Caddy runs.", err.Error())
	}
	defer release()
	var findings []Finding
	for _, h := range p.setup.holders() {
		if !h.provider {
			continue
		}
		finding := p.lookLogin(modules, h) //nolint:contextcheck // that of the modules ends with ctx
		if finding.cause != "" {
			return finding
		}
		findings = append(findings, finding)
	}
	finding := worst(findings)
	if finding.Status == Wrong {
		p.refused = "provider"
	}
	return finding
}

// lookLogin loads a provider and asks it. Not all providers heed a context: the
// check ends without them.
func (p *patient) lookLogin(ctx caddy.Context, h holder) Finding {
	what := h.name + " (for " + h.of + ")"
	module, err := ctx.LoadModuleByID("dns.providers."+h.name, withoutKey(h.raw, "name"))
	if err != nil {
		return wrong("Correct the provider's settings; caddy validate --config <file> tells more.", what+": its settings are refused")
	}
	secrets := redact.SecretsOf(module)
	var request func() (string, error)
	switch provider := module.(type) {
	case *dnssynology.Module:
		request = func() (string, error) { return "the credentials are accepted", provider.Check(ctx, p.fqdn()) }
	case libdns.RecordGetter:
		if h.domain != "" {
			return unknown("Look at docker compose logs caddy for whether it accepts the credentials.", what+": it is for another domain, "+h.domain)
		}
		if p.zone == "" {
			return hangsOn("dns")
		}
		request = func() (string, error) {
			records, err := provider.GetRecords(ctx, p.zone)
			return fmt.Sprintf("the credentials are accepted; the zone has %d records", len(records)), err
		}
	default:
		return unknown("Look at docker compose logs caddy for whether it accepts the credentials.", what+": it can't be asked without a change")
	}
	seen, err := bounded(ctx, request)
	switch {
	case errors.Is(err, context.DeadlineExceeded), err != nil && isSilence(err):
		return unknown("Run the doctor again when the provider can be reached.", what+": "+redact.Text(err.Error(), secrets))
	case err != nil:
		return wrong("Mend what the provider complains of: mostly the credentials, in the file or variable that they come from.", what+": "+redact.Text(err.Error(), secrets))
	}
	return ok(what + ": " + seen)
}

// withoutKey removes the name of a module from its settings.
func withoutKey(raw json.RawMessage, key string) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return raw
	}
	delete(fields, key)
	rest, err := json.Marshal(fields)
	if err != nil {
		return raw
	}
	return rest
}

// bounded is f, or an error when ctx is done: then f is left behind.
func bounded(ctx context.Context, f func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := f()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return "", fmt.Errorf("no answer: %w", ctx.Err())
	}
}

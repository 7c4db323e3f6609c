package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
)

// lookTLS asks the site for its certificate: the patient's chain.
func lookTLS(ctx context.Context, p *patient) Finding {
	name := p.setup.name()
	chain, err := p.handshake(ctx, name)
	if err == nil {
		p.chain = chain
		return ok(fmt.Sprintf("port %s has a certificate for %s", p.setup.port, name))
	}
	var noTLS tls.RecordHeaderError
	switch {
	case refused(err) && p.acmeFailed:
		return hangsOn("acme")
	case refused(err):
		return wrong(p.setup.certificateAdvice(), fmt.Sprintf("Caddy has no certificate for %s: %v", name, err))
	case errors.As(err, &noTLS):
		return wrong("Write the site's address in the Caddyfile with https:// in front.", "what port "+p.setup.port+" speaks is not TLS")
	case ctx.Err() != nil || timedOut(err):
		return unknown("Look at docker compose logs caddy, then run the doctor again.", err.Error())
	}
	return wrong("Look at docker compose logs caddy.", err.Error())
}

func timedOut(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// certificateAdvice is what to do to get a certificate, by where it comes from.
func (s *setup) certificateAdvice() string {
	switch {
	case len(s.managers) > 0:
		return "Get a certificate for the name in DSM (Control Panel, Security, Certificate); docker compose logs caddy tells whether Caddy can read it."
	case s.byHand():
		return "Put a certificate for the name into the files that the option tls names, and reload Caddy."
	}
	return "Look at docker compose logs caddy for how the authority answers; after a failure Caddy tries again by itself."
}

// renewalAdvice is what to do about a certificate that was not renewed.
func (s *setup) renewalAdvice() string {
	switch {
	case len(s.managers) > 0:
		return "Renew it in DSM (Control Panel, Security, Certificate); Caddy follows."
	case s.byHand():
		return "Put a newer one into the files that the option tls names, and reload Caddy."
	}
	return "Look at docker compose logs caddy for why it was not renewed."
}

// byHand tells that certificates are loaded from files.
func (s *setup) byHand() bool {
	var app struct {
		Certificates map[string]json.RawMessage `json:"certificates"`
	}
	if err := json.Unmarshal(s.parsed.AppsRaw["tls"], &app); err != nil {
		return false // there is no such app
	}
	for module := range app.Certificates {
		if module != "automate" { // names, for Caddy to obtain
			return true
		}
	}
	return false
}

// authority is the ID of Caddy's own authority, where the config names one for the
// registry; empty: none.
func (s *setup) authority() string {
	for _, raw := range s.issuers {
		var issuer struct {
			Module string `json:"module"`
			CA     string `json:"ca"`
		}
		if err := json.Unmarshal(raw, &issuer); err != nil || issuer.Module != "internal" {
			continue
		}
		if issuer.CA == "" {
			return defaultAuthority
		}
		return replaced(issuer.CA)
	}
	return ""
}

// defaultAuthority is the one that Caddy makes of its own accord.
const defaultAuthority = "local"

package ddnsipv6

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
)

// Route is a default route for IPv6.
type Route struct {
	// Interface is the name of the interface that it leads over.
	Interface string
	// Gateway is the router's address, mostly a link-local one; empty where the
	// route has none.
	Gateway string
}

// DefaultRoutes returns the best default routes for IPv6: mostly one, none without
// IPv6. Where they can't be read, as on other systems than Linux, the error is
// [errors.ErrUnsupported].
func DefaultRoutes(ctx context.Context) ([]Route, error) { return defaultRoutes(ctx) }

// Look asks the sources of a policy once and returns which address it selects, and
// which one each of its names shall have. Nothing is published or remembered, and
// the policy's provider is not loaded. config is a [Policy] in JSON; empty: one
// with the default source and no names.
//
// Whether routers have stopped to announce an address does not show in one look.
func Look(ctx caddy.Context, config json.RawMessage) (PolicyStatus, error) {
	p := new(Policy)
	if len(config) > 0 {
		if err := json.Unmarshal(config, p); err != nil {
			return PolicyStatus{}, fmt.Errorf("reading the policy: %w", err)
		}
	}
	if err := p.addressing(); err != nil {
		return PolicyStatus{}, err
	}
	if err := p.loadSources(ctx); err != nil {
		return PolicyStatus{}, err
	}
	u := &updater{policy: p}
	for _, s := range p.sources {
		u.sources = append(u.sources, newAsked(s))
	}
	host, judged, err := u.ask(ctx)
	status := PolicyStatus{Selected: text(host.IP), Error: errorText(err), Addresses: []AddressStatus{}, Names: []NameStatus{}}
	for _, j := range judged {
		status.Addresses = append(status.Addresses, j.status())
	}
	for _, t := range p.targets {
		name := NameStatus{Name: t.name(), Zone: t.zone}
		if host.IP.IsValid() {
			wanted, problem := t.device.Address(host)
			name.Wanted, name.Problem = text(wanted), errorText(problem)
		}
		status.Names = append(status.Names, name)
	}
	return status, nil
}

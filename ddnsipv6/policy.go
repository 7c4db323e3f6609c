package ddnsipv6

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/libdns/libdns"
	"go.uber.org/zap"

	"github.com/caddy-nas/caddy-nas-registry/internal/authority"
	"github.com/caddy-nas/caddy-nas-registry/internal/redact"
)

// Defaults of a [Policy].
const (
	defaultTTL            = 5 * time.Minute
	defaultVerifyInterval = time.Hour
	defaultKeepalive      = 24 * time.Hour
)

// What a policy does while no address is usable.
const (
	keepRecords   = "keep"
	removeRecords = "remove"
)

// Policy says which names have the address of which device, where this host's
// address comes from, and who publishes it. Every string may have placeholders.
type Policy struct {
	// Domains are the names that are kept true. At least one.
	Domains []Domain `json:"domains,omitempty"`

	// ProviderRaw is the DNS provider. It must be able to set records; one
	// that can't read them is checked by DNS, and one that can't delete them
	// leaves what it does not replace. Required.
	ProviderRaw json.RawMessage `json:"provider,omitempty" caddy:"namespace=dns.providers inline_key=name"`

	// SourcesRaw are asked in order: the first one that has a usable address
	// counts. Default: the interface of the default IPv6 route.
	SourcesRaw []json.RawMessage `json:"sources,omitempty" caddy:"namespace=ddns_ipv6.sources inline_key=source"`

	// Include are prefixes such as "2001:db8::/32". Where there are any, only
	// addresses within them are usable, even those that are not global, such
	// as fd00::/8, or reserved for documentation. Default: all that is global.
	Include []string `json:"include,omitempty"`

	// Exclude are prefixes whose addresses are not usable. Default: none.
	Exclude []string `json:"exclude,omitempty"`

	// TTL of the records. A provider may have limits of its own. Default: 5m.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// VerifyInterval is how often the records are read though nothing has
	// changed, and repaired where somebody else edited them. Default: 1h.
	VerifyInterval caddy.Duration `json:"verify_interval,omitempty"`

	// Keepalive is how long after the last time a record is written again
	// though nothing has changed: free names expire otherwise. 0 turns it
	// off. Default: 24h.
	Keepalive *caddy.Duration `json:"keepalive,omitempty"`

	// OnMissing is what to do while this host has no usable address: "keep"
	// the records as they are, or "remove" them after a minute. An address
	// that is merely not known never removes anything. Default: keep.
	OnMissing string `json:"on_missing,omitempty"`

	// Resolvers are DNS servers, as host or host:port, that are asked for the
	// zone of a name, and for its authoritative servers where the provider
	// can't read records. Default: those of the system.
	Resolvers []string `json:"resolvers,omitempty"`

	targets   []target
	provider  *provider
	origin    string // the provider's settings: secret
	sources   []Source
	filter    Filter
	keepalive time.Duration
	authority authority.Client
}

// hint names the policy's provider in messages, as far as it is known.
func (p *Policy) hint() string {
	if p.provider != nil {
		return " (provider " + p.provider.name + ")"
	}
	var name struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(p.ProviderRaw, &name) != nil || name.Name == "" {
		return ""
	}
	return " (provider " + name.Name + ")"
}

func (p *Policy) provision(ctx caddy.Context, logger *zap.Logger) error {
	if len(p.Domains) == 0 {
		return errors.New("no domain is listed")
	}
	if err := p.addressing(); err != nil {
		return err
	}
	if p.OnMissing != "" {
		var err error
		if p.OnMissing, err = replaced(p.OnMissing); err != nil {
			return fmt.Errorf("on_missing: %w", err)
		}
	}
	if err := p.settings(); err != nil {
		return err
	}
	if err := p.loadProvider(ctx, logger); err != nil {
		return err
	}
	return p.loadSources(ctx)
}

// addressing reads what says which address a name shall have, and how DNS is asked.
func (p *Policy) addressing() error {
	for i := range p.Domains {
		t, err := p.Domains[i].target()
		if err != nil {
			return err
		}
		p.targets = append(p.targets, t)
	}
	var err error
	if p.filter.Include, err = prefixes("include", p.Include); err != nil {
		return err
	}
	if p.filter.Exclude, err = prefixes("exclude", p.Exclude); err != nil {
		return err
	}
	if p.authority.Resolvers, err = replacedAll("resolvers", p.Resolvers); err != nil {
		return err
	}
	return nil
}

// settings fills in the defaults and refuses what can't be meant.
func (p *Policy) settings() error {
	if p.TTL == 0 {
		p.TTL = caddy.Duration(defaultTTL)
	}
	if p.VerifyInterval == 0 {
		p.VerifyInterval = caddy.Duration(defaultVerifyInterval)
	}
	p.keepalive = defaultKeepalive
	if p.Keepalive != nil {
		p.keepalive = time.Duration(*p.Keepalive)
	}
	for _, d := range []struct {
		option string
		value  time.Duration
		off    bool
	}{
		{option: "ttl", value: time.Duration(p.TTL)},
		{option: "verify_interval", value: time.Duration(p.VerifyInterval)},
		{option: "keepalive", value: p.keepalive, off: p.keepalive == 0},
	} {
		if d.value < time.Second && !d.off {
			return fmt.Errorf("%s is %s; it must be at least 1s", d.option, d.value)
		}
	}
	switch p.OnMissing {
	case "":
		p.OnMissing = keepRecords
	case keepRecords, removeRecords:
	default:
		return fmt.Errorf("on_missing is %q; it must be %s or %s", p.OnMissing, keepRecords, removeRecords)
	}
	return nil
}

func (p *Policy) loadProvider(ctx caddy.Context, logger *zap.Logger) error {
	if p.ProviderRaw == nil {
		return errors.New("no provider is set")
	}
	p.origin = string(p.ProviderRaw) // Caddy drops it
	for _, field := range redact.LiteralSecrets(p.ProviderRaw) {
		logger.Warn("a secret is written into the config, where GET /config/ and autosave.json show it; "+
			"a placeholder such as {env.NAME} or {file./path} keeps it out", zap.String("field", field))
	}
	module, err := ctx.LoadModule(p, "ProviderRaw")
	if err != nil {
		return fmt.Errorf("loading the provider: %w", err)
	}
	p.provider, err = newProvider(module)
	if err != nil {
		return err
	}
	if p.provider.getter == nil {
		logger.Info("provider can't read records; they are checked by DNS", zap.String("provider", p.provider.name))
	}
	if p.provider.deleter == nil {
		if p.OnMissing == removeRecords {
			return fmt.Errorf("provider %s can't delete records, which on_missing %s needs", p.provider.name, removeRecords)
		}
		logger.Warn("provider can't delete records; other AAAA records of the names stay where it does not replace them",
			zap.String("provider", p.provider.name))
	}
	return nil
}

func (p *Policy) loadSources(ctx caddy.Context) error {
	if len(p.SourcesRaw) == 0 {
		module, err := ctx.LoadModuleByID("ddns_ipv6.sources.interface", nil)
		if err != nil {
			return fmt.Errorf("loading the default source: %w", err)
		}
		p.sources = []Source{module.(Source)}
		return nil
	}
	modules, err := ctx.LoadModule(p, "SourcesRaw")
	if err != nil {
		return fmt.Errorf("loading the sources: %w", err)
	}
	for _, module := range modules.([]any) {
		source, ok := module.(Source)
		if !ok {
			return fmt.Errorf("%s (%T) is not a source of addresses", module.(caddy.Module).CaddyModule().ID, module)
		}
		p.sources = append(p.sources, source)
	}
	return nil
}

// record returns the record that gives a name, relative to its zone, an address.
func (p *Policy) record(name string, ip netip.Addr) libdns.Record {
	return libdns.Address{Name: name, TTL: time.Duration(p.TTL), IP: ip}
}

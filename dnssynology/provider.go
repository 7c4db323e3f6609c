// Package dnssynology publishes records at Synology: TXT and addresses of the
// free names that come with a NAS (example.synology.me), through the DDNS
// service behind them, and the records of a NAS's own DNS Server package and
// DDNS client, through DSM's Web API. It also follows the certificate that DSM
// holds.
//
// None of these interfaces is official but the envelope of the Web API. They
// are spoken as public sources describe them, and were tried against a fake that
// was built from the same sources (package synologytest), not against Synology's
// servers. What is not certain can be set in the [Provider].
//
// Only module.go and certificate_module.go import Caddy.
package dnssynology

import (
	"context"
	"sync"
	"time"

	"github.com/libdns/libdns"
	"go.uber.org/zap"
)

// Provider is a libdns provider for Synology. Fill in the fields, and don't
// change them any more after the first call. It is safe for concurrent use.
//
// Without DSM it speaks to the DDNS service; with it to DSM's Web API.
type Provider struct {
	// CredentialsFile is the path of a JSON file with the fields of
	// [Credentials], which nobody but its owner may read. Values that are set
	// beside it win.
	CredentialsFile string `json:"credentials_file,omitempty"`

	Credentials

	// Service says how the DDNS service is reached.
	Service

	// DSM, if set, makes the provider speak to a NAS's Web API instead of the
	// DDNS service.
	DSM *DSM `json:"dsm,omitempty"`

	// Logger is told what no caller hears of, such as a heartbeat that fails.
	// Default: nobody.
	Logger *zap.Logger `json:"-"`

	mu      sync.Mutex // guards all following fields
	backend backend
	closed  bool
}

// Credentials are what the DDNS service knows a NAS by. credentials.sh writes
// them into a file, on the NAS.
type Credentials struct {
	MyDSID  string `json:"myds_id,omitempty"`  // the id of the Synology account's registration
	AuthKey string `json:"auth_key,omitempty"` // secret
	APIKey  string `json:"api_key,omitempty"`  // secret; for addresses, not for TXT
	Serial  string `json:"serial,omitempty"`   // of the NAS
	MAC     string `json:"mac,omitempty"`      // of its first interface, such as 00:11:32:aa:bb:cc
}

// Service says how the DDNS service is reached. It is unofficial; what may be
// otherwise than it is known can be set.
type Service struct {
	// Endpoint is the service's URL. Default: https://ddns.synology.com/main.php.
	Endpoint string `json:"endpoint,omitempty"`

	// NameServer is the authoritative server, as host:port, that records are
	// read from and that must have a TXT record before it counts as written.
	// Default: ns1.synology.me:53.
	NameServer string `json:"nameserver,omitempty"`

	// Commands are the names of the service's commands, where they differ.
	Commands Commands `json:"commands,omitzero"`

	// Heartbeat is how often the service is told that a name is in use, from
	// the first call about it on. Default: never.
	Heartbeat time.Duration `json:"heartbeat,omitempty"`
}

// Commands are the values of the service's parameter "_", each of which may
// begin with the HTTP method: "POST letsencrypt/create".
type Commands struct {
	CreateTXT string `json:"create_txt,omitempty"` // default: GET letsencrypt/create
	DeleteTXT string `json:"delete_txt,omitempty"` // default: GET letsencrypt/delete
	SetIP     string `json:"set_ip,omitempty"`     // default: POST hostname/create
	Heartbeat string `json:"heartbeat,omitempty"`  // default: POST heartbeat/pulse
}

// backend is what the two ways to Synology have in common. Zones end with a dot,
// records are relative to them, as in libdns.
type backend interface {
	get(ctx context.Context, zone string) ([]libdns.Record, error)
	add(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error)
	set(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error)
	remove(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error)
	zones(ctx context.Context) ([]libdns.Zone, error)
	// check tells whether the credentials are accepted for a name.
	check(ctx context.Context, fqdn string) error
	// close ends sessions and goroutines, and waits for them.
	close(ctx context.Context) error
}

// open makes the backend, once. What keeps it from being made, such as a file
// that isn't there yet, may be over at the next call.
func (p *Provider) open() (backend, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.backend != nil:
		return p.backend, nil
	case p.closed:
		return nil, errClosed
	}
	b, err := p.newBackend()
	if err != nil {
		return nil, err
	}
	p.backend = b
	return b, nil
}

func (p *Provider) newBackend() (backend, error) {
	if p.DSM != nil {
		return newDSMBackend(p.DSM)
	}
	return newServiceBackend(p)
}

// GetRecords returns the zone's records that Synology knows: of the DDNS
// service's names, those that were written through this provider, read from the
// authoritative name server; of a DNS Server zone, all.
func (p *Provider) GetRecords(ctx context.Context, zone string) ([]libdns.Record, error) {
	b, err := p.open()
	if err != nil {
		return nil, err
	}
	return b.get(ctx, zone)
}

// AppendRecords adds records, and returns those that were added.
func (p *Provider) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	b, err := p.open()
	if err != nil {
		return nil, err
	}
	return b.add(ctx, zone, records)
}

// SetRecords makes records the only ones of their names and types.
func (p *Provider) SetRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	b, err := p.open()
	if err != nil {
		return nil, err
	}
	return b.set(ctx, zone, records)
}

// DeleteRecords removes records; empty fields match everything, as libdns says.
func (p *Provider) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	b, err := p.open()
	if err != nil {
		return nil, err
	}
	return b.remove(ctx, zone, records)
}

// ListZones returns the zones of the DNS Server package. The DDNS service has
// none of its own: that is an error.
func (p *Provider) ListZones(ctx context.Context) ([]libdns.Zone, error) {
	b, err := p.open()
	if err != nil {
		return nil, err
	}
	return b.zones(ctx)
}

// Close logs out and ends what the provider began, if it began anything.
func (p *Provider) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	b := p.backend
	p.mu.Unlock()
	if b == nil {
		return nil
	}
	return b.close(ctx)
}

// Interface guards
var (
	_ libdns.RecordGetter   = (*Provider)(nil)
	_ libdns.RecordAppender = (*Provider)(nil)
	_ libdns.RecordSetter   = (*Provider)(nil)
	_ libdns.RecordDeleter  = (*Provider)(nil)
	_ libdns.ZoneLister     = (*Provider)(nil)
)

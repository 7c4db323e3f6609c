package dnssynology

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/certmagic"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(CertificateModule))
}

// CertificateModule serves the certificate that DSM holds, and follows it when
// it is renewed:
//
//	tls {
//		get_certificate synology {
//			archive <folder>
//			dsm <url> { … as in dns.providers.synology }
//			domain <name>...
//			poll_interval <duration>
//		}
//	}
//
// For the names that it is asked for it returns a certificate or an error: with
// neither, Caddy would order one by itself in the middle of a handshake. Among
// several get_certificate of a site it must be the last one, for the same reason.
type CertificateModule struct {
	// Archive is DSM's folder of certificates, or a mount of it:
	// /usr/syno/etc/certificate/_archive. Or DSM: exactly one of the two.
	Archive string `json:"archive,omitempty"`

	// DSM is the NAS whose Web API is asked instead.
	DSM *DSM `json:"dsm,omitempty"`

	// Domains are the names to serve. Default: all that a certificate there is
	// valid for, of those that the site has.
	Domains []string `json:"domains,omitempty"`

	// PollInterval is how often to look though nothing was heard. Default: 1m
	// for the folder, 12h for the Web API.
	PollInterval caddy.Duration `json:"poll_interval,omitempty"`

	key          string
	certificates *Certificates
	follows      *following
}

// CaddyModule returns the Caddy module information.
func (*CertificateModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "tls.get_certificate.synology",
		New: func() caddy.Module { return new(CertificateModule) },
	}
}

// served holds what the configs of this process serve, by their settings: a
// config that takes over begins with what the one before had, so that there is a
// certificate while DSM is asked again.
var served = caddy.NewUsagePool()

// latest is what is served with the same settings, of the last config.
type latest struct{ atomic.Pointer[Certificates] }

// Destruct does nothing: each config ends its own.
func (*latest) Destruct() error { return nil }

// following follows certificates while a config runs. It is a type of its own
// because Caddy logs the handlers of its events with all that is exported in them.
type following struct {
	certificates *Certificates
	once         sync.Once
	ctx          context.Context
	cancel       context.CancelFunc
	wg           sync.WaitGroup
	ran          bool
}

// start begins to follow the certificates. The first look at a folder is done
// when it returns, the one at DSM goes on, for that may take long.
func (f *following) start() {
	f.once.Do(func() {
		f.ran = true
		begin := func() {
			if err := f.certificates.Start(f.ctx); err != nil {
				f.certificates.Logger.Error("DSM's certificates are not followed", zap.Error(err))
			}
		}
		if f.certificates.DSM == nil {
			begin()
			return
		}
		f.wg.Go(begin)
	})
}

// end ends what start began.
func (f *following) end() error {
	f.once.Do(func() {}) // there will be no start any more
	f.cancel()
	f.wg.Wait()
	if !f.ran {
		return nil
	}
	return f.certificates.Stop()
}

// Handle begins to ask DSM: Caddy's event that all apps have started came.
func (f *following) Handle(context.Context, caddy.Event) error {
	f.start()
	return nil
}

// Provision reads the folder, which changes nothing. DSM is asked only when the
// config has started: a login is more than looking.
func (m *CertificateModule) Provision(ctx caddy.Context) error {
	if (m.Archive == "") == (m.DSM == nil) {
		return errors.New("either archive or dsm must say where DSM's certificate is")
	}
	if m.PollInterval < 0 || m.PollInterval != 0 && m.PollInterval < caddy.Duration(time.Second) {
		return fmt.Errorf("poll_interval is %s; it must be at least 1s", time.Duration(m.PollInterval))
	}
	if err := m.settings(ctx); err != nil {
		return err
	}
	m.certificates = &Certificates{
		Archive: m.Archive, DSM: m.DSM, Domains: m.Domains, PollInterval: time.Duration(m.PollInterval), Logger: ctx.Logger(),
	}
	m.follows = &following{certificates: m.certificates}
	m.follows.ctx, m.follows.cancel = context.WithCancel(context.Background())
	value, _ := served.LoadOrStore(m.key, new(latest))
	if before := value.(*latest).Swap(m.certificates); before != nil {
		m.certificates.table.Store(before.table.Load())
	}
	if err := ctx.GetMetricsRegistry().Register(expiryCollector{}); err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
		return err
	}
	if m.DSM == nil {
		m.follows.start()
		return nil
	}
	using(m.DSM)
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	return events.(*caddyevents.App).On("started", m.follows)
}

// settings replaces placeholders, and makes the key of what is meant.
func (m *CertificateModule) settings(ctx caddy.Context) error {
	if err := replace(&m.Archive); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	for i := range m.Domains {
		if err := replace(&m.Domains[i]); err != nil {
			return fmt.Errorf("domain: %w", err)
		}
	}
	if m.DSM != nil {
		if err := m.DSM.provision(ctx); err != nil {
			return err
		}
		// That what is written can be meant; it asks nothing.
		if _, err := newWebAPI(m.DSM); err != nil {
			return err
		}
	}
	encoded, err := json.Marshal(m)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(encoded) // there may be a password in it
	m.key = string(sum[:])
	return nil
}

// Cleanup ends the watch.
func (m *CertificateModule) Cleanup() error {
	if m.follows == nil {
		return nil
	}
	err := m.follows.end()
	_, deleted := served.Delete(m.key)
	err = errors.Join(err, deleted)
	if m.DSM != nil {
		err = errors.Join(err, unused(m.DSM))
	}
	return err
}

// GetCertificate returns the certificate for a handshake, or an error.
func (m *CertificateModule) GetCertificate(_ context.Context, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	certificate, err := m.certificates.Certificate(hello)
	if certificate == nil && err == nil {
		err = fmt.Errorf("DSM has no certificate for %q", hello.ServerName)
	}
	return certificate, err
}

// UnmarshalCaddyfile sets the module from Caddyfile tokens.
func (m *CertificateModule) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // module name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "archive":
			if err := setOption(d, map[string]*string{"archive": &m.Archive}, "get_certificate synology"); err != nil {
				return err
			}
		case "dsm":
			if m.DSM != nil {
				return d.Errf("dsm is set twice")
			}
			m.DSM = new(DSM)
			if err := m.DSM.unmarshal(d); err != nil {
				return err
			}
		case "domain":
			domains := d.RemainingArgs()
			if len(domains) == 0 {
				return d.ArgErr()
			}
			m.Domains = append(m.Domains, domains...)
		case "poll_interval":
			var value string
			if m.PollInterval != 0 {
				return d.Errf("poll_interval is set twice")
			}
			if !d.AllArgs(&value) {
				return d.ArgErr()
			}
			interval, err := caddy.ParseDuration(value)
			if err != nil || interval < time.Second {
				return d.Errf("poll_interval %s is not a duration of 1s or more", value)
			}
			m.PollInterval = caddy.Duration(interval)
		default:
			return d.Errf("unknown option %s of get_certificate synology", option)
		}
	}
	if (m.Archive == "") == (m.DSM == nil) {
		return d.Err("get_certificate synology needs either archive or dsm")
	}
	return nil
}

// expiryDesc describes the one metric of the certificates.
var expiryDesc = prometheus.NewDesc("caddy_synology_certificate_expiry_timestamp_seconds",
	"When the certificate of DSM that is served ends, in seconds since 1970.", []string{"names"}, nil)

// expiryCollector tells Prometheus when the certificates end.
type expiryCollector struct{}

// Describe implements prometheus.Collector.
func (expiryCollector) Describe(ch chan<- *prometheus.Desc) { ch <- expiryDesc }

// Collect implements prometheus.Collector.
func (expiryCollector) Collect(ch chan<- prometheus.Metric) {
	seen := make(map[string]bool)
	served.Range(func(_, value any) bool {
		certificates := value.(*latest).Load()
		if certificates == nil {
			return true
		}
		names, notAfter, ok := certificates.Expiry()
		slices.Sort(names)
		if label := strings.Join(names, " "); ok && !seen[label] {
			seen[label] = true
			ch <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(notAfter.Unix()), label)
		}
		return true
	})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*CertificateModule)(nil)
	_ caddy.CleanerUpper    = (*CertificateModule)(nil)
	_ caddyfile.Unmarshaler = (*CertificateModule)(nil)
	_ caddyevents.Handler   = (*following)(nil)
	_ certmagic.Manager     = (*CertificateModule)(nil)
	_ prometheus.Collector  = expiryCollector{}
)

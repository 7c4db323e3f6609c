package dnssynology

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
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

	key    string
	shared *sharedCertificates
}

// CaddyModule returns the Caddy module information.
func (*CertificateModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "tls.get_certificate.synology",
		New: func() caddy.Module { return new(CertificateModule) },
	}
}

// certificatePool shares what is served among the sites that want the same, and
// keeps it over reloads, so that there is always a certificate and no more
// logins than needed.
var certificatePool = caddy.NewUsagePool()

// sharedCertificates is started by the first config that runs with it.
type sharedCertificates struct {
	*Certificates
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	ran    bool
}

func newShared(c *Certificates) *sharedCertificates {
	s := &sharedCertificates{Certificates: c}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if c.DSM != nil {
		using(c.DSM)
	}
	return s
}

// start begins to follow the certificates. The first look at a folder is done
// when it returns, the one at DSM goes on, for that may take long.
func (s *sharedCertificates) start() {
	s.once.Do(func() {
		s.ran = true
		begin := func() {
			if err := s.Start(s.ctx); err != nil {
				s.Logger.Error("DSM's certificates are not followed", zap.Error(err))
			}
		}
		if s.DSM == nil {
			begin()
			return
		}
		s.wg.Go(begin)
	})
}

// Destruct ends what start began.
func (s *sharedCertificates) Destruct() error {
	var err error
	if s.DSM != nil {
		err = unused(s.DSM)
	}
	s.once.Do(func() {}) // there will be no start any more
	s.cancel()
	s.wg.Wait()
	if s.ran {
		err = errors.Join(err, s.Stop())
	}
	return err
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
	key, err := json.Marshal(m)
	if err != nil {
		return err
	}
	m.key = string(key)
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
	value, _, err := certificatePool.LoadOrNew(m.key, func() (caddy.Destructor, error) {
		return newShared(&Certificates{
			Archive: m.Archive, DSM: m.DSM, Domains: m.Domains, PollInterval: time.Duration(m.PollInterval), Logger: ctx.Logger(),
		}), nil
	})
	if err != nil {
		return err
	}
	m.shared = value.(*sharedCertificates)
	if err := ctx.GetMetricsRegistry().Register(expiryCollector{}); err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
		return err
	}
	if m.DSM == nil {
		m.shared.start()
		return nil
	}
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	return events.(*caddyevents.App).On("started", m)
}

// Handle begins to ask DSM: Caddy's event that all apps have started came.
func (m *CertificateModule) Handle(context.Context, caddy.Event) error {
	m.shared.start()
	return nil
}

// Cleanup ends the watch, unless another config needs it.
func (m *CertificateModule) Cleanup() error {
	if m.shared == nil {
		return nil
	}
	_, err := certificatePool.Delete(m.key)
	return err
}

// GetCertificate returns the certificate for a handshake, or an error.
func (m *CertificateModule) GetCertificate(_ context.Context, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	certificate, err := m.shared.Certificate(hello)
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
	certificatePool.Range(func(_, value any) bool {
		names, notAfter, ok := value.(*sharedCertificates).Expiry()
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
	_ caddyevents.Handler   = (*CertificateModule)(nil)
	_ certmagic.Manager     = (*CertificateModule)(nil)
	_ prometheus.Collector  = expiryCollector{}
)

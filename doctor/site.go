package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// dialTimeout bounds one attempt to connect on this machine.
const dialTimeout = 3 * time.Second

// binds are the hosts of the addresses that servers with the registry's port listen
// on. An empty host is every address.
func (s *setup) binds() []string {
	var app struct {
		Servers map[string]struct {
			Listen []string `json:"listen"`
		} `json:"servers"`
	}
	if err := json.Unmarshal(s.parsed.AppsRaw["http"], &app); err != nil {
		return nil // findRegistry has read it: there is none
	}
	var hosts []string
	for _, server := range app.Servers {
		for _, address := range server.Listen {
			parsed, err := caddy.ParseNetworkAddress(replaced(address))
			if err == nil && portOf([]string{address}) == s.port && !slices.Contains(hosts, parsed.Host) {
				hosts = append(hosts, parsed.Host)
			}
		}
	}
	slices.Sort(hosts)
	return hosts
}

// addresses are those, "host:port", where this machine itself can reach the
// registry's site.
func (p *patient) addresses() []string {
	hosts := p.setup.binds()
	everywhere := len(hosts) == 0 || slices.ContainsFunc(hosts, func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return host == "" || err == nil && ip.IsUnspecified()
	})
	if everywhere {
		hosts = []string{"::1", "127.0.0.1"}
		if p.selected.IsValid() {
			hosts = append(hosts, p.selected.String())
		}
	}
	for i := range hosts {
		hosts[i] = net.JoinHostPort(hosts[i], p.setup.port)
	}
	return hosts
}

// dial connects to the registry's site on this machine, without the name's help.
func (p *patient) dial(ctx context.Context) (net.Conn, error) {
	var errs []error
	for _, address := range p.addresses() {
		conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// handshake asks the site for the certificate of a name.
func (p *patient) handshake(ctx context.Context, name string) ([]*x509.Certificate, error) {
	raw, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	conn := tls.Client(raw, &tls.Config{
		ServerName:         name,
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"h2", "http/1.1"},
		InsecureSkipVerify: true, //nolint:gosec // the certificate is what is looked at; nothing is sent
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return conn.ConnectionState().PeerCertificates, nil
}

// errOtherCertificate is what a client of [patient.site] ends with where the site
// has another certificate than the one that was looked at.
var errOtherCertificate = errors.New("the certificate has changed during the examination")

// site is a client of the site on this machine, whatever the host in the URL, for
// as long as it has that certificate: whether clients trust it is another check's
// subject. Nil: with any certificate, for requests without a secret.
func (p *patient) site(leaf *x509.Certificate) *http.Client {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) },
		TLSClientConfig: &tls.Config{
			ServerName:         p.setup.name(),
			MinVersion:         tls.VersionTLS12,
			InsecureSkipVerify: true, //nolint:gosec // VerifyConnection pins it
			VerifyConnection: func(state tls.ConnectionState) error {
				if leaf != nil && !bytes.Equal(state.PeerCertificates[0].Raw, leaf.Raw) {
					return errOtherCertificate
				}
				return nil
			},
		},
	}
	return &http.Client{Timeout: requestTimeout, Transport: transport, CheckRedirect: noRedirect}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// url is the root of the registry's API.
func (s *setup) url() string { return "https://" + net.JoinHostPort(s.name(), s.port) + "/v2/" }

// get sends a request, with a login if there is a user. The body of the answer is
// not read.
func get(ctx context.Context, client *http.Client, url, user, password string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	return answer{status: resp.StatusCode, header: resp.Header}, nil
}

// refused tells that the server has ended the handshake with an alert: it speaks
// TLS, but has nothing for this name.
func refused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

package ddnsipv6

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

const (
	// maxAnswer is the size of an echo service's answer, in bytes.
	maxAnswer = 1 << 10

	maxRedirects = 3
)

// newEchoClient returns a client that uses IPv6 and nothing in between: a proxy
// would be answered with its own address.
func newEchoClient() *http.Client {
	dialer := &net.Dialer{Control: preferStable}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				return dialer.DialContext(ctx, "tcp6", address)
			},
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			// Minutes pass between two requests.
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			switch {
			case len(via) > maxRedirects:
				return refusal(fmt.Sprintf("redirects more than %d times", maxRedirects))
			case via[len(via)-1].URL.Scheme == "https" && req.URL.Scheme != "https":
				return refusal("redirects from https to " + req.URL.Scheme)
			}
			req.Header.Del("Referer") // the query of the URL may hold a secret
			return nil
		},
	}
}

// ask asks one service.
func (s *HTTPSource) ask(ctx context.Context, service *url.URL) vote {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, service.String(), nil)
	if err != nil {
		return vote{err: cause(err)}
	}
	req.Header.Set("Accept", "text/plain")
	resp, err := s.client.Do(req)
	if err != nil {
		return vote{err: cause(err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return vote{err: refusal("answered status " + strconv.Itoa(resp.StatusCode))}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return vote{err: cause(err)}
	}
	ip, err := parseAnswer(body)
	return vote{ip: ip, err: err}
}

// parseAnswer parses the body of an answer. Its text is in no error: it may be a
// whole page.
func parseAnswer(body []byte) (netip.Addr, error) {
	if len(body) > maxAnswer {
		return netip.Addr{}, refusal("answered more than 1 KiB")
	}
	ip, err := netip.ParseAddr(string(bytes.TrimSpace(body)))
	switch {
	case err != nil:
		return netip.Addr{}, refusal("answered something else than an address")
	case ip.Is4() || ip.Is4In6():
		return netip.Addr{}, refusal("answered an IPv4 address")
	case ip.Zone() != "":
		return netip.Addr{}, refusal("answered an address with a zone")
	}
	return ip, nil
}

// refusal is an error whose text is fit to be shown.
type refusal string

// Error returns the text.
func (r refusal) Error() string { return string(r) }

// cause shortens an error of the client: to what stays the same when the same
// happens again, without ports and times, and shows nothing of a URL.
func cause(err error) error {
	var (
		refused refusal
		timeout interface{ Timeout() bool }
		lookUp  *net.DNSError
		address *net.AddrError
		invalid x509.CertificateInvalidError
		verify  *tls.CertificateVerificationError
		op      *net.OpError
	)
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &lookUp) && lookUp.IsNotFound, errors.As(err, &address):
		return refusal("it has no IPv6 address")
	case errors.As(err, &lookUp):
		return refusal("looking up its name failed")
	case errors.As(err, &timeout) && timeout.Timeout():
		return refusal("no answer in time")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return refusal("its certificate has expired or is not valid yet")
	case errors.As(err, &verify):
		return refusal(verify.Error())
	case errors.As(err, &op):
		return refusal(op.Err.Error())
	}
	return refusal("no valid HTTP answer")
}

// nameOf is the URL of a service without what may be a secret: its user, password,
// path and query.
func nameOf(service *url.URL) string {
	return (&url.URL{Scheme: service.Scheme, Host: service.Host}).String()
}

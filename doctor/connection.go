package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

const siteAdvice = "Look at docker compose logs caddy, and at the site of the registry in the Caddyfile."

// lookChallenge looks whether a client without a login is asked for one.
func lookChallenge(ctx context.Context, p *patient) Finding {
	client := p.site(p.chain[0])
	got, err := get(ctx, client, p.setup.url(), "", "")
	if err != nil {
		return requestFailed(ctx, err)
	}
	return judgeChallenge(got)
}

// requestFailed is for a request after a good handshake that got no answer.
func requestFailed(ctx context.Context, err error) Finding {
	if errors.Is(err, errOtherCertificate) || ctx.Err() != nil {
		return unknown("Run the doctor again.", err.Error())
	}
	return wrong(siteAdvice, err.Error())
}

// judgeChallenge looks at the answer to a request without a login.
func judgeChallenge(a answer) Finding {
	scheme, _, _ := strings.Cut(a.header.Get("WWW-Authenticate"), " ")
	version := a.header.Get("Docker-Distribution-Api-Version")
	switch {
	case a.status == http.StatusOK:
		return wrong("Put the option htpasswd into registry_proxy in the Caddyfile, and reload it.",
			"a request without a login is let in (200): the registry is open to everybody")
	case a.status == http.StatusTooManyRequests:
		return unknown("Wait for some minutes, then run the doctor again.", "Caddy is too busy to answer (429)")
	case a.status != http.StatusUnauthorized:
		return wrong(siteAdvice, fmt.Sprintf("a request without a login is answered by %d %s, not by 401", a.status, http.StatusText(a.status)))
	case !strings.EqualFold(scheme, "Basic"):
		return wrong(siteAdvice, "the answer 401 does not ask for a name and a password (WWW-Authenticate: Basic)")
	case version != "registry/2.0":
		return wrong(siteAdvice, "the answer 401 is not that of a registry: Docker-Distribution-Api-Version is missing")
	}
	return ok("a request without a login is answered by 401 and asked for a password")
}

// firewallAdvice is for a connection that is kept out on this machine.
const firewallAdvice = "Let the port in through the firewall of this machine, for IPv6 too (DSM: Control Panel, Security, Firewall)."

// lookConnection does what a client does, on this machine: look the name up, connect
// over IPv6, verify everything, and ask.
func lookConnection(ctx context.Context, p *patient) Finding {
	name := p.setup.name()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip6", name)
	addresses = onlyIPv6(addresses)
	if len(addresses) == 0 {
		return nameUnknown(name, err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return unknown("Install the package ca-certificates on this machine.", err.Error())
	}
	if authority := p.authority(); authority != "" {
		if local, err := p.setup.localRoots(ctx, authority); err == nil {
			roots = local
		}
	}
	conn, err := dialFirst(ctx, addresses, p.setup.port)
	if err != nil {
		return wrong(firewallAdvice, "no connection to "+name+": "+err.Error())
	}
	defer conn.Close()
	secure := tls.Client(conn, &tls.Config{ServerName: name, RootCAs: roots, MinVersion: tls.VersionTLS12})
	if err := secure.HandshakeContext(ctx); err != nil {
		return wrong("Look whether another machine has this address, and at docker compose logs caddy.",
			"connected to "+conn.RemoteAddr().String(), err.Error())
	}
	client := &http.Client{CheckRedirect: noRedirect, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialTLSContext:    func(context.Context, string, string) (net.Conn, error) { return secure, nil },
	}}
	got, err := get(ctx, client, p.setup.url(), "", "")
	if err != nil {
		return requestFailed(ctx, err)
	}
	if finding := judgeChallenge(got); finding.Status != OK {
		return finding
	}
	return ok(fmt.Sprintf("connected to %s by %s, the certificate verified, asked for a password", conn.RemoteAddr(), tls.VersionName(secure.ConnectionState().Version)),
		"that was this machine itself: a firewall or the router may still keep others out")
}

// nameUnknown is for a name that the system finds no IPv6 address of, though the DNS
// servers know it; err may be nil.
func nameUnknown(name string, err error) Finding {
	seen := []string{"programs on this machine find no IPv6 address of " + name}
	if err != nil {
		seen = append(seen, err.Error())
	}
	var unresolved *net.DNSError
	if errors.As(err, &unresolved) && !unresolved.IsNotFound {
		return unknown("Run the doctor again in a minute.", seen...)
	}
	return unknown("Look for the name in /etc/hosts of this machine: what stands there wins over the DNS servers.", seen...)
}

// onlyIPv6 drops the IPv4 addresses that some resolvers answer with.
func onlyIPv6(addresses []netip.Addr) (ipv6 []netip.Addr) {
	for _, address := range addresses {
		if address.Is6() && !address.Is4In6() {
			ipv6 = append(ipv6, address)
		}
	}
	return ipv6
}

// dialFirst connects to the first address that answers.
func dialFirst(ctx context.Context, addresses []netip.Addr, port string) (net.Conn, error) {
	var errs []error
	for _, address := range addresses {
		conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp6", net.JoinHostPort(address.String(), port))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

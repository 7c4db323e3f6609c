package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// answerTimeout bounds the request to one upstream. A registry has nothing to do
// for it.
const answerTimeout = 5 * time.Second

func (p *patient) hasRegistry() bool {
	return p.hasDocker() || len(p.setup.to) > 0 || p.setup.embedded != ""
}

// lookRegistry asks all upstreams, as Caddy would, whether a registry is there.
func lookRegistry(ctx context.Context, p *patient) Finding {
	if p.setup.embedded != "" {
		return lookFolder(p.setup.embedded)
	}
	dials := p.setup.to
	if p.hasDocker() {
		if p.upstream == "" {
			return hangsOn("container")
		}
		dials = []string{p.upstream}
	}
	transport, err := readTransport(p.setup.transport)
	if err != nil {
		return unknown("", err.Error())
	}
	findings := make([]Finding, len(dials))
	var wg sync.WaitGroup
	for i, dial := range dials {
		wg.Go(func() {
			findings[i] = transport.look(ctx, dial, net.JoinHostPort(p.setup.name(), p.setup.port), p.hasDocker())
		})
	}
	wg.Wait()
	return worst(findings)
}

// worst joins the findings of several upstreams. The advice is about the first of
// the worst.
func worst(findings []Finding) Finding {
	rank := map[Status]int{OK: 0, Unknown: 1, Wrong: 2}
	all := Finding{Status: OK}
	for _, f := range findings {
		all.Seen = append(all.Seen, f.Seen...)
		if rank[f.Status] > rank[all.Status] {
			all.Status, all.Advice = f.Status, f.Advice
		}
	}
	return all
}

// transport is how Caddy speaks with the registry.
type transport struct {
	scheme string // http or https
	tls    tls.Config
}

// readTransport reads the transport of a reverse_proxy.
func readTransport(raw json.RawMessage) (*transport, error) {
	var config struct {
		Protocol string                     `json:"protocol"`
		TLS      map[string]json.RawMessage `json:"tls"`
	}
	if len(raw) > 0 {
		if err := decode(raw, &config); err != nil {
			return nil, fmt.Errorf("transport: %w", err)
		}
	}
	if config.Protocol != "" && config.Protocol != "http" {
		return nil, fmt.Errorf("the registry is spoken with by %s, which the doctor does not speak", config.Protocol)
	}
	t := &transport{scheme: "http"}
	if config.TLS == nil {
		return t, nil
	}
	t.scheme = "https"
	for name, value := range config.TLS {
		switch name {
		case "server_name":
			if err := decode(value, &t.tls.ServerName); err != nil {
				return nil, fmt.Errorf("transport: server_name: %w", err)
			}
			t.tls.ServerName = replaced(t.tls.ServerName)
		case "handshake_timeout", "renegotiation", "curves":
		default:
			// An authority of its own, or none: whether Caddy trusts it is not
			// what is asked here.
			t.tls.InsecureSkipVerify = true //nolint:gosec // see above; nothing secret is sent
		}
	}
	return t, nil
}

// client returns one that connects to an upstream's dial address, and the host to
// name in URLs.
func (t *transport) client(dial string) (client *http.Client, host string, err error) {
	address, err := caddy.ParseNetworkAddress(dial)
	if err != nil {
		return nil, "", err
	}
	if address.Network == "" {
		address.Network = "tcp"
	}
	host, target := address.JoinHostPort(0), address.JoinHostPort(0)
	if address.IsUnixNetwork() {
		host, target = "localhost", address.Host
	}
	dialer := &net.Dialer{Timeout: answerTimeout}
	return &http.Client{
		Timeout: answerTimeout,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, address.Network, target)
			},
			TLSClientConfig:        t.tls.Clone(),
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: noRedirect,
	}, host, nil
}

// look asks one upstream. The site is the host that clients name, and Caddy passes
// on; inDocker says that the upstream is a container that was found.
func (t *transport) look(ctx context.Context, dial, site string, inDocker bool) Finding {
	where := t.scheme + "://" + dial
	if strings.HasPrefix(dial, "unix/") {
		where = dial
	}
	if strings.Contains(dial, "{") {
		return unknown("", "the address "+dial+" is known only while a request is answered")
	}
	client, host, err := t.client(dial)
	if err != nil {
		return wrong("Correct the option to of registry_proxy in the config.", dial+" is not an address: "+err.Error())
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.scheme+"://"+host+"/v2/", nil)
	if err != nil {
		return wrong("Correct the option to of registry_proxy in the config.", dial+" is not an address: "+err.Error())
	}
	request.Host = site
	request.Header.Set("X-Forwarded-Proto", "https")
	request.Header.Set("User-Agent", "registry-doctor")
	began := time.Now()
	response, err := client.Do(request)
	if err != nil {
		return judgeSilence(where, err, inDocker)
	}
	defer response.Body.Close()
	// What came until then says what it is.
	body, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	return judgeAnswer(where, answer{
		status: response.StatusCode,
		header: response.Header,
		body:   strings.TrimSpace(string(body)),
		took:   time.Since(began),
	}, inDocker)
}

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"path"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-nas/caddy-nas-registry/ddnsipv6"
)

const (
	// requestTimeout bounds a request on this machine.
	requestTimeout = 10 * time.Second
	// maxAdmin bounds what is read of an answer, in bytes.
	maxAdmin = 16 << 20
)

const (
	startAdvice  = "Start it with docker compose up -d; if it ends again, docker compose logs caddy tells why."
	reloadAdvice = "Let Caddy load it: docker compose exec caddy sh -c 'caddy reload --config /etc/caddy/$CADDYFILE'; if it refuses, it tells why."
	insideAdvice = "Run the doctor where Caddy runs: docker compose exec caddy caddy registry-doctor."
)

// lookCaddy looks whether Caddy runs, with the config that was read: the patient's
// admin and status.
func lookCaddy(ctx context.Context, p *patient) Finding {
	if p.setup.admin == "" {
		return p.caddyWithoutAdmin(ctx)
	}
	client, err := adminClient(p.setup.admin)
	if err != nil {
		return wrong("Correct the option admin in the config.", err.Error())
	}
	running, err := adminGet(ctx, client, "/config/")
	if err != nil {
		return p.caddySilent(ctx, err)
	}
	p.admin = client
	p.closers = append(p.closers, client.CloseIdleConnections)
	seen := "its admin endpoint answers at " + p.setup.admin
	where, same := compareConfigs(p.setup.config, running)
	if !same {
		return wrong(reloadAdvice, seen, "it runs another config than the file has: that, or a variable in it, has changed since Caddy loaded it", "the first difference is in "+where)
	}
	if _, there := p.setup.parsed.AppsRaw[ddnsipv6.ID]; there {
		p.status = readStatus(ctx, client)
	}
	return ok(seen, "it runs the config of the file")
}

// caddyWithoutAdmin can only look whether somebody listens. The check of the port
// knows who.
func (p *patient) caddyWithoutAdmin(ctx context.Context) Finding {
	conn, err := p.dial(ctx)
	if err != nil {
		return wrong(startAdvice, "it does not run: "+err.Error())
	}
	conn.Close()
	return ok("it serves at port "+p.setup.port, "the config has the admin endpoint off, so that it can't be compared with what runs")
}

// caddySilent tells a Caddy that does not run from one that can't be asked.
func (p *patient) caddySilent(ctx context.Context, err error) Finding {
	missing := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist)
	if errors.Is(err, fs.ErrPermission) {
		return unknown("Run the doctor as the user that Caddy runs as.", err.Error())
	}
	if conn, dialErr := p.dial(ctx); dialErr == nil {
		conn.Close()
		p.outside = missing
		return unknown(insideAdvice, "something serves at port "+p.setup.port+", but Caddy's admin endpoint can't be asked", err.Error())
	}
	if !missing {
		return unknown("Look at docker compose logs caddy.", err.Error())
	}
	return wrong(startAdvice, "it does not run: nobody answers at "+p.setup.admin+", nor at port "+p.setup.port)
}

// adminAnswers tells whether a Caddy answers at the admin endpoint.
func (s *setup) adminAnswers(ctx context.Context) bool {
	if s.admin == "" {
		return false
	}
	client, err := adminClient(s.admin)
	if err != nil {
		return false
	}
	defer client.CloseIdleConnections()
	_, err = adminGet(ctx, client, "/config/")
	return err == nil
}

// adminClient is a client of an admin endpoint, whatever the host in the URL.
func adminClient(address string) (*http.Client, error) {
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		return nil, err
	}
	if parsed.PortRangeSize() > 1 || parsed.IsFdNetwork() {
		return nil, fmt.Errorf("nobody can connect to the address %s", address)
	}
	dial := parsed.JoinHostPort(0)
	transport := &adminTransport{host: dial, origin: "http://" + dial}
	if parsed.IsUnixNetwork() {
		dial, _, _ = strings.Cut(dial, "|") // permissions of the socket
		transport.host, transport.origin = "127.0.0.1", ""
	}
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, parsed.Network, dial)
	}
	return &http.Client{Timeout: requestTimeout, CheckRedirect: noRedirect, Transport: transport}, nil
}

// adminTransport names the host and the origin that Caddy wants to see, so that no website can
// lead a browser to it.
type adminTransport struct {
	host, origin string // an empty origin is not sent
	http.Transport
}

func (t *adminTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Host = t.host
	if t.origin != "" {
		req.Header.Set("Origin", t.origin)
	}
	return t.Transport.RoundTrip(req)
}

// adminGet returns the body of a good answer.
func adminGet(ctx context.Context, client *http.Client, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://caddy"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("admin endpoint: GET %s: %s", path, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxAdmin))
}

// readStatus returns nil where ddns_ipv6 does not answer.
func readStatus(ctx context.Context, client *http.Client) *ddnsipv6.Status {
	body, err := adminGet(ctx, client, "/ddns_ipv6/status")
	if err != nil {
		return nil
	}
	status := new(ddnsipv6.Status)
	if err := json.Unmarshal(body, status); err != nil {
		return nil
	}
	return status
}

// compareConfigs tells whether two configs mean the same, or else the path of the
// first difference. It shows no value: there may be secrets among them.
func compareConfigs(file, running []byte) (where string, same bool) {
	var a, b any
	if json.Unmarshal(file, &a) != nil || json.Unmarshal(running, &b) != nil {
		return "the whole", false
	}
	where = difference(a, b)
	return where, where == ""
}

// difference is the path of the first difference, "/" being the whole; empty: none.
func difference(a, b any) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	switch a := a.(type) {
	case map[string]any:
		b, there := b.(map[string]any)
		if !there {
			break
		}
		keys := slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))
		slices.Sort(keys)
		for _, key := range keys {
			if d := difference(a[key], b[key]); d != "" {
				return path.Join("/", key, d)
			}
		}
	case []any:
		b, there := b.([]any)
		if !there || len(a) != len(b) {
			break
		}
		for i := range a {
			if d := difference(a[i], b[i]); d != "" {
				return path.Join("/", fmt.Sprint(i), d)
			}
		}
	}
	return "/"
}

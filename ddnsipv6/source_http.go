package ddnsipv6

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(HTTPSource))
}

// The values of [HTTPSource.Accept].
const (
	acceptMajority = "majority"
	acceptFirst    = "first"
)

// failureGrace is for the services that are about to answer when the others
// failed already. When all fail at once, as without a network, the error thus
// tells of all, and not of those that happened to come first.
const failureGrace = 500 * time.Millisecond

// HTTPSource asks echo services on the internet which IPv6 address this host
// has: for hosts that don't see it themselves, such as a container behind NAT66.
// Where the kernel has the address, the source "interface" is the better one: it
// knows at once when it changes, and trusts nobody. On Linux the services see a
// stable address; elsewhere, a host with temporary ones (RFC 8981) may connect
// from one of those.
//
//	source http [<url>...] {
//		url           <url>...
//		interval      <duration>
//		timeout       <duration>
//		accept        majority | first
//		prefix_length <bits>
//	}
type HTTPSource struct {
	// URLs are the services: http or https, each of which answers a GET request
	// over IPv6 with status 200 and the address it came from, as plain text.
	// Placeholders are replaced. No two may be equal. Default:
	// https://api6.ipify.org, https://ipv6.icanhazip.com and https://v6.ident.me.
	URLs []string `json:"urls,omitempty"`

	// Interval is the time from one look to the next, at least 1s. Default: 5m.
	Interval caddy.Duration `json:"interval,omitempty"`

	// Timeout is how long one service may take, redirects included. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Accept says which answers suffice: with "majority" more than half of the
	// services must give the same address, and are asked at once; with "first"
	// they are asked in turn, and the first valid answer counts. Placeholders
	// are replaced. Default: majority.
	Accept string `json:"accept,omitempty"`

	// PrefixLength is the length of the LAN's prefix in bits, 1 to 127, for the
	// names of other devices. Default: 64.
	PrefixLength int `json:"prefix_length,omitempty"`

	services []*url.URL
	client   *http.Client
}

// CaddyModule returns the Caddy module information.
func (*HTTPSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ddns_ipv6.sources.http",
		New: func() caddy.Module { return new(HTTPSource) },
	}
}

// UnmarshalCaddyfile sets the source up from Caddyfile tokens; for the syntax
// see the type.
func (s *HTTPSource) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // module name
	s.URLs = d.RemainingArgs()
	given := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option, args := d.Val(), d.RemainingArgs()
		switch {
		case option == "url" && len(args) > 0:
			s.URLs = append(s.URLs, args...)
			continue
		case option == "url":
			return d.Err("url takes at least one value")
		case given[option]:
			return d.Errf("%s is given more than once", option)
		}
		given[option] = true
		if err := s.set(option, args); err != nil {
			return d.Err(err.Error())
		}
	}
	return nil
}

// set takes an option that has one value. A zero would become the default.
func (s *HTTPSource) set(option string, args []string) error {
	durations := map[string]*caddy.Duration{"interval": &s.Interval, "timeout": &s.Timeout}
	duration := durations[option]
	switch {
	case duration == nil && option != "accept" && option != "prefix_length":
		return fmt.Errorf("source http has no option %q: it knows url, interval, timeout, accept and prefix_length", option)
	case len(args) != 1 || args[0] == "":
		return fmt.Errorf("%s takes one value", option)
	case duration != nil:
		value, err := caddy.ParseDuration(args[0])
		if err != nil || value <= 0 {
			return fmt.Errorf("%s: %q is not a duration such as 5m", option, args[0])
		}
		*duration = caddy.Duration(value)
	case option == "accept":
		s.Accept = args[0]
	default:
		bits, err := strconv.Atoi(args[0])
		if err != nil || bits == 0 {
			return fmt.Errorf("prefix_length: %q is not a number of 1 to 127", args[0])
		}
		s.PrefixLength = bits
	}
	return nil
}

// Provision sets the defaults and parses the URLs.
func (s *HTTPSource) Provision(ctx caddy.Context) error {
	if len(s.URLs) == 0 {
		s.URLs = []string{"https://api6.ipify.org", "https://ipv6.icanhazip.com", "https://v6.ident.me"}
	}
	s.Interval = cmp.Or(s.Interval, caddy.Duration(5*time.Minute))
	s.Timeout = cmp.Or(s.Timeout, caddy.Duration(10*time.Second))
	s.Accept = cmp.Or(s.Accept, acceptMajority)
	s.PrefixLength = cmp.Or(s.PrefixLength, 64)
	var err error
	if s.Accept, err = replaced(s.Accept); err != nil {
		return fmt.Errorf("source http: accept: %w", err)
	}
	for i, written := range s.URLs {
		value, err := replaced(written)
		if err != nil {
			return fmt.Errorf("source http: url: %w", err)
		}
		service, err := url.Parse(value)
		// Without the value, which may hold a secret anywhere.
		if err != nil || service.Hostname() == "" || service.Scheme != "http" && service.Scheme != "https" {
			return fmt.Errorf("source http: url %d of %d is not one of http or https, such as https://api6.ipify.org", i+1, len(s.URLs))
		}
		if _, secret := service.User.Password(); secret && value == written {
			ctx.Logger().Warn("the password of an echo service is in the config, which GET /config/ and autosave.json show; use a placeholder such as {file./run/secrets/url}",
				zap.String("service", nameOf(service)))
		}
		s.services = append(s.services, service)
	}
	s.client = newEchoClient()
	return nil
}

// Validate refuses what contradicts itself.
func (s *HTTPSource) Validate() error {
	switch {
	case s.Interval < caddy.Duration(time.Second):
		return fmt.Errorf("source http: interval %s is less than 1s", time.Duration(s.Interval))
	case s.Timeout < 0:
		return fmt.Errorf("source http: timeout %s is negative", time.Duration(s.Timeout))
	case s.Timeout > caddy.Duration(lookTimeout):
		return fmt.Errorf("source http: timeout %s is more than %s", time.Duration(s.Timeout), lookTimeout)
	case s.Accept != acceptMajority && s.Accept != acceptFirst:
		return fmt.Errorf("source http: accept %q is neither majority nor first", s.Accept)
	case s.PrefixLength < 1 || s.PrefixLength > 127:
		return fmt.Errorf("source http: prefix_length %d is not within 1 and 127", s.PrefixLength)
	}
	// A service that is there twice would have two votes.
	seen := make(map[string]bool)
	for _, service := range s.services {
		same := *service
		same.Host, same.Fragment, same.RawFragment = strings.ToLower(same.Host), "", ""
		if same.Path == "" {
			same.Path = "/"
		}
		if seen[same.String()] {
			return fmt.Errorf("source http: url %s is given more than once", nameOf(service))
		}
		seen[same.String()] = true
	}
	return nil
}

// Addresses asks the services. It fails where they don't agree: the address is
// unknown then, and may be the same as before.
func (s *HTTPSource) Addresses(ctx context.Context) ([]Address, error) {
	find := s.majority
	if s.Accept == acceptFirst {
		find = s.first
	}
	ip, err := find(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err() // what the services said then is no news
		}
		return nil, fmt.Errorf("asking echo services: %w", err)
	}
	return []Address{{
		IP: ip, Prefix: netip.PrefixFrom(ip, s.PrefixLength).Masked(), DefaultRoute: true,
		Preferred: Forever, Valid: Forever,
	}}, nil
}

// vote is what came of asking a service; the zero vote is not there yet.
type vote struct {
	ip  netip.Addr
	err error
}

// first asks one service after the other.
func (s *HTTPSource) first(ctx context.Context) (netip.Addr, error) {
	votes := make([]vote, len(s.services))
	for i, service := range s.services {
		votes[i] = func() vote {
			// Those that hang leave the others their share of the time.
			share := time.Duration(s.Timeout)
			if deadline, ok := ctx.Deadline(); ok {
				share = time.Until(deadline) / time.Duration(len(s.services)-i)
			}
			ctx, cancel := context.WithTimeout(ctx, share)
			defer cancel()
			return s.ask(ctx, service)
		}()
		if votes[i].err == nil {
			return votes[i].ip, nil
		}
	}
	return netip.Addr{}, s.disagreement("none gave a valid answer", votes)
}

// majority asks all services at once, and waits for no more than it needs.
func (s *HTTPSource) majority(ctx context.Context) (netip.Addr, error) {
	ctx, cancel := context.WithCancel(ctx)
	type numbered struct {
		vote
		service int
	}
	arrived := make(chan numbered, len(s.services))
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	for i, service := range s.services {
		asking.Go(func() { arrived <- numbered{s.ask(ctx, service), i} })
	}
	votes := make([]vote, len(s.services))
	needed := len(votes)/2 + 1
	var grace <-chan time.Time
	for open := len(votes); open > 0; {
		select {
		case v := <-arrived:
			votes[v.service] = v.vote
			open--
		case <-grace:
			open = 0
		}
		ip, count := leader(votes)
		if count >= needed {
			return ip, nil
		}
		if grace == nil && count+open < needed {
			grace = time.After(failureGrace)
		}
	}
	return netip.Addr{}, s.disagreement(fmt.Sprintf("fewer than %d of %d agree", needed, len(votes)), votes)
}

// leader returns the address with the most votes, and how many it has.
func leader(votes []vote) (ip netip.Addr, count int) {
	counts := make(map[netip.Addr]int)
	for _, v := range votes {
		if v.ip.IsValid() {
			if counts[v.ip]++; counts[v.ip] > count {
				ip, count = v.ip, counts[v.ip]
			}
		}
	}
	return ip, count
}

// disagreement tells what every service said, in the order of the config.
func (s *HTTPSource) disagreement(what string, votes []vote) error {
	texts := make([]string, len(votes))
	for i, v := range votes {
		said := "no answer yet"
		switch {
		case v.err != nil:
			said = v.err.Error()
		case v.ip.IsValid():
			said = v.ip.String()
		}
		texts[i] = nameOf(s.services[i]) + ": " + said
	}
	return errors.New(what + ": " + strings.Join(texts, "; "))
}

// Watch asks for another look at every interval.
func (s *HTTPSource) Watch(ctx context.Context, changed func()) {
	ticker := time.NewTicker(time.Duration(s.Interval))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			changed()
		case <-ctx.Done():
			return
		}
	}
}

// Cleanup closes the connections.
func (s *HTTPSource) Cleanup() error {
	if s.client != nil { // Provision may have failed
		s.client.CloseIdleConnections()
	}
	return nil
}

// Interface guards
var (
	_ Source                = (*HTTPSource)(nil)
	_ caddy.Module          = (*HTTPSource)(nil)
	_ caddy.Provisioner     = (*HTTPSource)(nil)
	_ caddy.Validator       = (*HTTPSource)(nil)
	_ caddy.CleanerUpper    = (*HTTPSource)(nil)
	_ caddyfile.Unmarshaler = (*HTTPSource)(nil)
)

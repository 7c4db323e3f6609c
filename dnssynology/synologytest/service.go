package synologytest

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Service is the DDNS service behind the free names, and the DNS server for them.
// Its fields must not be changed.
type Service struct {
	URL      string // such as http://127.0.0.1:49152/main.php
	DNS      string // host:port of the authoritative name server, by UDP and TCP
	Hostname string // the one name that is registered

	// What it knows the NAS of that name by. AuthKey and APIKey are secret.
	MyDSID, AuthKey, APIKey, Serial, MAC string

	t           testing.TB
	faults      faults
	at          []netip.Addr // empty: loopback, on any port
	certificate tls.Certificate

	mu          sync.Mutex // guards all following fields
	commands    map[string]command
	oneTXTValue bool
	history     history
	requests    []Request
	failCode    string
	failTimes   int
	failRcode   int
	failRcodes  int
	heartbeats  int
}

// Option changes a Service before it starts.
type Option func(*Service)

// OneTXTValue makes a second TXT value of a name replace the first. Unknown:
// whether that is how the real service is.
func OneTXTValue() Option {
	return func(s *Service) { s.oneTXTValue = true }
}

// WithHostname registers another name than example.synology.me.
func WithHostname(name string) Option {
	return func(s *Service) { s.Hostname = name }
}

// WithCommand gives a command, such as "letsencrypt/create", another name and
// another HTTP method, as if what is known about it were out of date.
func WithCommand(command, method, name string) Option {
	return func(s *Service) {
		c := s.commands[command]
		delete(s.commands, command)
		c.methods = []string{method}
		s.commands[name] = c
	}
}

// At makes it listen where the real one does: HTTPS on port 443, with the given
// certificate, and DNS on port 53, at addresses that this machine must have: one
// for each family, or one alone. URL is that of ddns.synology.com then.
func At(certificate tls.Certificate, addrs ...netip.Addr) Option {
	return func(s *Service) { s.certificate, s.at = certificate, addrs }
}

// Request is one that the service received.
type Request struct {
	Method  string // of HTTP
	Command string // the field "_"
	Form    url.Values
	At      time.Time
}

// NewService starts a service, which ends with the test.
func NewService(t testing.TB, options ...Option) *Service {
	t.Helper()
	s := &Service{
		Hostname: "example." + suffixes[0],
		MyDSID:   digits(7),
		AuthKey:  canary("authkey"),
		APIKey:   canary("apikey"),
		Serial:   digits(4) + "SYN" + digits(6),
		MAC:      "00:11:32:" + digits(2) + ":" + digits(2) + ":" + digits(2),
		t:        t,
		commands: commands(),
	}
	for _, option := range options {
		option(s)
	}
	s.history.versions = []version{{contents: contents{
		addresses: map[string]addresses{s.Hostname: {}},
		txt:       map[string][]string{},
	}}}
	s.DNS = serveDNS(t, dns.HandlerFunc(s.serveDNS), s.at)
	if len(s.at) == 0 {
		server := httptest.NewServer(http.HandlerFunc(s.serveHTTP))
		t.Cleanup(server.Close)
		s.URL = server.URL + "/main.php"
	}
	for _, ip := range s.at {
		s.serveHTTPS(ip)
	}
	t.Cleanup(func() { s.Hang(false) }) // before the servers wait for their requests
	return s
}

// serveHTTPS listens on port 443 of an address until the test's end.
func (s *Service) serveHTTPS(ip netip.Addr) {
	s.t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(s.t.Context(), "tcp", netip.AddrPortFrom(ip, 443).String())
	if err != nil {
		s.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(s.serveHTTP))
	_ = server.Listener.Close()
	server.Listener = listener
	server.TLS = &tls.Config{Certificates: []tls.Certificate{s.certificate}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	s.t.Cleanup(server.Close)
	s.URL = "https://ddns.synology.com/main.php"
}

// CredentialsFile writes the service's credentials into a file, with the mode in
// which dnssynology wants it.
func (s *Service) CredentialsFile() string {
	s.t.Helper()
	name := filepath.Join(s.t.TempDir(), "synology.json")
	if err := os.WriteFile(name, s.Credentials(), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// Credentials are the contents of a credentials file.
func (s *Service) Credentials() []byte {
	s.t.Helper()
	text, err := json.Marshal(map[string]string{
		"myds_id": s.MyDSID, "auth_key": s.AuthKey, "api_key": s.APIKey, "serial": s.Serial, "mac": s.MAC,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// Secrets returns what must not appear in a log.
func (s *Service) Secrets() []string { return []string{s.AuthKey, s.APIKey} }

// TXT returns the TXT values that the DNS server has for a name, sorted.
func (s *Service) TXT(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	values := slices.Clone(s.history.now().txt[key(name)])
	slices.Sort(values)
	return values
}

// Addresses returns the AAAA and A that the DNS server has for a name, sorted.
func (s *Service) Addresses(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	addrs, _ := s.history.now().find(key(name))
	return addrs.list()
}

// SetTXT makes values the TXT records of a name, at once and in the place of what is
// on its way, as if another program
// had.
func (s *Service) SetTXT(name string, values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.changeNow(func(c contents) {
		if len(values) == 0 {
			delete(c.txt, key(name))
			return
		}
		c.txt[key(name)] = slices.Clone(values)
	})
}

// SetAddresses gives a registered name these addresses, at once and in the place
// of what is on its way, as if another program had: one of IPv4 and two of IPv6 at
// most.
func (s *Service) SetAddresses(name string, addrs ...netip.Addr) {
	var set addresses
	for _, addr := range addrs {
		switch {
		case addr.Is4():
			set.a = addr.String()
		case set.aaaa == "":
			set.aaaa = addr.String()
		default:
			set.foreign = addr.String()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.changeNow(func(c contents) { c.addresses[key(name)] = set })
}

func key(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Requests returns all requests so far, secrets included.
func (s *Service) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Heartbeats is how often the service was told that the name is in use.
func (s *Service) Heartbeats() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heartbeats
}

// Fail makes the next requests end with a code, without doing anything.
func (s *Service) Fail(code string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failCode, s.failTimes = code, times
}

// Break makes the next requests be answered with a raw reply.
func (s *Service) Break(body string, status, times int) {
	s.faults.setBroken(broken{body: body, status: status, times: times})
}

// Hang makes requests wait until it is called with false, or the client is gone.
func (s *Service) Hang(on bool) { s.faults.setHang(on) }

// DelayDNS makes the DNS server see changes only that much later, also those that
// are on their way.
func (s *Service) DelayDNS(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history.setDelay(d)
}

// FailDNS makes the DNS server answer the next queries with an rcode, or not at
// all where that is negative.
func (s *Service) FailDNS(rcode, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failRcode, s.failRcodes = rcode, times
}

func (s *Service) failDNS() (rcode int, fail bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failRcodes <= 0 {
		return 0, false
	}
	s.failRcodes--
	return s.failRcode, true
}

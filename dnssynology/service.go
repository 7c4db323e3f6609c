package dnssynology

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const (
	defaultEndpoint   = "https://ddns.synology.com/main.php"
	defaultNameServer = "ns1.synology.me:53"

	// requestTimeout bounds one request with its reply.
	requestTimeout = 20 * time.Second

	// replyLimit is the longest reply that is read, in bytes.
	replyLimit = 64 << 10

	// repeats is how often a request is sent again after a failure that may
	// pass, at most.
	repeats = 2
)

// service is a client of the DDNS service. What it speaks is public knowledge,
// not documentation: see [Service].
type service struct {
	endpoint    *url.URL
	credentials Credentials
	createTXT   command
	deleteTXT   command
	setIP       command
	heartbeat   command

	http  *http.Client
	pause func(context.Context, time.Duration) error // waits; replaced by tests
}

// command is a value of the parameter "_" and the HTTP method that carries it.
type command struct{ method, name string }

// newService makes a client; it sends nothing.
func newService(s Service, c Credentials) (*service, error) {
	endpoint, err := parseEndpoint(s.Endpoint)
	if err != nil {
		return nil, err
	}
	client := &service{endpoint: endpoint, credentials: c, pause: pause}
	for _, option := range []struct {
		name, value, fallback string
		target                *command
	}{
		{"create_txt", s.Commands.CreateTXT, "GET letsencrypt/create", &client.createTXT},
		{"delete_txt", s.Commands.DeleteTXT, "GET letsencrypt/delete", &client.deleteTXT},
		{"set_ip", s.Commands.SetIP, "POST hostname/create", &client.setIP},
		{"heartbeat", s.Commands.Heartbeat, "POST heartbeat/pulse", &client.heartbeat},
	} {
		if *option.target, err = parseCommand(option.value, option.fallback); err != nil {
			return nil, fmt.Errorf("commands.%s: %w", option.name, err)
		}
	}
	client.http = &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxIdleConns:           2,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: replyLimit,
		},
		// A redirect would carry the secrets of the query to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client, nil
}

// parseEndpoint takes plain HTTP on this machine only: secrets travel in it.
func parseEndpoint(s string) (*url.URL, error) {
	if s == "" {
		s = defaultEndpoint
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("endpoint is not a URL that begins with https://")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("endpoint must have no user, query or fragment; the credentials have fields of their own")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("endpoint on %s must begin with https://: secrets are sent there", u.Host)
	}
	return u, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// parseCommand reads "letsencrypt/create", or "POST letsencrypt/create"; what is
// missing comes from the fallback, which has both.
func parseCommand(s, fallback string) (command, error) {
	method, name, _ := strings.Cut(fallback, " ")
	switch words := strings.Fields(s); len(words) {
	case 0:
	case 1:
		name = words[0]
	case 2:
		method, name = strings.ToUpper(words[0]), words[1]
	default:
		return command{}, fmt.Errorf("%q has more than an HTTP method and a command", s)
	}
	if method != http.MethodGet && method != http.MethodPost {
		return command{}, fmt.Errorf("%q: the HTTP method is GET or POST", s)
	}
	return command{method, name}, nil
}

// txt sends a command about a TXT value at _acme-challenge below hostname.
func (s *service) txt(ctx context.Context, c command, hostname, value string) error {
	fields := s.fields(hostname)
	fields.Set("txt", value)
	return s.call(ctx, c, hostname, fields)
}

// setAddresses sets the hostname's addresses; an invalid one is not sent, so
// that the other family's stays as it is.
func (s *service) setAddresses(ctx context.Context, hostname string, v4, v6 netip.Addr) error {
	if err := s.credentials.needForAddresses(); err != nil {
		return err
	}
	fields := s.fields(hostname)
	fields.Set("api_key", s.credentials.APIKey)
	fields.Set("mac", s.credentials.MAC)
	if v4.IsValid() {
		fields.Set("ipv4", v4.String())
	}
	if v6.IsValid() {
		fields.Set("ipv6", v6.String())
	}
	return s.call(ctx, s.setIP, hostname, fields)
}

// pulse tells the service that the hostname is in use. Which fields it wants is
// not known: those that every command has are sent.
func (s *service) pulse(ctx context.Context, hostname string) error {
	return s.call(ctx, s.heartbeat, hostname, s.fields(hostname))
}

func (s *service) fields(hostname string) url.Values {
	return url.Values{
		"hostname": {hostname},
		"myds_id":  {s.credentials.MyDSID},
		"auth_key": {s.credentials.AuthKey},
		"serial":   {s.credentials.Serial},
	}
}

// call sends a command until the service answers, or a failure is final. The
// error is a [*ServiceError], a [*ReplyError] or a [*RequestError].
func (s *service) call(ctx context.Context, c command, hostname string, fields url.Values) error {
	fields.Set("_", c.name)
	for n := range repeats {
		err := s.once(ctx, c, hostname, fields)
		if err == nil || ctx.Err() != nil || !repeatable(err) {
			return err
		}
		jitter := rand.N(500 * time.Millisecond) //nolint:gosec // jitter needs no secrecy
		if s.pause(ctx, 500*time.Millisecond<<n+jitter) != nil {
			return err
		}
	}
	return s.once(ctx, c, hostname, fields)
}

// repeatable tells whether a request may be sent again: none of the commands
// does harm when it is carried out twice, but wrong credentials may.
func repeatable(err error) bool {
	var answered *ServiceError
	if errors.As(err, &answered) {
		return verdictOn(answered.Code).repeat
	}
	var unanswered *RequestError
	return errors.As(err, &unanswered)
}

// once sends a command and reads the reply.
func (s *service) once(ctx context.Context, c command, hostname string, fields url.Values) error {
	u, body := *s.endpoint, io.Reader(nil)
	if c.method == http.MethodGet {
		u.RawQuery = fields.Encode()
	} else {
		body = strings.NewReader(fields.Encode())
	}
	failed := func(err error) error {
		return &RequestError{Command: c.name, Hostname: hostname, Err: s.harmless(err)}
	}
	request, err := http.NewRequestWithContext(ctx, c.method, u.String(), body)
	if err != nil {
		return failed(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "caddy-nas-registry")
	response, err := s.http.Do(request)
	if err != nil {
		return failed(err)
	}
	defer response.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(response.Body, replyLimit+1))
	if ctx.Err() != nil {
		return failed(ctx.Err())
	}
	foreign := &ReplyError{Command: c.name, Hostname: hostname, Status: response.StatusCode, Excerpt: excerpt(reply, s.credentials.secrets())}
	switch {
	case response.StatusCode/100 == 3:
		foreign.Problem = "it is a redirect, and those are not followed"
	case response.StatusCode != http.StatusOK:
		foreign.Problem = "the status is not 200"
	case err != nil:
		foreign.Problem = "it broke off"
	case len(reply) > replyLimit:
		foreign.Problem = fmt.Sprintf("it is longer than %d bytes", replyLimit)
	}
	if foreign.Problem != "" {
		return foreign
	}
	code, err := parseReply(reply)
	switch {
	case err != nil:
		foreign.Problem = err.Error()
		return foreign
	case code == "good":
		return nil
	case mentions([]byte(code), s.credentials.secrets()):
		foreign.Problem = "its code is something that was sent"
		return foreign
	}
	return &ServiceError{Command: c.name, Hostname: hostname, Code: code}
}

// harmless takes the URL out of an error of net/http, and everything out of one
// that repeats a secret all the same.
func (s *service) harmless(err error) error {
	var wrapped *url.Error
	for errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if mentions([]byte(err.Error()), s.credentials.secrets()) {
		return errors.New("(withheld: it repeats what was sent)")
	}
	return err
}

// resultCode is what a code looks like.
var resultCode = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)

// parseReply returns the code of a reply such as {"code":"good"}. Other members
// may stand beside it.
func parseReply(reply []byte) (string, error) {
	var members map[string]json.RawMessage
	reply = bytes.TrimPrefix(bytes.TrimSpace(reply), []byte("\ufeff"))
	if !json.Valid(reply) {
		return "", errors.New("it is not JSON, or not the whole of it")
	}
	if json.Unmarshal(reply, &members) != nil || members == nil {
		return "", errors.New("it is not a JSON object")
	}
	var code *string
	raw, ok := members["code"]
	if !ok {
		return "", errors.New("it has no code")
	}
	if json.Unmarshal(raw, &code) != nil || code == nil || !resultCode.MatchString(*code) {
		return "", errors.New("its code is none")
	}
	return *code, nil
}

// pause waits for d, or until ctx is done: then it returns its error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

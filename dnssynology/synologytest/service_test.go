package synologytest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// fields are those of a command; more are given as name and value in turn.
func (s *Service) fields(command string, more ...string) url.Values {
	form := url.Values{
		"_": {command}, "hostname": {s.Hostname}, "myds_id": {s.MyDSID}, "auth_key": {s.AuthKey}, "serial": {s.Serial},
	}
	if strings.HasPrefix(command, "hostname/") {
		form.Set("api_key", s.APIKey)
		form.Set("mac", s.MAC)
	}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form
}

// send makes a request and returns the whole reply.
func (s *Service) send(ctx context.Context, method string, form url.Values) (body string, status int, err error) {
	address, content := s.URL, io.Reader(nil)
	if method == http.MethodPost {
		content = strings.NewReader(form.Encode())
	} else {
		address += "?" + form.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return "", 0, err
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", formType)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), response.StatusCode, err
}

// code makes a request and returns the code of the reply.
func (s *Service) code(t *testing.T, method string, form url.Values) string {
	t.Helper()
	body, status, err := s.send(t.Context(), method, form)
	var reply struct{ Code string }
	if err == nil {
		err = json.Unmarshal([]byte(body), &reply)
	}
	if err != nil || status != http.StatusOK {
		t.Fatalf("status %d, body %q: %v", status, body, err)
	}
	return reply.Code
}

func (s *Service) wantCode(t *testing.T, want, method string, form url.Values) {
	t.Helper()
	if got := s.code(t, method, form); got != want {
		t.Errorf("%s %s: got %s, want %s", method, form.Get("_"), got, want)
	}
}

func TestServiceTXT(t *testing.T) {
	for _, test := range []struct {
		name string
		opts []Option
		both []string
		left []string
	}{
		{"two values", nil, []string{"one", "two"}, []string{"one"}},
		{"one value", []Option{OneTXTValue()}, []string{"two"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := NewService(t, test.opts...)
			const name = "_acme-challenge.example.synology.me"
			for _, value := range []string{"one", "two", "two"} {
				s.wantCode(t, good, "GET", s.fields("letsencrypt/create", "txt", value))
			}
			equal(t, "both", s.TXT(name), test.both...)
			equal(t, "by DNS", s.ask(t, "udp", name, "TXT"), test.both...)
			s.wantCode(t, good, "GET", s.fields("letsencrypt/delete", "txt", "two"))
			s.wantCode(t, good, "GET", s.fields("letsencrypt/delete", "txt", "never there"))
			equal(t, "left", s.TXT(name), test.left...)
		})
	}
}

func TestServiceAddresses(t *testing.T) {
	s := NewService(t)
	s.wantCode(t, good, "POST", s.fields("hostname/create", "ipv4", "203.0.113.1", "ipv6", "2001:DB8:0::1"))
	equal(t, "created", s.Addresses(s.Hostname), "2001:db8::1", "203.0.113.1")
	s.wantCode(t, good, "POST", s.fields("hostname/update", "ipv6", "2001:db8::2"))
	equal(t, "updated", s.Addresses(s.Hostname), "2001:db8::2", "203.0.113.1")
	equal(t, "wildcard", s.Addresses("any.thing.example.synology.me."), "2001:db8::2", "203.0.113.1")
	equal(t, "another name", s.Addresses("other.synology.me"))
}

// TestServiceStrict sends what no client should.
func TestServiceStrict(t *testing.T) {
	r := &recorder{TB: t}
	s := NewService(r)
	without := func(form url.Values, name string) url.Values { form.Del(name); return form }
	twice := func(form url.Values, name string) url.Values { form.Add(name, form.Get(name)); return form }
	for _, test := range []struct {
		name, method string
		form         url.Values
		want         string
	}{
		{"unknown command", "GET", s.fields("letsencrypt/renew", "txt", "v"), badparam},
		{"no command", "GET", without(s.fields("letsencrypt/create", "txt", "v"), "_"), badparam},
		{"TXT by POST", "POST", s.fields("letsencrypt/create", "txt", "v"), badparam},
		{"addresses by GET", "GET", s.fields("hostname/update", "ipv6", "2001:db8::1"), badparam},
		{"heartbeat by PUT", "PUT", s.fields("heartbeat/pulse"), badparam},
		{"unknown field", "GET", s.fields("letsencrypt/create", "txt", "v", "ttl", "60"), badparam},
		{"a secret too many", "GET", s.fields("letsencrypt/create", "txt", "v", "api_key", s.APIKey), badparam},
		{"missing field", "GET", without(s.fields("letsencrypt/create", "txt", "v"), "serial"), badparam},
		{"empty field", "GET", s.fields("letsencrypt/create", "txt", ""), badparam},
		{"field twice", "GET", twice(s.fields("letsencrypt/create", "txt", "v"), "txt"), badparam},
		{"no address", "POST", s.fields("hostname/update"), badparam},
		{"zero address", "POST", s.fields("hostname/update", "ipv4", "0.0.0.0"), badparam},
		{"IPv4 as IPv6", "POST", s.fields("hostname/update", "ipv6", "203.0.113.1"), badparam},
		{"zone", "POST", s.fields("hostname/update", "ipv6", "fe80::1%eth0"), badparam},
		{"final dot", "GET", s.fields("letsencrypt/create", "txt", "v", "hostname", "example.synology.me."), badhostname},
		{"challenge", "GET", s.fields("letsencrypt/create", "txt", "v", "hostname", "_acme-challenge.example.synology.me"), badhostname},
		{"wildcard", "GET", s.fields("letsencrypt/create", "txt", "v", "hostname", "*.example.synology.me"), badhostname},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.wantCode(t, test.want, test.method, test.form)
			if list := r.take(); len(list) != 1 {
				t.Errorf("got errors %q, want one", list)
			}
		})
	}
	for _, test := range []struct{ name, query, contentType string }{
		{"content type", "", "application/json"},
		{"no content type", "", ""},
		{"query beside the body", "?hostname=example.synology.me", formType},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := strings.NewReader(s.fields("hostname/update", "ipv6", "2001:db8::1").Encode())
			response, err := http.Post(s.URL+test.query, test.contentType, body)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if list := r.take(); len(list) != 1 {
				t.Errorf("got errors %q, want one", list)
			}
		})
	}
	response, err := http.Get(strings.TrimSuffix(s.URL, "main.php"))
	if err != nil || response.StatusCode != http.StatusNotFound || len(r.take()) != 1 {
		t.Errorf("another path: %v, %v", response, err)
	}
	_ = response.Body.Close()
	equal(t, "values", s.TXT("_acme-challenge.example.synology.me"))
	equal(t, "addresses", s.Addresses(s.Hostname))
}

// TestServiceRefuses sends what a client may without a mistake of its own.
func TestServiceRefuses(t *testing.T) {
	s := NewService(t)
	for _, test := range []struct{ field, value, want string }{
		{"auth_key", "x", badauth},
		{"myds_id", "x", badauth},
		{"serial", "x", badauth},
		{"mac", "x", badauth},
		{"api_key", "x", apikeyNotFound},
		{"hostname", "other.synology.me", hostNotFound},
		{"hostname", "example.com", badhostname},
		{"hostname", "synology.me", badhostname},
	} {
		s.wantCode(t, test.want, "POST", s.fields("hostname/update", "ipv6", "2001:db8::1", test.field, test.value))
	}
	equal(t, "addresses", s.Addresses(s.Hostname))
	s.wantCode(t, badparam, "GET", s.fields("letsencrypt/create", "txt", strings.Repeat("x", 256)))
}

func TestServiceHeartbeats(t *testing.T) {
	s := NewService(t)
	s.wantCode(t, good, "POST", s.fields("heartbeat/pulse"))
	s.wantCode(t, good, "GET", s.fields("heartbeat/pulse"))
	s.wantCode(t, good, "POST", s.fields("heartbeat/stop"))
	if n := s.Heartbeats(); n != 2 {
		t.Errorf("got %d heartbeats, want 2", n)
	}
}

func TestServiceOptions(t *testing.T) {
	s := NewService(t, WithHostname("other.myds.me"), WithCommand("letsencrypt/create", "POST", "acme/add"))
	s.wantCode(t, good, "POST", s.fields("acme/add", "txt", "v"))
	equal(t, "by DNS", s.ask(t, "udp", "_acme-challenge.other.myds.me", "TXT"), "v")
}

func TestServiceFaults(t *testing.T) {
	s := NewService(t)
	create := s.fields("letsencrypt/create", "txt", "v")
	s.Fail("host_expired", 1)
	s.wantCode(t, "host_expired", "GET", create)
	equal(t, "after a failure", s.TXT("_acme-challenge.example.synology.me"))

	page := "<html>" + strings.Repeat("welcome ", 1<<18)
	s.Break(page, http.StatusForbidden, 1)
	if body, status, err := s.send(t.Context(), "GET", create); body != page || status != http.StatusForbidden || err != nil {
		t.Errorf("got status %d, %d bytes, error %v", status, len(body), err)
	}
	s.wantCode(t, good, "GET", create)

	requests := s.Requests()
	if len(requests) != 3 || requests[2].Method != http.MethodGet || requests[2].Command != "letsencrypt/create" ||
		requests[2].Form.Get("auth_key") != s.AuthKey || requests[2].At.IsZero() {
		t.Errorf("got requests %+v", requests)
	}
}

func TestServiceHang(t *testing.T) {
	s := NewService(t)
	s.Hang(true)
	s.Hang(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := s.send(ctx, "GET", s.fields("heartbeat/pulse")); err == nil {
		t.Error("a reply from a service that hangs")
	}
	done := make(chan error)
	go func() {
		_, _, err := s.send(t.Context(), "GET", s.fields("heartbeat/pulse"))
		done <- err
	}()
	for len(s.Requests()) < 2 {
		runtime.Gosched()
	}
	s.Hang(false)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := s.Heartbeats(); n != 1 {
		t.Errorf("got %d heartbeats, want that of the client that waited", n)
	}
}

func TestServiceCredentialsFile(t *testing.T) {
	s := NewService(t)
	name := s.CredentialsFile()
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, error %v", info.Mode(), err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range s.Secrets() {
		if !strings.Contains(string(text), secret) {
			t.Errorf("%s has no %s", text, secret)
		}
	}
}

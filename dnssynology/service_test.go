package dnssynology

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
)

// canaries are credentials that no error may show.
var canaries = Credentials{MyDSID: "7654321", AuthKey: "canaryAuth/K+ey", APIKey: "canaryAPI&key", Serial: "canarySerial", MAC: "00:11:32:aa:bb:cc"}

// newTestService is a client that does not wait between attempts, and counts the waits.
func newTestService(t *testing.T, s Service, c Credentials) (client *service, waits *[]time.Duration) {
	t.Helper()
	client, err := newService(s, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.http.CloseIdleConnections)
	waits = new([]time.Duration)
	client.pause = func(ctx context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		return ctx.Err()
	}
	return client, waits
}

func credentialsOf(s *synologytest.Service) Credentials {
	return Credentials{MyDSID: s.MyDSID, AuthKey: s.AuthKey, APIKey: s.APIKey, Serial: s.Serial, MAC: s.MAC}
}

func TestServiceCommands(t *testing.T) {
	fake := synologytest.NewService(t)
	client, _ := newTestService(t, Service{Endpoint: fake.URL}, credentialsOf(fake))
	challenge := "_acme-challenge." + fake.Hostname
	if err := client.txt(t.Context(), client.createTXT, fake.Hostname, "a+b c"); err != nil {
		t.Fatal(err)
	}
	if got := fake.TXT(challenge); len(got) != 1 || got[0] != "a+b c" {
		t.Errorf("TXT %q", got)
	}
	if err := client.txt(t.Context(), client.deleteTXT, fake.Hostname, "a+b c"); err != nil {
		t.Fatal(err)
	}
	if got := fake.TXT(challenge); len(got) != 0 {
		t.Errorf("TXT %q", got)
	}
	for _, addrs := range [][2]netip.Addr{{netip.MustParseAddr("192.0.2.1"), {}}, {{}, netip.MustParseAddr("2001:db8::1")}} {
		if err := client.setAddresses(t.Context(), fake.Hostname, addrs[0], addrs[1]); err != nil {
			t.Fatal(err)
		}
	}
	if got := fake.Addresses(fake.Hostname); len(got) != 2 {
		t.Errorf("addresses %q", got)
	}
	if err := client.pulse(t.Context(), fake.Hostname); err != nil || fake.Heartbeats() != 1 {
		t.Errorf("heartbeat: %v", err)
	}
	if q := fake.Requests()[0]; q.Method != http.MethodGet || q.Form.Has("api_key") || q.Form.Has("mac") {
		t.Errorf("a TXT command sends more than it needs: %v", q)
	}
}

func TestServiceCommandNames(t *testing.T) {
	fake := synologytest.NewService(t, synologytest.WithCommand("letsencrypt/create", http.MethodPost, "acme/add"))
	client, _ := newTestService(t, Service{Endpoint: fake.URL, Commands: Commands{CreateTXT: "post acme/add"}}, credentialsOf(fake))
	if err := client.txt(t.Context(), client.createTXT, fake.Hostname, "v"); err != nil {
		t.Error(err)
	}
}

func TestServiceRetries(t *testing.T) {
	for _, test := range []struct {
		name     string
		spoil    func(*synologytest.Service)
		requests int
		fails    bool
	}{
		{"good", func(*synologytest.Service) {}, 1, false},
		{"trouble that passes", func(s *synologytest.Service) { s.Fail("badconn", 2) }, 3, false},
		{"trouble that stays", func(s *synologytest.Service) { s.Fail("badconn", 9) }, 3, true},
		{"bad credentials", func(s *synologytest.Service) { s.Fail("badauth", 9) }, 1, true},
		{"unknown code", func(s *synologytest.Service) { s.Fail("surprise", 9) }, 1, true},
		{"not found", func(s *synologytest.Service) { s.Break("not found", 404, 9) }, 1, true},
		{"captive portal", func(s *synologytest.Service) { s.Break("<html>", 200, 9) }, 1, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			fake := synologytest.NewService(t)
			test.spoil(fake)
			client, waits := newTestService(t, Service{Endpoint: fake.URL}, credentialsOf(fake))
			err := client.txt(t.Context(), client.createTXT, fake.Hostname, "v")
			if (err != nil) != test.fails || len(fake.Requests()) != test.requests || len(*waits) != test.requests-1 {
				t.Errorf("%d requests, waits %v: %v", len(fake.Requests()), *waits, err)
			}
			for i, wait := range *waits {
				if least := 500 * time.Millisecond << i; wait < least || wait > least+500*time.Millisecond {
					t.Errorf("wait %d: %s", i, wait)
				}
			}
		})
	}
}

func TestServiceNoReply(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan int, 1)
	go func() {
		n := 0
		for {
			conn, err := listener.Accept()
			if err != nil {
				accepted <- n
				return
			}
			n++
			conn.Close()
		}
	}()
	client, waits := newTestService(t, Service{Endpoint: "http://" + listener.Addr().String()}, canaries)
	err = client.txt(t.Context(), client.createTXT, "example.synology.me", "v")
	listener.Close()
	var unanswered *RequestError
	if !errors.As(err, &unanswered) || len(*waits) != 2 || <-accepted < 3 {
		t.Errorf("%v after %v", err, *waits)
	}
}

func TestServiceHonoursContext(t *testing.T) {
	fake := synologytest.NewService(t)
	fake.Hang(true)
	client, waits := newTestService(t, Service{Endpoint: fake.URL}, credentialsOf(fake))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := client.txt(ctx, client.createTXT, fake.Hostname, "v")
	if !errors.Is(err, context.DeadlineExceeded) || len(*waits) != 0 {
		t.Errorf("waits %v: %v", *waits, err)
	}
	client.http.Timeout = 50 * time.Millisecond
	if err := client.txt(t.Context(), client.createTXT, fake.Hostname, "v"); err == nil || len(*waits) != repeats {
		t.Errorf("waits %v: %v", *waits, err)
	}
}

// TestServiceForeignReplies also is the canary test: whoever answers repeats the
// request, in all the ways that there are.
func TestServiceForeignReplies(t *testing.T) {
	echo := func(q url.Values) string { return "auth_key=" + q.Get("auth_key") + " api_key=" + q.Get("api_key") }
	for _, test := range []struct {
		name  string
		reply func(w http.ResponseWriter, q url.Values)
		want  string
	}{
		{"captive portal", func(w http.ResponseWriter, _ url.Values) { w.Write([]byte("<html>\n<title>Hotel\x1b</title>")) }, `"<html> <title>Hotel?</title>"`},
		{"portal with the query", func(w http.ResponseWriter, q url.Values) { w.Write([]byte("<a href='?" + q.Encode() + "'>")) }, "withheld"},
		{"portal with the keys", func(w http.ResponseWriter, q url.Values) { w.Write([]byte(echo(q))) }, "withheld"},
		{"redirect", func(w http.ResponseWriter, q url.Values) {
			w.Header().Set("Location", "http://127.0.0.1:1/?"+q.Encode())
			w.WriteHeader(http.StatusFound)
		}, "redirect"},
		{"error status", func(w http.ResponseWriter, q url.Values) {
			w.WriteHeader(http.StatusBadGateway)
			w.Write([]byte(echo(q)))
		}, "502"},
		{"good with an error status", func(w http.ResponseWriter, _ url.Values) {
			w.WriteHeader(http.StatusInternalServerError)
			w.Write([]byte(`{"code":"good"}`))
		}, "500"},
		{"empty", func(http.ResponseWriter, url.Values) {}, "not JSON"},
		{"truncated", func(w http.ResponseWriter, _ url.Values) { w.Write([]byte(`{"code":"good"`)) }, "not JSON"},
		{"broken off", func(w http.ResponseWriter, _ url.Values) {
			w.Header().Set("Content-Length", "100")
			w.Write([]byte(`{"code":"good"}`))
		}, "broke off"},
		{"huge", func(w http.ResponseWriter, q url.Values) {
			w.Write([]byte(`{"code":"good","x":"` + strings.Repeat("x", replyLimit) + echo(q) + `"}`))
		}, "longer than"},
		{"list", func(w http.ResponseWriter, _ url.Values) { w.Write([]byte(`["good"]`)) }, "not a JSON object"},
		{"null", func(w http.ResponseWriter, _ url.Values) { w.Write([]byte(`null`)) }, "not a JSON object"},
		{"no code", func(w http.ResponseWriter, _ url.Values) { w.Write([]byte(`{"Code":"good"}`)) }, "has no code"},
		{"number", func(w http.ResponseWriter, _ url.Values) { w.Write([]byte(`{"code":200}`)) }, "its code is none"},
		{"sentence", func(w http.ResponseWriter, _ url.Values) { w.Write([]byte(`{"code":"all is good"}`)) }, "its code is none"},
		{"code with a secret", func(w http.ResponseWriter, _ url.Values) { w.Write([]byte(`{"code":"canaryserial"}`)) }, "something that was sent"},
		{"two replies", func(w http.ResponseWriter, _ url.Values) { w.Write([]byte(`{"code":"good"}{}`)) }, "not JSON"},
	} {
		t.Run(test.name, func(t *testing.T) {
			requests := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests++
				r.ParseForm()
				test.reply(w, r.Form)
			}))
			defer server.Close()
			client, _ := newTestService(t, Service{Endpoint: server.URL}, canaries)
			for _, err := range []error{
				client.txt(t.Context(), client.createTXT, "example.synology.me", "v"),
				client.setAddresses(t.Context(), "example.synology.me", netip.Addr{}, netip.MustParseAddr("2001:db8::1")),
				client.pulse(t.Context(), "example.synology.me"),
			} {
				var foreign *ReplyError
				if !errors.As(err, &foreign) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "example.synology.me") {
					t.Fatalf("%v; want %q", err, test.want)
				}
				noSecret(t, err)
			}
			if requests != 3 {
				t.Errorf("%d requests", requests)
			}
		})
	}
}

// noSecret looks for canaries in an error and all that it wraps.
func noSecret(t *testing.T, err error) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		if text := err.Error(); mentions([]byte(text), canaries.secrets()) || strings.Contains(strings.ToLower(text), "canary") {
			t.Errorf("a secret in %v", err)
		}
	}
}

func TestServiceErrorsHaveNoURL(t *testing.T) {
	for _, endpoint := range []string{"http://127.0.0.1:1/", "https://name.invalid/", "http://127.0.0.1:99999/"} {
		client, _ := newTestService(t, Service{Endpoint: endpoint, Commands: Commands{SetIP: "GET x"}}, canaries)
		err := client.setAddresses(t.Context(), "example.synology.me", netip.MustParseAddr("192.0.2.1"), netip.Addr{})
		if err == nil || strings.Contains(err.Error(), "auth_key") {
			t.Errorf("%s: %v", endpoint, err)
		}
		noSecret(t, err)
	}
	client, _ := newTestService(t, Service{}, canaries)
	noSecret(t, client.harmless(&url.Error{Op: "Get", URL: "x", Err: errors.New("malformed " + url.QueryEscape(canaries.AuthKey))}))
}

func TestNewServiceRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		Service
		want string
	}{
		{"no scheme", Service{Endpoint: "ddns.synology.com/main.php"}, "https://"},
		{"plain HTTP", Service{Endpoint: "http://ddns.synology.com/main.php"}, "secrets are sent"},
		{"user", Service{Endpoint: "https://a:canary@ddns.synology.com/"}, "fields of their own"},
		{"query", Service{Endpoint: "https://ddns.synology.com/?auth_key=canary"}, "fields of their own"},
		{"no URL", Service{Endpoint: "https://canary:x/%"}, "not a URL"},
		{"method", Service{Commands: Commands{CreateTXT: "PUT x"}}, "commands.create_txt"},
		{"words", Service{Commands: Commands{Heartbeat: "GET x y"}}, "commands.heartbeat"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := newService(test.Service, canaries)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%v; want %q", err, test.want)
			}
		})
	}
}

func FuzzParseReply(f *testing.F) {
	for _, seed := range []string{`{"code":"good"}`, `{"code":"badauth","x":[1]}`, `{"code":1}`, `<html>`, ``, `null`, `{"code":"good"`, "\ufeff{\"code\":\"good\"}", `{"code":"a","code":"good"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		code, err := parseReply(reply)
		if (err == nil) != resultCode.MatchString(code) {
			t.Errorf("%q, %v", code, err)
		}
		if err == nil && !json.Valid([]byte(strings.TrimPrefix(strings.TrimSpace(string(reply)), "\ufeff"))) {
			t.Error("it is no JSON")
		}
		if shown := excerpt(reply, canaries.secrets()); len(shown) > excerptLength+3 || mentions([]byte(shown), canaries.secrets()) {
			t.Errorf("excerpt %q", shown)
		}
	})
}

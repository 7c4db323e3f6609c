package ddnsipv6

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// An answer over IPv4 would be of no use, and one through a proxy the proxy's.
func TestHTTPSourceIPv6Only(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked over IPv4") }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for host, cause := range map[string]string{
		"127.0.0.1":          "it has no IPv6 address",
		"[::ffff:127.0.0.1]": "it has no IPv6 address",
		"localhost":          "", // depends on the hosts file
	} {
		s := provisioned(t, &HTTPSource{URLs: []string{"http://" + host + ":" + port}})
		if _, err := s.Addresses(t.Context()); err == nil || !strings.HasSuffix(err.Error(), cause) {
			t.Errorf("%s: got the error %v", host, err)
		}
		if s.client.Transport.(*http.Transport).Proxy != nil {
			t.Error("it uses a proxy")
		}
	}
}

func TestHTTPSourceRedirects(t *testing.T) {
	target := echoServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Referer() != "" {
			t.Errorf("it got to know %s", r.Referer())
		}
		says("2600:1::1")(w, r)
	})
	// hops redirects n times, then to the target.
	hops := func(n int) string {
		server := echoServer(t, func(w http.ResponseWriter, r *http.Request) {
			if n--; n < 0 {
				http.Redirect(w, r, target.URL, http.StatusFound)
				return
			}
			http.Redirect(w, r, "/again", http.StatusFound)
		})
		return server.URL + "/?token=hunter2"
	}
	secure := tlsServer(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, http.StatusFound) })
	to := func(location string) string {
		return echoServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusMovedPermanently)
		}).URL
	}
	for _, tc := range []struct{ name, url, err string }{
		{name: "one", url: hops(0)},
		{name: "three", url: hops(2)},
		{name: "four", url: hops(3), err: "redirects more than 3 times"},
		{name: "from https to http", url: secure.URL, err: "redirects from https to http"},
		{name: "from http over https to http", url: to(secure.URL), err: "redirects from https to http"},
		{name: "to IPv4", url: to("http://127.0.0.1:1/"), err: "it has no IPv6 address"},
		{name: "to a file", url: to("file:///etc/passwd"), err: "no valid HTTP answer"},
		{name: "to nowhere", url: to(""), err: "answered status 301"},
		{name: "to garbage", url: to("http://[hunter2"), err: "no valid HTTP answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := provisioned(t, &HTTPSource{URLs: []string{tc.url}})
			s.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots(secure)
			_, err := s.Addresses(t.Context())
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.HasSuffix(err.Error(), ": "+tc.err)) {
				t.Errorf("got the error %v, want %q", err, tc.err)
			}
		})
	}
}

func roots(server *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return pool
}

func TestHTTPSourceCertificate(t *testing.T) {
	server := tlsServer(t, says("2600:1::1"))
	s := provisioned(t, &HTTPSource{URLs: []string{server.URL}})
	if _, err := s.Addresses(t.Context()); err == nil || !strings.Contains(err.Error(), "x509: certificate signed by unknown authority") {
		t.Errorf("got the error %v", err)
	}
	s.client.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots(server)
	if got, err := s.Addresses(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
}

// What a URL holds of user, password, path and query is for the service alone.
func TestHTTPSourceSecrets(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"status":   breaks,
		"nothing":  closes,
		"echo":     func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.String()) },
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) },
		"bad redirect": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://[?"+r.URL.RawQuery)
			w.WriteHeader(http.StatusFound)
		},
		"not HTTP": func(w http.ResponseWriter, r *http.Request) {
			conn, _, _ := w.(http.Hijacker).Hijack()
			_, _ = io.WriteString(conn, r.URL.String()+"\r\n\r\n")
			conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := echoServer(t, func(w http.ResponseWriter, r *http.Request) {
				user, password, _ := r.BasicAuth()
				if user != "hunter1" || password != "hunter2" || r.URL.Query().Get("token") != "hunter3" {
					t.Errorf("the service got %s %s %s", user, password, r.URL)
				}
				answer(w, r)
			})
			t.Setenv("DDNS_TEST_URL", strings.Replace(server.URL, "//", "//hunter1:hunter2@", 1)+"/hunter5/ip?token=hunter3#hunter4")
			s := provisioned(t, &HTTPSource{URLs: []string{"{env.DDNS_TEST_URL}"}})
			_, err := s.Addresses(t.Context())
			if err == nil || strings.Contains(err.Error(), "hunter") || !strings.Contains(err.Error(), server.URL+": ") {
				t.Errorf("got the error %v", err)
			}
		})
	}
}

func TestHTTPSourceName(t *testing.T) {
	service, err := url.Parse("https://user:hunter2@[2600::1]:8443/a%2Fb?token=hunter3#c")
	if err != nil {
		t.Fatal(err)
	}
	if got := nameOf(service); got != "https://[2600::1]:8443" {
		t.Errorf("got %s", got)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"2600:1::1", " 2600:1::1\r\n", "192.0.2.1", "::ffff:192.0.2.1", "fe80::1%eth0", "::", "", "<html>",
		"2600:1::1 2600:1::1", "2600:1::1\x00", "1:2:3:4:5:6:7:8:9", strings.Repeat(" ", maxAnswer) + "2600:1::1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		ip, err := parseAnswer(body)
		if err != nil {
			if ip.IsValid() {
				t.Errorf("%v with the error %v", ip, err)
			}
			if _, fit := errors.AsType[refusal](err); !fit {
				t.Errorf("the error %v is of another type", err)
			}
			return
		}
		if !ip.Is6() || ip.Is4In6() || ip.Zone() != "" || len(body) > maxAnswer {
			t.Errorf("%q is taken for %v", body, ip)
		}
		if again, err := parseAnswer([]byte(ip.String())); again != ip || err != nil {
			t.Errorf("%v becomes %v, %v", ip, again, err)
		}
	})
}

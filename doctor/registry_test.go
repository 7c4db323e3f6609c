package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

func address(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func closedPort(t *testing.T) string { return strconv.Itoa(testenv.FreePort(t)) }

// capablessEnv is set in the process without capabilities.
const capablessEnv = "DOCTOR_TEST_NO_CAPABILITIES"

// withoutCapabilities runs the test again, alone, in a process that may not
// override the permissions of files, and returns true there; see
// [testenv.Namespace].
func withoutCapabilities(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 || os.Getenv(capablessEnv) != "" {
		return true
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), testenv.Program(t, "setpriv"), "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs",
		program, "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v=true")
	cmd.Env = append(os.Environ(), capablessEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
		t.Errorf("without capabilities: %v\n%s", err, out)
	}
	return false
}

// reachedAt is a patient whose registry is at addresses.
func reachedAt(dials ...string) *patient {
	return &patient{setup: &setup{to: dials, names: []string{"reg.example.com"}, port: "5002"}}
}

// proxyTo passes requests on to the registry at an address.
func proxyTo(address string) http.Handler {
	return httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address})
}

// onUnix serves at a Unix socket, whose path it returns.
func onUnix(t *testing.T, handler http.Handler) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "doctor") // t.TempDir is often too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "r.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(l)
	t.Cleanup(func() {
		server.Close()
		os.RemoveAll(dir)
	})
	return l.Addr().String()
}

// TestRegistry asks the real registry program in each way that `to` knows.
func TestRegistry(t *testing.T) {
	dial := testenv.StartRegistry(t, t.TempDir())
	says(t, lookRegistry(t.Context(), reachedAt(dial)), OK, "http://"+dial+" answers in ", "")

	socket := "unix/" + onUnix(t, proxyTo(dial))
	says(t, lookRegistry(t.Context(), reachedAt(socket)), OK, socket+" answers in ", "")

	secure := httptest.NewUnstartedServer(proxyTo(dial))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	p := reachedAt(secure.Listener.Addr().String())
	says(t, lookRegistry(t.Context(), p), Wrong, "speaks HTTPS, not HTTP", "https:// before")
	p.setup.transport = json.RawMessage(`{"protocol": "http", "tls": {}}`)
	says(t, lookRegistry(t.Context(), p), Wrong, "certificate signed by unknown authority", "a certificate that this machine trusts")
	p.setup.transport = json.RawMessage(`{"protocol": "http", "tls": {"ca": {"provider": "file", "pem_files": ["/ca.pem"]}}}`)
	says(t, lookRegistry(t.Context(), p), OK, "https://"+p.setup.to[0]+" answers in ", "")
	p.setup.to = []string{dial}
	says(t, lookRegistry(t.Context(), p), Wrong, "speaks no TLS", "http:// before")
	p.setup.transport = json.RawMessage(`{"protocol": "fastcgi"}`)
	says(t, lookRegistry(t.Context(), p), Unknown, "fastcgi", "")

	// One of two is away.
	none := net.JoinHostPort("127.0.0.1", closedPort(t))
	got := lookRegistry(t.Context(), reachedAt(dial, none))
	says(t, got, Wrong, none+" refuses the connection", "Start the registry there")
	if len(got.Seen) != 2 || !strings.HasPrefix(got.Seen[0], "http://"+dial+" answers in ") {
		t.Errorf("seen: %q", got.Seen)
	}
}

// TestRegistryWithLogin: the real registry program, with users of its own.
func TestRegistryWithLogin(t *testing.T) {
	dial := net.JoinHostPort("127.0.0.1", closedPort(t))
	config := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %q}}
auth: {htpasswd: {realm: registry, path: %q}}
http: {addr: %q}
`, t.TempDir(), testenv.Users(t, "alice", "right"), dial), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), testenv.Program(t, "registry"), "serve", config)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	testenv.Eventually(t, "the registry", func() error {
		conn, err := net.Dial("tcp", dial)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	says(t, lookRegistry(t.Context(), reachedAt(dial)), Wrong, "the registry at http://"+dial+" asks for a login of its own", "REGISTRY_AUTH")
}

// TestNoRegistry: what is there is something else, or nothing.
func TestNoRegistry(t *testing.T) {
	serve := func(handler http.HandlerFunc) string {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	accept := func(handle func(net.Conn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				handle(conn)
			}
		}()
		return l.Addr().String()
	}
	const other = "what is there is not a registry"
	for _, test := range []struct {
		name, dial   string
		seen, advice string
	}{
		{"another site", serve(http.NotFound), "answers 404 Not Found\n" + other, "correct the option to"},
		{"a site that has a page for everything", serve(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Server", "nginx")
			fmt.Fprint(w, "<html>")
		}), "answers 200 OK (\"nginx\")\n" + other, "correct the option to"},
		{"an empty site", serve(func(http.ResponseWriter, *http.Request) {}), "answers 200 OK\n" + other, "correct the option to"},
		{"a site that sends elsewhere", serve(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) }),
			"answers 302 Found and sends to another address\n" + other, "correct the option to"},
		{"a site with a login", serve(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Www-Authenticate", "Basic realm=x")
			w.WriteHeader(http.StatusUnauthorized)
		}), "asks for a login of its own", "auth in its config.yml"},
		{"a registry that fails", serve(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
			w.WriteHeader(http.StatusServiceUnavailable)
		}), "answers 503 Service Unavailable", "correct the option to"},
		{"no HTTP", accept(func(c net.Conn) {
			fmt.Fprint(c, "SSH-2.0-OpenSSH_9.9\r\n")
			c.Close()
		}), "does not speak HTTP", "correct the option to"},
		{"the end at once", accept(func(c net.Conn) { c.Close() }), other, "correct the option to"},
		{"silence", accept(func(c net.Conn) { t.Cleanup(func() { c.Close() }) }), "does not answer within", "Start the registry there"},
		{"nobody", net.JoinHostPort("127.0.0.1", closedPort(t)), "nothing listens there", "Start the registry there"},
		{"no socket", "unix//no/such.sock", "there is no such socket", "Start the registry there"},
		{"no address", "127.0.0.1:99999", "is not an address", "Correct the option to"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			says(t, lookRegistry(ctx, reachedAt(test.dial)), Wrong, test.seen, test.advice)
		})
	}
	says(t, lookRegistry(t.Context(), reachedAt("{no.such}:5000")), Unknown, "only while a request is answered", "")
}

// TestOCIRegistry: the header is not demanded by the OCI specification.
func TestOCIRegistry(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "reg.example.com:5002" || r.URL.Path != "/v2/" || r.Method != http.MethodGet || r.Header.Get("X-Forwarded-Proto") != "https" {
			t.Errorf("it asks for %s %s%s with %v", r.Method, r.Host, r.URL, r.Header)
		}
		fmt.Fprintln(w, "{}")
	}))
	defer server.Close()
	says(t, lookRegistry(t.Context(), reachedAt(server.Listener.Addr().String())), OK, "answers in", "")
}

func TestJudgeSilence(t *testing.T) {
	dial := func(errno syscall.Errno) error {
		return &url.Error{Op: "Get", URL: "http://x", Err: &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}}
	}
	for _, test := range []struct {
		name     string
		err      error
		inDocker bool
		status   Status
		seen     string
		advice   string
	}{
		{"refused", dial(syscall.ECONNREFUSED), true, Wrong, "nothing listens there", "option port"},
		{"no route", dial(syscall.EHOSTUNREACH), true, Wrong, "no way leads there", "host's network"},
		{"no network", dial(syscall.ENETUNREACH), false, Wrong, "no way leads there", "option to"},
		{"kernel's time-out", dial(syscall.ETIMEDOUT), true, Wrong, "does not answer within 5s", "docker compose restart registry"},
		{"no such name", &net.DNSError{Err: "no such host", Name: "registry", IsNotFound: true}, false, Wrong, "the name registry is not known here", "block docker"},
		{"no DNS", &net.DNSError{Err: "i/o timeout", Name: "registry", IsTimeout: true}, false, Unknown, "i/o timeout", "DNS servers"},
		{"interrupted", &url.Error{Op: "Get", URL: "http://x", Err: context.Canceled}, false, Unknown, "interrupted", "again"},
		{"lines", errors.New("malformed\r\n\x1b[31mHTTP"), false, Wrong, "does not speak HTTP: malformed [31mHTTP", "option to"},
	} {
		t.Run(test.name, func(t *testing.T) {
			says(t, judgeSilence("http://x", test.err, test.inDocker), test.status, test.seen, test.advice)
		})
	}
}

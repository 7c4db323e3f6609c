package docker

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The sentences rest on what the kernel answers; so ask it.
func TestExplainSockets(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead.sock")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	for _, test := range []struct{ name, path, want string }{
		{"missing", filepath.Join(dir, "missing.sock"), "there is no such socket"},
		{"dead", dead, "the socket file is there but nobody listens; Docker is down, or, if the file is bind-mounted, it went stale"},
		{"directory", dir, "that is a directory"},
		{"file", file, "that is not a socket"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := host{"unix", test.path}
			e, err := connect(h)
			if err != nil {
				t.Fatal(err)
			}
			defer e.close()
			// Through the client, which does not keep such errors.
			_, err = e.containers(t.Context(), settings{host: h})
			if err == nil {
				t.Fatal("an answer from nobody")
			}
			got := explain(h, err)
			if want := "Docker does not answer at unix://" + test.path + ": " + test.want; !strings.HasPrefix(got, want) {
				t.Errorf("got  %q\nwant %q…", got, want)
			}
		})
	}
}

// Each scheme speaks what its name says.
func TestSchemes(t *testing.T) {
	f := newFakeDocker(t)
	f.set(fakeContainer{name: "hub"})
	plain, tls := httptest.NewServer(f.handler()), httptest.NewUnstartedServer(f.handler())
	defer plain.Close()
	tls.Config.ErrorLog = log.New(io.Discard, "", 0) // it is told that the client does not trust it
	tls.StartTLS()
	defer tls.Close()

	for _, test := range []struct {
		scheme string
		server *httptest.Server
		err    string // a part of it
	}{
		{"tcp", plain, ""},
		{"http", plain, ""},
		{"https", tls, "certificate"},
		{"https", plain, "server gave HTTP response to HTTPS client"},
		{"tcp", tls, "Client sent an HTTP request to an HTTPS server"},
	} {
		h := host{test.scheme, test.server.Listener.Addr().String()}
		e, err := connect(h)
		if err != nil {
			t.Fatal(err)
		}
		cs, err := e.containers(t.Context(), f.settings())
		e.close()
		switch {
		case test.err == "" && (err != nil || len(cs) != 1 || cs[0].name != "hub"):
			t.Errorf("%s: got %v, %v", h, cs, err)
		case test.err != "" && (err == nil || !strings.Contains(explain(h, err), test.err)):
			t.Errorf("%s: got the error %v, want %q", h, err, test.err)
		}
	}
}

func TestExplain(t *testing.T) {
	unix, tcp := host{"unix", "/no/such.sock"}, host{"tcp", "proxy:2375"}
	for _, test := range []struct {
		name string
		host host
		err  error
		want string
	}{
		{
			"permission", unix, &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)},
			"Docker does not answer at unix:///no/such.sock: permission denied; the user that Caddy runs as needs the group of the socket",
		},
		{
			"TCP refused", tcp, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
			"Docker does not answer at tcp://proxy:2375: connection refused; nothing listens on that port",
		},
		{
			"time", tcp, context.DeadlineExceeded,
			"Docker does not answer at tcp://proxy:2375: no answer in time",
		},
		{
			"refusal", tcp, refusal{errors.New("Error response from daemon: <h1>403</h1>\nForbidden")},
			"Docker at tcp://proxy:2375 refuses to list containers: Error response from daemon: <h1>403</h1> Forbidden",
		},
		{
			"something else", tcp, errors.New("no route"),
			"Docker does not answer at tcp://proxy:2375: no route",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := explain(test.host, test.err); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
	if got := oneLine(strings.Repeat("ü", 1000)); len(got) > 310 || strings.Contains(got, "�") {
		t.Errorf("a long text became %q", got)
	}
}

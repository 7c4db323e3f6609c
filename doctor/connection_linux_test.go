package doctor

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestConnection: what a client does, with nothing but the root of Caddy's own
// authority.
func TestConnection(t *testing.T) {
	if !testenv.Namespace(t) { // for names of our own
		return
	}
	hosts := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(hosts, []byte("::1 localhost\n127.0.0.1 ipv4.example\nfd00::1 kept-out.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	s := newServedSite(t)
	s.bind = "::1"
	s.write("")
	s.start()
	p := &patient{options: Options{Config: s.file}}
	defer p.close()
	if r := s.examinePatient(p)["chain"]; r.Status != OK {
		t.Fatalf("%+v", r)
	}
	says(t, lookConnection(t.Context(), p), OK, "connected to [::1]:"+s.port+" by TLS 1.3", "")

	setup := *p.setup
	defer func() { *p.setup = setup }()
	t.Run("kept out", func(t *testing.T) {
		p.setup.names = []string{"kept-out.example"}
		says(t, lookConnection(t.Context(), p), Wrong, "no connection to kept-out.example", "firewall")
	})
	t.Run("no IPv6 address", func(t *testing.T) {
		p.setup.names = []string{"ipv4.example"}
		says(t, lookConnection(t.Context(), p), Unknown, "find no IPv6 address of ipv4.example", "/etc/hosts")
	})
	t.Run("another machine", func(t *testing.T) {
		other := startSite(t, tlsConfig(issue(t, nil, "me", []string{"localhost"}, nil)), nothing, "localhost")
		p.setup.names, p.setup.port = other.setup.names, other.setup.port
		forward(t, "[::1]:"+other.setup.port, "127.0.0.1:"+other.setup.port)
		says(t, lookConnection(t.Context(), p), Wrong, "unknown authority", "another machine")
	})
}

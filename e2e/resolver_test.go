//go:build linux

package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// resolver is BIND: the resolver of all machines, and the root zone.
type resolver struct {
	dir string
	cmd *exec.Cmd
}

// startResolver runs BIND: the resolver of all machines, and the root zone. It
// keeps nothing, so that what is measured is how fast we are, and not the TTL
// that Synology's records happen to have.
func startResolver(t testing.TB) *resolver {
	t.Helper()
	r := &resolver{dir: t.TempDir()}
	r.write(t, "root.zone", fmt.Sprintf(`$TTL 60
. SOA a.root-servers.net. hostmaster.root-servers.net. 1 3600 600 86400 60
. NS a.root-servers.net.
a.root-servers.net. A %s
a.root-servers.net. AAAA %s
synology.me. NS ns1.synology.me.
ns1.synology.me. A %s
ns1.synology.me. AAAA %s
ddns.synology.com. A %[3]s
ddns.synology.com. AAAA %[4]s
acme-v02.api.letsencrypt.org. A %[5]s
acme-v02.api.letsencrypt.org. AAAA %[6]s
`, resolver4, resolver6, service4, service6, acme4, acme6))
	r.configure(t, "")
	// A copy: AppArmor, where it is on, lets the original read nothing here.
	program := filepath.Join(r.dir, "named")
	if out, err := exec.CommandContext(t.Context(), "cp", testenv.Program(t, "named"), program).CombinedOutput(); err != nil {
		t.Fatalf("copying named: %v: %s", err, out)
	}
	var printed testenv.Output
	r.cmd = exec.CommandContext(ended(t), program, "-g", "-n", "1", "-c", filepath.Join(r.dir, "named.conf"))
	r.cmd.Stderr = &printed
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		_ = r.cmd.Wait()
		if t.Failed() {
			t.Logf("BIND:\n%s", last(printed.Log(), 20))
		}
	})
	testenv.EventuallyWithin(t, "the resolver", soon, func() error {
		_, err := r.ask(t, "ddns.synology.com")
		return err
	})
	return r
}

// configure writes BIND's configuration, with more zones.
func (r *resolver) configure(t testing.TB, zones string) {
	t.Helper()
	r.write(t, "named.conf", fmt.Sprintf(`options {
	directory %q;
	pid-file none;
	session-keyfile none;
	listen-on { %s; };
	listen-on-v6 { %s; };
	allow-query { any; };
	recursion yes;
	allow-recursion { any; };
	dnssec-validation no;
	max-cache-ttl 0;
	max-ncache-ttl 0;
	servfail-ttl 0;
};
controls {};
zone "." { type primary; file %q; };
`, r.dir, resolver4, resolver6, filepath.Join(r.dir, "root.zone"))+zones)
}

// lie makes the resolver answer with another address for a name, as one does that
// has an old one in its cache; or with the truth, if no name is given.
func (r *resolver) lie(t testing.TB, name, addr string) {
	t.Helper()
	zones := ""
	if name != "" {
		r.write(t, "lie.zone", fmt.Sprintf(`$TTL 60
@ SOA ns1.synology.me. hostmaster.synology.me. 1 3600 600 86400 60
@ NS ns1.synology.me.
@ AAAA %s
`, addr))
		zones = fmt.Sprintf("zone %q { type primary; file %q; };\n", name, filepath.Join(r.dir, "lie.zone"))
	}
	r.configure(t, zones)
	if err := r.cmd.Process.Signal(syscall.SIGHUP); err != nil { // to read it again
		t.Fatal(err)
	}
}

// ask returns the AAAA records that a client of the resolver gets.
func (r *resolver) ask(t testing.TB, name string) ([]netip.Addr, error) {
	client := &net.Resolver{PreferGo: true, Dial: dialTo(net.JoinHostPort(resolver6, "53"))}
	return client.LookupNetIP(t.Context(), "ip6", name)
}

func (r *resolver) write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

package testenv

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Zone is a zone of a [Named], which is its primary server.
type Zone struct {
	// Name ends with a dot: "example.org.".
	Name string

	// Records are added to the zone, each a line of a zone file whose origin
	// is Name: "nas 300 IN AAAA 2001:db8::1". The TTL may be left out: 60. An
	// apex and its name server are there already:
	//
	//	@   IN SOA  ns1 hostmaster 1 3600 600 86400 60
	//	@   IN NS   ns1
	//	ns1 IN A    127.0.0.1
	//	ns1 IN AAAA ::1
	//
	// BIND loads no zone with a name server inside of it that has no address
	// or is an alias; one outside, in another zone, may be anything.
	Records []string

	// RefuseTransfer makes AXFR fail even with the key, as many servers do.
	RefuseTransfer bool

	// RefuseUpdate makes updates fail even with the key.
	RefuseUpdate bool
}

// Named is a real BIND 9. Every zone may be read by everyone, and be updated
// (RFC 2136) and transferred with the key alone. It answers for its zones only,
// without recursion; to a client that asks for nothing else it can stand for
// the resolver, too: then its address is the resolver's, and its port that of
// the authoritative servers.
//
// For libdns: rfc2136.Provider{KeyName: n.KeyName, KeyAlg: n.KeyAlg, Key: n.Key,
// Server: n.Address}.
type Named struct {
	// Address is where it listens, "127.0.0.1:<Port>", UDP and TCP. It listens
	// at [::1]:<Port> as well.
	Address string
	// Port is the port alone, in digits.
	Port string

	// KeyName, KeyAlg and Key are the TSIG key (RFC 8945): its name, its
	// algorithm "hmac-sha256" and the secret in base64.
	KeyName, KeyAlg, Key string

	zones []Zone
	dir   string
	stop  func() // nil: it doesn't run
}

// StartNamed runs the named program with at least one zone until the test ends,
// and returns when it answers. Its files are in a folder of the test.
func StartNamed(t testing.TB, zones ...Zone) *Named {
	t.Helper()
	port := freeDNSPort(t)
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails
	n := &Named{
		Address: net.JoinHostPort("127.0.0.1", port),
		Port:    port,
		KeyName: "test-key", KeyAlg: dns.HmacSHA256[:len(dns.HmacSHA256)-1], Key: base64.StdEncoding.EncodeToString(secret),
		zones: zones,
		dir:   t.TempDir(),
	}
	// A copy: AppArmor, where it is on, lets the original read nothing outside
	// of /etc/bind. By another program: a file that this process holds open for
	// writing while another test forks could not be run.
	if out, err := exec.CommandContext(t.Context(), "cp", sbinProgram(t, "named"), n.file("named")).CombinedOutput(); err != nil {
		t.Fatalf("copying named: %v: %s", err, out)
	}
	n.configure(t)
	t.Cleanup(func() {
		n.Stop()
		if content, err := os.ReadFile(n.file("named.log")); err == nil && t.Failed() {
			t.Logf("the log of BIND at %s:\n%s", n.Address, content)
		}
	})
	n.Start(t)
	return n
}

// Start runs it again after Stop, at the same address and with the zones as
// they were then.
func (n *Named) Start(t testing.TB) {
	t.Helper()
	if n.stop != nil {
		t.Fatal("named runs already")
	}
	log, err := os.OpenFile(n.file("named.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// -g: in the foreground, with the log on stderr. Ended in Stop.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), n.file("named"), "-g", "-n", "1", "-c", n.file("named.conf"))
	cmd.Stderr = log
	noOrphan(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting named: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	n.stop = func() {
		_ = cmd.Process.Kill()
		<-ended
	}
	Eventually(t, "BIND at "+n.Address, func() error {
		select {
		case <-ended:
			t.Fatal("named has ended")
		default:
		}
		return n.answers(t.Context())
	})
}

// Stop ends it, for a test of what happens while a server is down. What it was
// told by updates is on the disk.
func (n *Named) Stop() {
	if n.stop != nil {
		n.stop()
		n.stop = nil
	}
}

// Dig asks it through dig, and returns the data of the answer's records, sorted:
// "2001:db8::1" for an AAAA record. The list is empty where there is none. name
// is taken to be absolute. It asks over TCP: over UDP dig's own port may happen to be
// the server's, and then it reads its question for an answer.
func (n *Named) Dig(t testing.TB, name, rrtype string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), Program(t, "dig"), "-r", "@127.0.0.1", "-p", n.Port,
		"+tcp", "+short", "+norecurse", "+tries=1", "-q", dns.Fqdn(name), "-t", rrtype).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	switch {
	case err != nil, strings.HasPrefix(lines[0], ";"):
		t.Fatalf("dig %s %s: %v\n%s", name, rrtype, err, out)
	case lines[0] == "":
		return nil
	}
	slices.Sort(lines)
	return lines
}

// answers tells that it answers for every zone, at each address and over UDP
// and TCP.
func (n *Named) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, zone := range n.zones {
		for i, host := range []string{"127.0.0.1", "127.0.0.1", "::1", "::1"} {
			query := new(dns.Msg).SetQuestion(zone.Name, dns.TypeSOA)
			client := &dns.Client{Net: []string{"udp", "tcp"}[i%2], Timeout: 500 * time.Millisecond}
			r, _, err := client.ExchangeContext(ctx, query, net.JoinHostPort(host, n.Port))
			if err != nil {
				return err
			}
			if r.Rcode != dns.RcodeSuccess || !r.Authoritative {
				return errors.New("answered " + dns.RcodeToString[r.Rcode] + " for " + zone.Name)
			}
		}
	}
	return nil
}

// configure writes the config and the zones.
func (n *Named) configure(t testing.TB) {
	t.Helper()
	if len(n.zones) == 0 {
		t.Fatal("named needs a zone")
	}
	var config strings.Builder
	fmt.Fprintf(&config, `key %q { algorithm %s; secret %q; };
controls { };
options {
	directory %q;
	pid-file "named.pid";
	lock-file none;
	listen-on port %[5]s { 127.0.0.1; };
	listen-on-v6 port %[5]s { ::1; };
	recursion no;
	allow-query { any; };
	dnssec-validation no;
	empty-zones-enable no;
	notify no;
};
`, n.KeyName, n.KeyAlg, n.Key, n.dir, n.Port)
	for i, zone := range n.zones {
		key := map[bool]string{false: "key " + strconv.Quote(n.KeyName), true: "none"}
		file := fmt.Sprintf("zone%d.db", i)
		fmt.Fprintf(&config, `zone %q {
	type primary;
	file %q;
	check-names ignore;
	allow-update { %s; };
	allow-transfer { %s; };
};
`, zone.Name, file, key[zone.RefuseUpdate], key[zone.RefuseTransfer])
		content := fmt.Sprintf(`$ORIGIN %s
$TTL 60
@ IN SOA ns1 hostmaster 1 3600 600 86400 60
@ IN NS ns1
ns1 IN A 127.0.0.1
ns1 IN AAAA ::1
%s
`, dns.Fqdn(zone.Name), strings.Join(zone.Records, "\n"))
		if err := os.WriteFile(n.file(file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(n.file("named.conf"), []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (n *Named) file(name string) string { return filepath.Join(n.dir, name) }

// sbinProgram is [Program] for one that lies where only root's PATH leads.
func sbinProgram(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		return path
	}
	return Program(t, name)
}

// freeDNSPort returns a port that is free on both loopback addresses, over UDP
// and TCP.
func freeDNSPort(t testing.TB) string {
	t.Helper()
	var failed error
	for range 20 {
		port := strconv.Itoa(FreePort(t))
		if failed = bindable(t.Context(), port); failed == nil {
			return port
		}
	}
	t.Fatalf("no port is free for DNS: %v", failed)
	return ""
}

func bindable(ctx context.Context, port string) error {
	var listen net.ListenConfig
	for _, host := range []string{"127.0.0.1", "::1"} {
		address := net.JoinHostPort(host, port)
		l, err := listen.Listen(ctx, "tcp", address)
		if err != nil {
			return err
		}
		defer l.Close()
		p, err := listen.ListenPacket(ctx, "udp", address)
		if err != nil {
			return err
		}
		defer p.Close()
	}
	return nil
}

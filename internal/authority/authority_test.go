package authority

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// authorityOf asks the zones of n, which stands for the resolver as well.
func authorityOf(n *testenv.Named) *Client {
	return &Client{Resolvers: []string{n.Address}, Port: n.Port}
}

func TestAuthority(t *testing.T) {
	many := make([]string, 60) // too many for UDP
	addresses := make([]string, len(many))
	for i := range many {
		addresses[i] = fmt.Sprintf("2001:db8:ffff::%x", i+1)
		many[i] = "many AAAA " + addresses[i]
	}
	n := testenv.StartNamed(t, testenv.Zone{Name: "example.org.", Records: append(many,
		"one     AAAA  2001:db8::1",
		"one     A     192.0.2.1",
		"one     TXT   one",
		"several AAAA  2001:db8::10",
		"several AAAA  2001:db8::2",
		"several AAAA  2001:db8::2",
		"mapped  AAAA  ::ffff:192.0.2.1",
		"ipv4    A     192.0.2.1",
		"alias   CNAME one",
		"dangling CNAME nothing",
		"elsewhere DNAME example.net.",
		"deep.er AAAA  2001:db8::4",
		"*.wild  AAAA  2001:db8::5",
		"@       AAAA  2001:db8::6",
		"child   NS    ns1",
		"child2  NS    ns.example.net.",
	)}, testenv.Zone{Name: "child.example.org.", Records: []string{"nas AAAA 2001:db8::7"}},
		testenv.Zone{Name: "unserved.example.", Records: []string{"nas AAAA 2001:db8::1"}})
	for _, tc := range []struct {
		name, fqdn, zone string
		want             []string
		err              string // a part of it
	}{
		{name: "one", fqdn: "one.example.org.", want: []string{"2001:db8::1"}},
		{name: "letter case", fqdn: "ONE.Example.oRg.", zone: "exAmple.org.", want: []string{"2001:db8::1"}},
		{name: "several", fqdn: "several.example.org.", want: []string{"2001:db8::2", "2001:db8::10"}},
		{name: "more than UDP carries", fqdn: "many.example.org.", want: addresses},
		{name: "IPv4-mapped", fqdn: "mapped.example.org.", want: []string{"192.0.2.1"}},
		{name: "apex", fqdn: "example.org.", want: []string{"2001:db8::6"}},
		{name: "deep", fqdn: "deep.er.example.org.", want: []string{"2001:db8::4"}},
		{name: "wildcard", fqdn: "a.wild.example.org.", want: []string{"2001:db8::5"}},
		{name: "zone below", fqdn: "nas.child.example.org.", zone: "child.example.org.", want: []string{"2001:db8::7"}},
		{name: "absent", fqdn: "absent.example.org."},
		{name: "only names below", fqdn: "er.example.org."},
		{name: "only other types", fqdn: "ipv4.example.org."},

		{name: "alias", fqdn: "alias.example.org.", err: "it is an alias (CNAME) of one.example.org."},
		{name: "alias of nothing", fqdn: "dangling.example.org.", err: "it is an alias (CNAME) of nothing.example.org."},
		{name: "below an alias", fqdn: "nas.elsewhere.example.org.", err: "it is an alias (CNAME) of nas.example.net."},
		{name: "delegated", fqdn: "nas.child2.example.org.", err: "it is not authoritative"},
		{name: "another zone", fqdn: "one.example.net.", err: "ns1.example.org. (127.0.0.1): answered REFUSED"},
		{name: "no zone", fqdn: "one.example.org.", zone: "one.example.org.", err: "finding them: it has no NS records"},
		{name: "unknown zone", fqdn: "one.example.net.", zone: "example.net.", err: "finding them: resolver " + n.Address + ": answered REFUSED"},
		{name: "not a name", fqdn: strings.Repeat("a", 64) + ".example.org.", err: "bad rdata"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.zone == "" {
				tc.zone = "example.org."
			}
			got, err := authorityOf(n).AAAA(t.Context(), tc.fqdn, tc.zone)
			if tc.err != "" {
				prefix := "asking the name servers of " + tc.zone + " for AAAA of " + tc.fqdn + ": "
				if err == nil || !strings.HasPrefix(err.Error(), prefix) || !strings.Contains(err.Error(), tc.err) || got != nil {
					t.Errorf("got %v and the error %v, want %q", got, err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if list := addrStrings(got); !slices.Equal(list, tc.want) {
				t.Errorf("got %q, want %q", list, tc.want)
			}
		})
	}
}

func addrStrings(addrs []netip.Addr) []string {
	var list []string
	for _, a := range addrs {
		list = append(list, a.String())
	}
	return list
}

// A server of the zone that doesn't serve it says nothing about its names.
func TestAuthorityUnknown(t *testing.T) {
	zone := testenv.Zone{Name: "example.org.", Records: []string{"nas AAAA 2001:db8::1"}}
	resolver := testenv.StartNamed(t, zone)
	for _, tc := range []struct {
		name  string
		port  func(t *testing.T) string // of the authoritative server
		cause string
	}{
		{
			name:  "refuses",
			port:  func(t *testing.T) string { return testenv.StartNamed(t, testenv.Zone{Name: "example.net."}).Port },
			cause: "ns1.example.org. (::1): answered REFUSED; ns1.example.org. (127.0.0.1): answered REFUSED",
		},
		{
			name: "refers",
			port: func(t *testing.T) string {
				return testenv.StartNamed(t, testenv.Zone{Name: "org.", Records: []string{"example NS ns.example.net."}}).Port
			},
			cause: "ns1.example.org. (127.0.0.1): it is not authoritative",
		},
		{
			name: "down",
			port: func(t *testing.T) string {
				n := testenv.StartNamed(t, zone)
				n.Stop()
				return n.Port
			},
			cause: "ns1.example.org. (::1): read: connection refused; ns1.example.org. (127.0.0.1): read: connection refused",
		},
		{
			name:  "answers from a cache",
			port:  func(t *testing.T) string { return answering(t, "127.0.0.1:0", func(*dns.Msg) {}) },
			cause: "(127.0.0.1): it is not authoritative",
		},
		{
			name: "fails",
			port: func(t *testing.T) string {
				return answering(t, "127.0.0.1:0", func(r *dns.Msg) { r.Authoritative, r.Rcode = true, dns.RcodeServerFailure })
			},
			cause: "(127.0.0.1): answered SERVFAIL",
		},
		{
			name: "an error of a later time",
			port: func(t *testing.T) string {
				return answering(t, "127.0.0.1:0", func(r *dns.Msg) { r.Rcode, r.Question = 13, nil })
			},
			cause: "(127.0.0.1): answered RCODE 13",
		},
		{
			name: "answers another question",
			port: func(t *testing.T) string {
				return answering(t, "127.0.0.1:0", func(r *dns.Msg) {
					r.Authoritative = true
					r.Question[0].Name = "other.example.org."
				})
			},
			cause: "(127.0.0.1): it answered another question",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := &Client{Resolvers: []string{resolver.Address}, Port: tc.port(t)}
			got, err := a.AAAA(t.Context(), "nas.example.org.", "example.org.")
			if err == nil || !strings.Contains(err.Error(), tc.cause) {
				t.Fatalf("got %v and the error %v, want %q", got, err, tc.cause)
			}
			// The same cause again has the same text.
			if _, again := a.AAAA(t.Context(), "nas.example.org.", "example.org."); again == nil || again.Error() != err.Error() {
				t.Errorf("got the error %v after %v", again, err)
			}
		})
	}
}

// TestAuthorityOtherType: an address of the other family that a server adds to its
// answer is no AAAA record.
func TestAuthorityOtherType(t *testing.T) {
	resolver := testenv.StartNamed(t, testenv.Zone{Name: "example.org."})
	port := answering(t, "127.0.0.1:0", func(r *dns.Msg) {
		r.Authoritative = true
		r.Answer = append(r.Answer, record(t, "nas.example.org. 60 IN A 192.0.2.1"), record(t, "nas.example.org. 60 IN AAAA 2001:db8::1"))
	})
	got, err := (&Client{Resolvers: []string{resolver.Address}, Port: port}).AAAA(t.Context(), "nas.example.org.", "example.org.")
	if err != nil || !slices.Equal(addrStrings(got), []string{"2001:db8::1"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func record(t *testing.T, text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Error(err)
	}
	return rr
}

// answering is serving for a server that must not be asked as a resolver.
func answering(t *testing.T, address string, change func(*dns.Msg)) string {
	t.Helper()
	return serving(t, address, func(r *dns.Msg) {
		if r.RecursionDesired {
			t.Error("the authoritative server is asked for recursion")
		}
		change(r)
	})
}

// serving is a server that answers queries over UDP with no records, as change
// leaves them. It returns its port.
func serving(t *testing.T, address string, change func(*dns.Msg)) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
		r := new(dns.Msg).SetReply(query)
		change(r)
		_ = w.WriteMsg(r)
	})}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go func() { _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown() })
	_, port, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// One server that doesn't answer, or not for the zone, doesn't matter as long
// as there is another. They are asked in the order of their names.
func TestAuthorityNextServer(t *testing.T) {
	n := testenv.StartNamed(t, testenv.Zone{Name: "example.org.", Records: []string{
		"@   NS   lame.example.net.",
		"@   NS   down.example.net.",
		"@   NS   alias.example.net.",
		"@   NS   nowhere.example.net.",
		"nas AAAA 2001:db8::1",
	}}, testenv.Zone{Name: "example.net.", Records: []string{
		"lame  A     127.0.0.2",
		"down  A     127.0.0.3",
		"alias CNAME lame",
	}})
	var asked atomic.Int32
	answering(t, net.JoinHostPort("127.0.0.2", n.Port), func(r *dns.Msg) {
		asked.Add(1)
		r.Rcode = dns.RcodeRefused
	})
	got, err := authorityOf(n).AAAA(t.Context(), "nas.example.org.", "example.org.")
	if err != nil || !slices.Equal(addrStrings(got), []string{"2001:db8::1"}) {
		t.Errorf("got %v, %v", got, err)
	}
	if asked.Load() != 2 { // by its name and by the alias
		t.Errorf("the lame server was asked %d times", asked.Load())
	}
}

func TestAuthorityNextResolver(t *testing.T) {
	n := testenv.StartNamed(t, testenv.Zone{Name: "example.org.", Records: []string{"nas AAAA 2001:db8::1"}})
	refusing := testenv.StartNamed(t, testenv.Zone{Name: "example.net."})
	a := &Client{Resolvers: []string{refusing.Address, n.Address}, Port: n.Port}
	got, err := a.AAAA(t.Context(), "nas.example.org.", "example.org.")
	if err != nil || !slices.Equal(addrStrings(got), []string{"2001:db8::1"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// A server that never answers is given up when the context ends, however it
// does.
func TestAuthorityHangs(t *testing.T) {
	n := testenv.StartNamed(t, testenv.Zone{Name: "example.org."})
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	_, port, err := net.SplitHostPort(silent.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*Client{
		{Resolvers: []string{n.Address}, Port: port},
		{Resolvers: []string{silent.LocalAddr().String()}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		received := make(chan struct{})
		go func() {
			defer close(received)
			_, _, _ = silent.ReadFrom(make([]byte, udpSize))
			cancel()
		}()
		start := time.Now()
		if _, err := a.AAAA(ctx, "nas.example.org.", "example.org."); !errors.Is(err, context.Canceled) {
			t.Errorf("got the error %v after the context was cancelled", err)
		}
		<-received
		ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := a.AAAA(ctx, "nas.example.org.", "example.org."); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got the error %v after the deadline", err)
		}
		cancel()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		_, _, _ = silent.ReadFrom(make([]byte, udpSize)) // the second query
	}
}

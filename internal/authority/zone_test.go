package authority

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

func TestZone(t *testing.T) {
	n := testenv.StartNamed(t, testenv.Zone{Name: "example.org.", Records: []string{
		"one AAAA 2001:db8::1", "alias CNAME one", "child NS ns1",
	}}, testenv.Zone{Name: "child.example.org."})
	for fqdn, want := range map[string]string{
		"example.org.":             "example.org.",
		"one.example.org.":         "example.org.",
		"ONE.Example.org.":         "example.org.",
		"absent.example.org.":      "example.org.",
		"a.b.example.org.":         "example.org.",
		"alias.example.org.":       "example.org.",
		"nas.child.example.org.":   "child.example.org.",
		"child.example.org.":       "child.example.org.",
		"notexample.org.":          "", // refused
		"nas.example.org.invalid.": "",
	} {
		got, err := authorityOf(n).Zone(t.Context(), fqdn)
		if got != want || (want == "") != (err != nil) {
			t.Errorf("%s: got %q, %v", fqdn, got, err)
		}
	}
}

// TestZoneOfAlias: the zone that an alias leads to, which a resolver adds to its
// answer, may be above the alias, and is not the alias's own.
func TestZoneOfAlias(t *testing.T) {
	port := serving(t, "127.0.0.1:0", func(r *dns.Msg) {
		answer := "example.org. 60 IN SOA ns1.example.org. hostmaster.example.org. 1 3600 600 86400 60"
		if r.Question[0].Name != "example.org." {
			answer = r.Question[0].Name + " 60 IN CNAME nobody.org."
			r.Rcode = dns.RcodeNameError
			r.Ns = append(r.Ns, record(t, "org. 60 IN SOA ns1.org. hostmaster.org. 1 3600 600 86400 60"))
		}
		r.Answer = append(r.Answer, record(t, answer))
	})
	got, err := (&Client{Resolvers: []string{"127.0.0.1:" + port}}).Zone(t.Context(), "dangling.example.org.")
	if got != "example.org." {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestServers(t *testing.T) {
	n := testenv.StartNamed(t, testenv.Zone{Name: "example.org.", Records: []string{
		"@   NS   nowhere.example.org.example.net.",
		"one AAAA 2001:db8::1", "one A 192.0.2.1", "alias CNAME one",
	}}, testenv.Zone{Name: "example.net."})
	c := authorityOf(n)
	servers, err := c.Servers(t.Context(), "example.org.")
	want := []Server{{"ns1.example.org.", netip.MustParseAddr("::1")}, {"ns1.example.org.", netip.MustParseAddr("127.0.0.1")}}
	if err != nil || !slices.Equal(servers, want) {
		t.Fatalf("got %v, %v", servers, err)
	}
	for _, s := range servers {
		if err := c.Answers(t.Context(), s.Addr, "example.org."); err != nil {
			t.Errorf("%s: %v", s.Addr, err)
		}
		if err := c.Answers(t.Context(), s.Addr, "example.com."); !errors.Is(err, RcodeError(dns.RcodeRefused)) {
			t.Errorf("%s, of another zone: %v", s.Addr, err)
		}
		got, err := c.Addresses(t.Context(), s.Addr, "one.example.org.", dns.TypeA)
		if err != nil || !slices.Equal(addrStrings(got), []string{"192.0.2.1"}) {
			t.Errorf("%s: got %v, %v", s.Addr, got, err)
		}
		var alias *AliasError
		if _, err := c.Addresses(t.Context(), s.Addr, "alias.example.org.", dns.TypeAAAA); !errors.As(err, &alias) || alias.Target != "one.example.org." {
			t.Errorf("%s: alias: %v", s.Addr, err)
		}
	}
	if _, err := c.Servers(t.Context(), "one.example.org."); err == nil || !strings.Contains(err.Error(), "it has no NS records") {
		t.Errorf("of no zone: %v", err)
	}
}

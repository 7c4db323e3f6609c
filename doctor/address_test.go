package doctor

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-nas/caddy-nas-registry/ddnsipv6"
)

// publicPatient has the name nas.example.org, and nothing else yet.
func publicPatient() *patient {
	return &patient{setup: &setup{names: []string{"nas.example.org"}, port: "5002", parsed: new(caddy.Config)}}
}

// expectFinding holds a finding against its status, a part of its advice and parts
// of what was seen.
func expectFinding(t *testing.T, got Finding, status Status, advice string, seen ...string) {
	t.Helper()
	all := strings.Join(got.Seen, "\n")
	if got.Status != status || !strings.Contains(got.Advice, advice) || (advice == "") != (got.Advice == "") {
		t.Errorf("got %s, advice %q, want %s with %q; seen:\n%s", got.Status, got.Advice, status, advice, all)
	}
	for _, part := range seen {
		if !strings.Contains(all, part) {
			t.Errorf("%q was not seen:\n%s", part, all)
		}
	}
}

func TestJudgeRoutes(t *testing.T) {
	expectFinding(t, judgeRoutes(nil), Wrong, "Turn on IPv6", "no default route")
	expectFinding(t, judgeRoutes([]ddnsipv6.Route{{Interface: "eth0", Gateway: "fe80::1"}}), OK, "", "eth0", "fe80::1")
}

func TestJudgeAddresses(t *testing.T) {
	const good = "2600:1::1"
	usable := ddnsipv6.AddressStatus{Address: good, Interface: "eth0", Usable: true}
	rejected := func(reason ddnsipv6.Reason) ddnsipv6.AddressStatus {
		return ddnsipv6.AddressStatus{Address: "2600:1::2", Interface: "eth0", Rejected: reason.String()}
	}
	local := ddnsipv6.AddressStatus{Address: "fe80::1", Interface: "docker0", Rejected: ddnsipv6.NotGlobal.String()}
	for _, test := range []struct {
		name      string
		addresses []ddnsipv6.AddressStatus
		selected  string
		names     []ddnsipv6.NameStatus
		err       string
		want      string
		status    Status
		advice    string
		seen      []string
	}{
		{
			name: "one", addresses: []ddnsipv6.AddressStatus{local, usable}, selected: good, want: good, status: OK,
			seen: []string{"chosen: 2600:1::1, of this machine", "selected: 2600:1::1 (eth0)", "not a global unicast address: fe80::1 (docker0)"},
		},
		{
			name: "another device", addresses: []ddnsipv6.AddressStatus{usable}, selected: good, want: "2600:1::5", status: OK,
			names: []ddnsipv6.NameStatus{{Name: "NAS.example.org", Wanted: "2600:1::5"}}, seen: []string{"another device"},
		},
		{
			name: "a suffix of this machine", selected: good, want: "2600:1::5", status: OK,
			addresses: []ddnsipv6.AddressStatus{usable, {Address: "2600:1::5", Usable: true}},
			names:     []ddnsipv6.NameStatus{{Name: "nas.example.org", Wanted: "2600:1::5"}}, seen: []string{"2600:1::5, of this machine"},
		},
		{
			name: "wildcard", addresses: []ddnsipv6.AddressStatus{usable}, selected: good, want: "2600:1::5", status: OK,
			names: []ddnsipv6.NameStatus{{Name: "*.example.org", Wanted: "2600:1::5"}},
		},
		{
			name: "a suffix that doesn't fit", addresses: []ddnsipv6.AddressStatus{usable}, selected: good, status: Wrong,
			names:  []ddnsipv6.NameStatus{{Name: "nas.example.org", Problem: "suffix overlaps"}},
			advice: "suffix", seen: []string{"suffix overlaps"},
		},
		{name: "none at all", status: Wrong, advice: "prefix delegation", seen: []string{"no IPv6 address"}},
		{name: "local ones", addresses: []ddnsipv6.AddressStatus{local}, status: Wrong, advice: "prefix delegation"},
		{name: "duplicate", addresses: []ddnsipv6.AddressStatus{local, rejected(ddnsipv6.DADFailed)}, status: Wrong, advice: "another address", seen: []string{"another host has it"}},
		{name: "deprecated", addresses: []ddnsipv6.AddressStatus{rejected(ddnsipv6.Deprecated)}, status: Wrong, advice: "restart the router"},
		{name: "no longer announced", addresses: []ddnsipv6.AddressStatus{rejected(ddnsipv6.NotRefreshed)}, status: Wrong, advice: "new prefix"},
		{name: "elsewhere", addresses: []ddnsipv6.AddressStatus{rejected(ddnsipv6.NotOnDefaultRoute)}, status: Wrong, advice: "source interface"},
		{name: "temporary", addresses: []ddnsipv6.AddressStatus{rejected(ddnsipv6.Temporary)}, status: Wrong, advice: "lasting"},
		{name: "excluded", addresses: []ddnsipv6.AddressStatus{rejected(ddnsipv6.Excluded)}, status: Wrong, advice: "exclude"},
		{name: "not included", addresses: []ddnsipv6.AddressStatus{rejected(ddnsipv6.NotIncluded)}, status: Wrong, advice: "include"},
		{name: "tentative", addresses: []ddnsipv6.AddressStatus{rejected(ddnsipv6.Tentative)}, status: Wrong, advice: "some seconds"},
		{name: "not known", err: `interface "eth7" does not exist`, status: Wrong, advice: "option source", seen: []string{"eth7"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			finding, got := judgeAddresses(ddnsipv6.PolicyStatus{Addresses: test.addresses, Selected: test.selected, Names: test.names, Error: test.err}, "nas.example.org")
			expectFinding(t, finding, test.status, test.advice, test.seen...)
			if got.IsValid() != (test.want != "") || got.IsValid() && got.String() != test.want {
				t.Errorf("selected %v, want %q", got, test.want)
			}
		})
	}
}

// The Caddy that runs knows more than one look tells.
func TestAddressOfRunning(t *testing.T) {
	p := publicPatient()
	p.setup.policies = []json.RawMessage{[]byte(`{"domains":[{"name":"nas.example.org"}],"sources":[{"source":"static","addresses":["2600:1::1","2600:2::1"]}]}`)}
	expectFinding(t, lookAddress(t.Context(), p), OK, "", "chosen: 2600:1::1", "usable: 2600:2::1")
	p.status = &ddnsipv6.Status{Policies: []ddnsipv6.PolicyStatus{
		{Names: []ddnsipv6.NameStatus{{Name: "other.example.org", Wanted: "2600:9::9"}}},
		{
			Selected: "2600:2::1", Names: []ddnsipv6.NameStatus{{Name: "nas.example.org", Wanted: "2600:2::1"}},
			Addresses: []ddnsipv6.AddressStatus{
				{Address: "2600:1::1", Rejected: ddnsipv6.NotRefreshed.String()},
				{Address: "2600:2::1", Usable: true},
			},
		},
	}}
	expectFinding(t, lookAddress(t.Context(), p), OK, "", "chosen: 2600:2::1", ddnsipv6.NotRefreshed.String()+": 2600:1::1")
	if p.selected != netip.MustParseAddr("2600:2::1") {
		t.Errorf("selected %v", p.selected)
	}
}

func TestPolicyOfName(t *testing.T) {
	t.Setenv("DOCTOR_NAME", "nas.example.org")
	for _, test := range []struct{ name, domain, want string }{
		{"same", "nas.example.org", "yes"},
		{"letter case and dot", "NAS.example.org.", "yes"},
		{"placeholder", "{env.DOCTOR_NAME}", "yes"},
		{"wildcard", "*.example.org", "yes"},
		{"another", "printer.example.org", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &setup{names: []string{"nas.example.org"}, policies: []json.RawMessage{[]byte(`{"domains":[{"name":"` + test.domain + `"}]}`)}}
			if got := s.policy() != nil; got != (test.want != "") {
				t.Errorf("got %v", got)
			}
		})
	}
}

package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddy-nas/caddy-nas-registry/ddnsipv6"
)

const (
	ipv6Advice = "Turn on IPv6 in the router's internet settings, and on the NAS: " +
		"in DSM Control Panel, Network, Network Interface, Edit, IPv6: Auto."
	prefixAdvice = "Turn on IPv6 with a prefix of the provider's (prefix delegation) in the router's internet settings; " +
		"if there is none, ask the internet provider for IPv6."
)

// lookRoute looks whether this machine has a router for IPv6.
func lookRoute(ctx context.Context, _ *patient) Finding {
	routes, err := ddnsipv6.DefaultRoutes(ctx)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return unknown("Run the doctor on the NAS, or another machine with Linux.", "this system does not tell its routes")
	case err != nil:
		return unknown("Run the doctor as root, on the machine itself.", err.Error())
	}
	return judgeRoutes(routes)
}

func judgeRoutes(routes []ddnsipv6.Route) Finding {
	if len(routes) == 0 {
		return wrong(ipv6Advice, "there is no default route for IPv6: no router says that it is one")
	}
	var seen []string
	for _, r := range routes {
		line := "IPv6 goes over interface " + r.Interface
		if r.Gateway != "" {
			line += " to the router " + r.Gateway
		}
		seen = append(seen, line)
	}
	return ok(seen...)
}

// lookAddress looks which address is published for the registry's name: the
// patient's selected.
func lookAddress(ctx context.Context, p *patient) Finding {
	status, err := p.addressing(ctx)
	if err != nil {
		return unknown("Correct ddns_ipv6 in the config; caddy validate --config <file> tells more.", err.Error())
	}
	finding, selected := judgeAddresses(status, p.setup.name())
	p.selected = selected
	return finding
}

// addressing is what ddns_ipv6 knows of the addresses, or would know: the Caddy that
// runs has seen which networks the routers no longer announce.
func (p *patient) addressing(ctx context.Context) (ddnsipv6.PolicyStatus, error) {
	if policy, _, there := p.running(); there && (len(policy.Addresses) > 0 || policy.Error != "" || policy.MissingSince != nil) {
		return policy, nil
	}
	modules, release, err := p.modules(ctx)
	if err != nil {
		return ddnsipv6.PolicyStatus{}, err
	}
	defer release()
	return ddnsipv6.Look(modules, p.setup.policy()) //nolint:contextcheck // that of the modules ends with ctx
}

// running is how the registry's name stands in the Caddy that runs.
func (p *patient) running() (ddnsipv6.PolicyStatus, ddnsipv6.NameStatus, bool) {
	if p.status == nil {
		return ddnsipv6.PolicyStatus{}, ddnsipv6.NameStatus{}, false
	}
	for _, policy := range p.status.Policies {
		if name, there := nameIn(policy, p.setup.name()); there {
			return policy, name, true
		}
	}
	return ddnsipv6.PolicyStatus{}, ddnsipv6.NameStatus{}, false
}

// nameIn returns the name, or the wildcard that stands for it.
func nameIn(policy ddnsipv6.PolicyStatus, name string) (ddnsipv6.NameStatus, bool) {
	for _, want := range []string{name, wildcardOf(name)} {
		for _, n := range policy.Names {
			if strings.EqualFold(n.Name, want) {
				return n, true
			}
		}
	}
	return ddnsipv6.NameStatus{}, false
}

func wildcardOf(name string) string {
	_, parent, _ := strings.Cut(name, ".")
	return "*." + parent
}

// policy is the one of ddns_ipv6 for the registry's name; nil: there is none, as
// where DSM keeps the name.
func (s *setup) policy() json.RawMessage {
	for _, want := range []string{s.name(), wildcardOf(s.name())} {
		for _, raw := range s.policies {
			var policy ddnsipv6.Policy
			if json.Unmarshal(raw, &policy) == nil && slices.ContainsFunc(policy.Domains, func(d ddnsipv6.Domain) bool {
				return strings.EqualFold(strings.TrimSuffix(replaced(d.Name), "."), want)
			}) {
				return raw
			}
		}
	}
	return nil
}

// judgeAddresses tells which address a name shall have, and why no other.
func judgeAddresses(status ddnsipv6.PolicyStatus, name string) (finding Finding, selected netip.Addr) {
	wanted, of := status.Selected, "this machine"
	n, there := nameIn(status, name)
	if there {
		if n.Problem != "" {
			return wrong("Correct suffix or mac of the name in ddns_ipv6.", append([]string{n.Problem}, addressLines(status)...)...), netip.Addr{}
		}
		if n.Wanted != "" && n.Wanted != wanted {
			wanted, of = n.Wanted, "another device, as the config says"
			if slices.ContainsFunc(status.Addresses, func(a ddnsipv6.AddressStatus) bool { return a.Address == wanted }) {
				of = "this machine, as the config says"
			}
		}
	}
	seen := addressLines(status)
	if status.Error != "" {
		seen = append(seen, "a source of addresses fails: "+status.Error)
	}
	selected, err := netip.ParseAddr(wanted)
	switch {
	case err == nil:
		return ok(append([]string{"chosen: " + wanted + ", of " + of}, seen...)...), selected
	case status.Error != "":
		return wrong("Correct the option source of ddns_ipv6, or mend what it asks.", seen...), netip.Addr{}
	case len(seen) == 0:
		seen = []string{"this machine has no IPv6 address that others could reach"}
	}
	return wrong(adviseAddresses(status.Addresses), seen...), netip.Addr{}
}

// addressLines lists all addresses, by what became of them: a machine with
// containers has many.
func addressLines(status ddnsipv6.PolicyStatus) (lines []string) {
	var verdicts []string
	by := make(map[string][]string)
	for _, a := range status.Addresses {
		verdict, text := a.Rejected, a.Address
		if a.Usable {
			if a.Address == status.Selected {
				verdict = "selected"
			} else {
				verdict = "usable"
			}
		}
		if a.Interface != "" {
			text += " (" + a.Interface + ")"
		}
		if by[verdict] == nil {
			verdicts = append(verdicts, verdict)
		}
		by[verdict] = append(by[verdict], text)
	}
	slices.SortStableFunc(verdicts, func(a, b string) int { return rank(a) - rank(b) })
	for _, verdict := range verdicts {
		lines = append(lines, verdict+": "+strings.Join(by[verdict], ", "))
	}
	return lines
}

func rank(verdict string) int {
	if i := slices.Index([]string{"selected", "usable"}, verdict); i >= 0 {
		return i
	}
	return 2
}

// addressAdvice is by the reason of a rejection, beginning with the one that is the
// least away from a usable address.
var addressAdvice = []struct {
	reason ddnsipv6.Reason
	advice string
}{
	{ddnsipv6.Tentative, "Wait some seconds, and run the doctor again: the address is being made."},
	{ddnsipv6.DADFailed, "Give one of the two machines another address: the other one has the same."},
	{ddnsipv6.NotRefreshed, "Wait some minutes for an address of the router's new prefix; if none comes, restart the router."},
	{ddnsipv6.Deprecated, "Wait some minutes for a new address; if none comes, restart the router: it no longer stands by the old one."},
	{ddnsipv6.Temporary, "Let the machine make a lasting address beside the temporary ones: set IPv6 to Auto, and use_tempaddr to 0 or 1."},
	{ddnsipv6.NotOnDefaultRoute, "Name the interface in ddns_ipv6 (source interface <name>), or let the default route lead over it."},
	{ddnsipv6.Excluded, "Correct the option exclude of ddns_ipv6."},
	{ddnsipv6.NotIncluded, "Correct the option include of ddns_ipv6."},
}

func adviseAddresses(addresses []ddnsipv6.AddressStatus) string {
	for _, a := range addressAdvice {
		if slices.ContainsFunc(addresses, func(s ddnsipv6.AddressStatus) bool { return s.Rejected == a.reason.String() }) {
			return a.advice
		}
	}
	return prefixAdvice
}

package ddnsipv6

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libdns/libdns"
)

// quad is a record as most providers return it; id is what they know it by.
func quad(name, ip string, id int) libdns.Record {
	return libdns.Address{Name: name, TTL: time.Hour, IP: netip.MustParseAddr(ip), ProviderData: id}
}

// raw is a record of a provider that doesn't parse its data.
func raw(name, kind, data string) libdns.Record {
	return libdns.RR{Name: name, Type: kind, Data: data, TTL: time.Minute}
}

var recordsExactly = cmp.Comparer(func(a, b libdns.Record) bool { return a == b })

func TestAAAA(t *testing.T) {
	quads := func(names ...string) (list []libdns.Record) {
		for i, name := range names {
			list = append(list, quad(name, "2600::1", i))
		}
		return list
	}
	names := quads("nas", "NAS", "nas.example.com.", "nAs.eXample.COM.", "xnas", "nas.sub", "nas.example.com", "nas.", "*", "@", "", "example.com.", "EXAMPLE.com.", "nas.xexample.com.")
	tests := []struct {
		name, fqdn, zone string
		records          []libdns.Record
		want             []libdns.Record
	}{
		{name: "no records", fqdn: "nas.example.com.", zone: "example.com."},
		{name: "name", fqdn: "nas.example.com.", zone: "example.com.", records: names, want: names[:4]},
		{name: "name and zone in upper case", fqdn: "NAS.example.com.", zone: "EXAMPLE.com.", records: names, want: names[:4]},
		{name: "zone itself", fqdn: "example.com.", zone: "example.com.", records: names, want: names[9:13]},
		{name: "wildcard", fqdn: "*.example.com.", zone: "example.com.", records: names, want: names[8:9]},
		{name: "zone that a label only ends with", fqdn: "nas.xexample.com.", zone: "example.com.", records: names[:13]},
		{
			name: "types", fqdn: "nas.example.com.", zone: "example.com.",
			records: []libdns.Record{
				quad("nas", "192.0.2.1", 1), raw("nas", "A", "192.0.2.1"), raw("nas", "TXT", "2600::1"), raw("nas", "CNAME", "xnas"),
				libdns.Address{Name: "nas"}, raw("nas", "HTTPS", "1 . ipv6hint=2600::1"),
				quad("nas", "2600::1", 2), raw("nas", "AAAA", "2600::1"), raw("nas", "AAAA", "garbage"),
			},
			want: []libdns.Record{quad("nas", "2600::1", 2), raw("nas", "AAAA", "2600::1"), raw("nas", "AAAA", "garbage")},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := aaaa(test.records, test.fqdn, test.zone)
			if d := cmp.Diff(RRset{Known: true, Records: test.want}, got, recordsExactly); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestValues(t *testing.T) {
	tests := []struct{ name, data, want string }{
		{name: "address", data: "2600::1", want: "2600::1"},
		{name: "upper case, not shortened", data: "2600:0:0:0:0:0:0:ABCD", want: "2600::abcd"},
		{name: "spaces", data: " 2600::1\n", want: "2600::1"},
		{name: "IPv4-mapped", data: "::ffff:192.0.2.1", want: "192.0.2.1"},
		{name: "empty"},
		{name: "garbage", data: "nas.example.com."},
		{name: "in brackets", data: "[2600::1]"},
	}
	var records []libdns.Record
	var want []netip.Addr
	for _, test := range tests {
		var ip netip.Addr
		if test.want != "" {
			ip = netip.MustParseAddr(test.want)
		}
		if got := valueOf(raw("nas", "AAAA", test.data)); got != ip {
			t.Errorf("%s: %s, want %s", test.name, got, ip)
		}
		records, want = append(records, raw("nas", "AAAA", test.data)), append(want, ip)
	}
	if got := (RRset{Records: records}).addresses(); !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPlan(t *testing.T) {
	known := func(records ...libdns.Record) RRset { return RRset{Known: true, Records: records} }
	good, stale, older := quad("nas", "2600::1", 1), quad("nas", "2600::2", 2), quad("NAS", "2600::3", 3)
	again, mapped, garbage := raw("nas", "AAAA", "2600:0::0001"), raw("nas", "AAAA", "::ffff:192.0.2.1"), raw("nas", "AAAA", "?")
	tests := []struct {
		name      string
		wanted    string // empty: none
		read      RRset
		confirmed string
		want      Step
	}{
		{name: "right", wanted: "2600::1", read: known(good)},
		{name: "right, though another spelling and TTL", wanted: "2600::1", read: known(again)},
		{name: "right, though something else was confirmed", wanted: "2600::1", read: known(good), confirmed: "2600::2"},
		{name: "no record", wanted: "2600::1", read: known(), want: Step{Write: true}},
		{name: "no record, whatever was confirmed", wanted: "2600::1", read: known(), confirmed: "2600::1", want: Step{Write: true}},
		{name: "another address", wanted: "2600::1", read: known(stale), confirmed: "2600::1", want: Step{Write: true}},
		{name: "several others: write before anything is deleted", wanted: "2600::1", read: known(stale, older), want: Step{Write: true}},
		{name: "IPv4-mapped", wanted: "2600::1", read: known(mapped), want: Step{Write: true}},
		{name: "garbage", wanted: "2600::1", read: known(garbage), want: Step{Write: true}},
		{name: "stale ones beside", wanted: "2600::1", read: known(stale, good, older), want: Step{Delete: []libdns.Record{stale, older}}},
		// A provider that deletes by value would delete both.
		{name: "twice", wanted: "2600::1", read: known(good, again)},
		{name: "twice, and a stale one", wanted: "2600::1", read: known(good, stale, again), want: Step{Delete: []libdns.Record{stale}}},
		{name: "rubbish beside", wanted: "2600::1", read: known(mapped, garbage, good), want: Step{Delete: []libdns.Record{mapped, garbage}}},

		{name: "unknown", wanted: "2600::1", want: Step{Write: true}},
		{name: "unknown, but confirmed", wanted: "2600::1", confirmed: "2600::1"},
		{name: "unknown, another confirmed", wanted: "2600::1", confirmed: "2600::2", want: Step{Write: true}},
		{name: "unknown: what is read is of no account", wanted: "2600::1", read: RRset{Records: []libdns.Record{good, stale}}, want: Step{Write: true}},

		{name: "none, and there is none", read: known(), confirmed: "2600::1"},
		{name: "none, and there are some", read: known(good, garbage), want: Step{Delete: []libdns.Record{good, garbage}}},
		{name: "none, unknown", want: Step{}},
		{name: "none, unknown, but confirmed", confirmed: "2600::1", want: Step{DeleteAll: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Plan(addrOrZero(test.wanted), test.read, addrOrZero(test.confirmed))
			if d := cmp.Diff(test.want, got, recordsExactly); d != "" {
				t.Error(d)
			}
			nothing := !test.want.Write && !test.want.DeleteAll && test.want.Delete == nil
			if got.Nothing() != nothing {
				t.Errorf("nothing to do: %t", got.Nothing())
			}
		})
	}
}

func addrOrZero(s string) netip.Addr {
	ip, _ := netip.ParseAddr(s)
	return ip
}

func TestThin(t *testing.T) {
	good, stale, older := quad("nas", "2600::1", 1), quad("nas", "2600::2", 2), quad("nas", "2600::3", 3)
	again, mapped, garbage := raw("nas", "AAAA", "2600:0::0001"), raw("nas", "AAAA", "::ffff:192.0.2.1"), raw("nas", "AAAA", "?")
	list := func(records ...libdns.Record) []libdns.Record { return records }
	tests := []struct {
		name       string
		read, want []libdns.Record
		confirmed  string
	}{
		{name: "none", confirmed: "2600::1"},
		{name: "one stays, whatever it is", read: list(stale), confirmed: "2600::1"},
		{name: "the confirmed one stays", read: list(stale, good, older), confirmed: "2600::1", want: list(stale, older)},
		{name: "the confirmed one stays, even twice", read: list(again, stale, good), confirmed: "2600::1", want: list(stale)},
		{name: "none is confirmed: the first one stays", read: list(stale, good), want: list(good)},
		{name: "another is confirmed: the first one stays", read: list(stale, older), confirmed: "2600::1", want: list(older)},
		// A record that holds no address must not be all that is left.
		{name: "garbage first", read: list(garbage, mapped, good), want: list(garbage, mapped)},
		{name: "garbage last", read: list(good, garbage), want: list(garbage)},
		{name: "garbage only", read: list(garbage, mapped), want: list(mapped)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Thin(RRset{Known: true, Records: test.read}, addrOrZero(test.confirmed))
			if d := cmp.Diff(test.want, got, recordsExactly); d != "" {
				t.Error(d)
			}
		})
	}
}

// model is a zone at a provider, in which nas.example.com is managed.
type model struct {
	t       *testing.T
	seed    uint64
	records []libdns.Record
	appends bool // SetRecords leaves what is there, as some providers' does
	byValue bool // DeleteRecords deletes all of the name that has the value
}

// managed are the spellings of the managed name.
var managed = []string{"nas", "NAS", "nas.example.com.", "Nas.Example.Com."}

func isManaged(r libdns.Record) bool {
	return r.RR().Type == "AAAA" && slices.Contains(managed, r.RR().Name)
}

func (m *model) read() RRset { return aaaa(m.records, "nas.example.com.", "example.com.") }

// addresses returns the IPv6 addresses of the managed name.
func (m *model) addresses() (list []netip.Addr) {
	for _, r := range m.records {
		ip, err := netip.ParseAddr(r.RR().Data)
		if isManaged(r) && err == nil && !ip.Is4In6() {
			list = append(list, ip)
		}
	}
	return list
}

// unmanaged returns all that must not be touched.
func (m *model) unmanaged() []libdns.Record {
	return slices.DeleteFunc(slices.Clone(m.records), isManaged)
}

func (m *model) set(ip netip.Addr) {
	if !m.appends {
		m.records = m.unmanaged()
	}
	m.records = append(m.records, libdns.Address{Name: "nas", IP: ip, ProviderData: -1})
}

func (m *model) remove(record libdns.Record) {
	m.records = slices.DeleteFunc(m.records, func(r libdns.Record) bool {
		same := valueOf(r) == valueOf(record) && (valueOf(r).IsValid() || r.RR().Data == record.RR().Data)
		return r == record || m.byValue && isManaged(r) && same
	})
}

// apply takes a step, and returns false if there was nothing to do.
func (m *model) apply(s Step, wanted netip.Addr) bool {
	read, had := m.read().Records, len(m.addresses())
	check := func() {
		if had > 0 && wanted.IsValid() && len(m.addresses()) == 0 {
			m.t.Fatalf("seed %d: no address is left by %+v", m.seed, s)
		}
	}
	if s.Write {
		m.set(wanted)
		check()
	}
	for _, r := range s.Delete {
		if !slices.Contains(read, r) {
			m.t.Fatalf("seed %d: %v is deleted, but was not read", m.seed, r)
		}
		m.remove(r)
		check()
	}
	if s.DeleteAll {
		m.records = m.unmanaged()
	}
	return !s.Nothing()
}

// converge makes a zone of all kinds of records by the seed, and does what Plan
// says until there is nothing more to do.
func converge(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	m := &model{t: t, seed: seed, appends: r.IntN(3) == 0, byValue: r.IntN(2) == 0}
	data := []string{"2600::1", "2600:0:0::1", "2600::AB", "2600::ab", "2600::3", "::ffff:192.0.2.1", "fd00::1", "garbage", ""}
	for id := range r.IntN(12) {
		name := pick(r, append(managed, "xnas", "nas.sub", "@", "", "example.com.", "*", "nas.example.com")...)
		record := raw(name, pick(r, "AAAA", "AAAA", "AAAA", "A", "TXT"), pick(r, data...))
		if ip := addrOrZero(record.RR().Data); ip.IsValid() && r.IntN(2) == 0 {
			record = libdns.Address{Name: name, IP: ip, TTL: time.Hour, ProviderData: id}
		}
		m.records = append(m.records, record)
	}
	wanted := addrOrZero(pick(r, "2600::1", "2600::ab", "2600::4", ""))
	confirmed := addrOrZero(pick(r, "2600::1", "2600::3", ""))
	unmanaged := m.unmanaged()

	readable := pick(r, 0, 1, 2) // never, now and then, always
	if readable == 0 {
		// All that is known of the zone is what was written to it.
		m.appends, m.records = false, m.unmanaged()
		if confirmed.IsValid() {
			m.set(confirmed)
		}
	}
	steps := 0
	for {
		read := m.read()
		if readable == 0 || readable == 1 && r.IntN(2) == 0 {
			read = RRset{}
		}
		step := Plan(wanted, read, confirmed)
		if m.apply(step, wanted) {
			if steps++; steps > 3 {
				t.Fatalf("seed %d: no end: %+v", seed, step)
			}
			if step.Write || step.DeleteAll {
				confirmed = wanted
			}
		} else if read.Known || readable == 0 {
			break
		}
	}
	// What is there twice may stay twice: DNS has it once.
	got := slices.Compact(m.addresses())
	if one := len(got) == 1 && got[0] == wanted; one != wanted.IsValid() || !one && len(got) > 0 {
		t.Errorf("seed %d: the name has %s after %d steps, want %s", seed, got, steps, wanted)
	}
	for _, r := range m.records {
		if isManaged(r) && valueOf(r) != wanted {
			t.Errorf("seed %d: %v is left after %d steps", seed, r, steps)
		}
	}
	if got := m.unmanaged(); !slices.Equal(got, unmanaged) {
		t.Errorf("seed %d: others were touched: %v, want %v", seed, got, unmanaged)
	}
}

// Whatever is in a zone, at most three steps lead to the wanted address alone,
// the name is never without one in between, and nothing else is touched.
func TestPlanConverges(t *testing.T) {
	for seed := range uint64(20000) {
		if converge(t, seed); t.Failed() {
			return
		}
	}
}

func FuzzPlan(f *testing.F) {
	f.Add(uint64(0))
	f.Fuzz(converge)
}

// The names and the values come from providers: nothing in them may do harm.
func FuzzAAAA(f *testing.F) {
	f.Add("nas", "2600::1", "AAAA")
	f.Add("NAS.example.com.", "2600::AB%eth0", "AAAA")
	f.Add("", "", "A")
	f.Fuzz(func(t *testing.T, name, data, kind string) {
		record := raw(name, kind, data)
		set := aaaa([]libdns.Record{record}, "nas.example.com.", "example.com.")
		// Names in DNS are ASCII; of other scripts EqualFold knows more than ToLower.
		ascii := !strings.ContainsFunc(name, func(r rune) bool { return r > 0x7f })
		want := kind == "AAAA" && slices.Contains([]string{"nas", "nas.example.com."}, strings.ToLower(name))
		if got := len(set.Records) == 1; ascii && got != want {
			t.Errorf("%q %s is the name's: %t", name, kind, got)
		}
		wanted := netip.MustParseAddr("2600::1")
		step := Plan(wanted, set, netip.Addr{})
		if step.Write != !slices.Contains(set.addresses(), wanted) || len(step.Delete) > 0 {
			t.Errorf("%q %s %q: %+v", name, kind, data, step)
		}
	})
}

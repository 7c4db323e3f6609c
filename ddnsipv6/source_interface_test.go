package ddnsipv6

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestInterfaceSourceCaddyfile(t *testing.T) {
	for _, tt := range []struct {
		name, input string
		want        []string
		wantErr     string
	}{
		{name: "no name", input: "interface"},
		{name: "names", input: "interface eth0 wlan0", want: []string{"eth0", "wlan0"}},
		{name: "placeholder", input: "interface {env.LAN}", want: []string{"{env.LAN}"}},
		{name: "empty block", input: "interface eth0 {\n}", want: []string{"eth0"}},
		{name: "twice", input: "interface eth0 wlan0 eth0", wantErr: "source interface names eth0 twice"},
		{name: "option", input: "interface eth0 {\n\tttl 5m\n}", wantErr: "source interface has no options, found ttl"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s InterfaceSource
			err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tt.input))
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || !slices.Equal(s.Names, tt.want) {
				t.Errorf("names %q, %v, want %q", s.Names, err, tt.want)
			}
		})
	}
}

func TestInterfaceSourceProvision(t *testing.T) {
	t.Setenv("TEST_LAN", "eth0")
	for _, tt := range []struct {
		name        string
		names, want []string
		wantErr     string
	}{
		{name: "none"},
		{name: "placeholder", names: []string{"{env.TEST_LAN}", "wlan0"}, want: []string{"eth0", "wlan0"}},
		{name: "twice", names: []string{"eth0", "{env.TEST_LAN}"}, wantErr: "source interface names eth0 twice"},
		{name: "empty", names: []string{""}, wantErr: "source interface: a name is empty"},
		{name: "unset", names: []string{"{env.TEST_UNSET}"}, wantErr: "{env.TEST_UNSET}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
			defer cancel()
			s := InterfaceSource{Names: tt.names}
			err := s.Provision(ctx)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("error %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || !slices.Equal(s.names, tt.want) {
				t.Errorf("names %q, %v, want %q", s.names, err, tt.want)
			}
		})
	}
}

// newInterfaceSource returns a source as Provision makes it, and its log.
func newInterfaceSource(t *testing.T, names ...string) (*InterfaceSource, *observer.ObservedLogs) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	s := &InterfaceSource{Names: names}
	if err := s.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.DebugLevel)
	s.logger = zap.New(core)
	return s, logs
}

// lines returns the log as "level message interface".
func lines(logs *observer.ObservedLogs) []string {
	lines := []string{}
	for _, entry := range logs.All() {
		line := entry.Level.String() + " " + entry.Message
		if name, ok := entry.ContextMap()["interface"].(string); ok {
			line += " " + name
		}
		lines = append(lines, line)
	}
	return lines
}

func TestInterfaceSourceAddresses(t *testing.T) {
	lan := Address{IP: netip.MustParseAddr("2600::1"), Interface: "eth0", DefaultRoute: true}
	guest := Address{IP: netip.MustParseAddr("2600:1::1"), Interface: "eth1"}
	loopback := Address{IP: netip.MustParseAddr("2600:2::1"), Interface: "lo"}
	host := hostState{
		links:     []link{{name: "lo", loopback: true}, {name: "veth1a2b", port: true}, {name: "eth1"}, {name: "eth0"}},
		addresses: []Address{lan, guest, loopback},
	}
	rejected := guest
	rejected.Rejected = NotOnDefaultRoute
	for _, tt := range []struct {
		name    string
		names   []string
		host    hostState
		want    []Address
		wantErr string
	}{
		{name: "default route", host: host, want: []Address{lan, rejected}},
		{name: "nothing there", host: hostState{links: host.links}, want: []Address{}},
		{name: "named", names: []string{"eth1"}, host: host, want: []Address{guest}},
		{name: "named loopback", names: []string{"lo", "eth0"}, host: host, want: []Address{lan, loopback}},
		{name: "named without addresses", names: []string{"veth1a2b"}, host: host},
		{name: "one of two missing", names: []string{"eth0", "eth9"}, host: host, want: []Address{lan}},
		{
			name: "missing", names: []string{"eth9"}, host: host,
			wantErr: `interface "eth9" does not exist; there are: eth0, eth1, lo`,
		},
		{
			name: "both missing", names: []string{"eth9", "eth8"}, host: host,
			wantErr: "none of the interfaces eth9, eth8 exists; there are: eth0, eth1, lo",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newInterfaceSource(t, tt.names...)
			s.read = func(context.Context) (hostState, error) { return tt.host, nil }
			got, err := s.Addresses(t.Context())
			if tt.wantErr != "" {
				if err == nil || err.Error() != tt.wantErr {
					t.Fatalf("error %v, want %q", err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b Address) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
	if guest.Rejected != Usable || host.addresses[1].Rejected != Usable {
		t.Error("what was read was changed")
	}
}

// A list that can't be read is not an empty one.
func TestInterfaceSourceUnknown(t *testing.T) {
	s, _ := newInterfaceSource(t)
	broken := errors.New("broken")
	s.read = func(context.Context) (hostState, error) { return hostState{}, broken }
	if got, err := s.Addresses(t.Context()); !errors.Is(err, broken) || got != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestInterfaceSourceLogsOnce(t *testing.T) {
	s, logs := newInterfaceSource(t, "eth0", "eth1")
	var host hostState
	s.read = func(context.Context) (hostState, error) { return host, nil }
	const gone, back = "warn interface does not exist, using the others ", "info interface exists again "
	for _, step := range []struct {
		links []string
		want  []string
	}{
		{links: []string{"eth0", "eth1"}, want: []string{}},
		{links: []string{"eth0"}, want: []string{gone + "eth1"}},
		{links: []string{"eth0"}, want: []string{}},
		{links: []string{"lo"}, want: []string{}}, // an error, logged by the caller
		{links: []string{"eth0"}, want: []string{}},
		{links: []string{"eth1"}, want: []string{gone + "eth0", back + "eth1"}},
		{links: []string{"eth0", "eth1"}, want: []string{back + "eth0"}},
		{links: []string{"eth0", "eth1"}, want: []string{}},
	} {
		host.links = nil
		for _, name := range step.links {
			host.links = append(host.links, link{name: name})
		}
		_, _ = s.Addresses(t.Context())
		if diff := cmp.Diff(step.want, lines(logs)); diff != "" {
			t.Errorf("with %q: %s", step.links, diff)
		}
		logs.TakeAll()
	}
}

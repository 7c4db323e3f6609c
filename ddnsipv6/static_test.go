package ddnsipv6

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
)

func TestStaticCaddyfile(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
		err      string
	}{
		{name: "one", in: "static 2600:1::1", want: []string{"2600:1::1"}},
		{name: "several", in: "static 2600:1::1/56 {env.ADDRESS}", want: []string{"2600:1::1/56", "{env.ADDRESS}"}},
		{name: "empty block", in: "static 2600:1::1 {\n}", want: []string{"2600:1::1"}},
		// What is no address is found by Provision, since a placeholder may be one.
		{name: "no address", in: "static nas", want: []string{"nas"}},
		{name: "none", in: "static", err: "wrong argument count"},
		{name: "none, but a block", in: "static {\n2600:1::1\n}", err: "wrong argument count"},
		{name: "option", in: "static 2600:1::1 {\nprefix 64\n}", err: "source static has no options, found prefix"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var s StaticSource
			err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.in))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want an error with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, s.Addrs); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestStaticProvision(t *testing.T) {
	t.Setenv("STATIC_ADDRESS", "2600:1::5")
	t.Setenv("STATIC_EMPTY", "")
	tests := []struct {
		name string
		in   []string
		want []string // addresses in their prefixes
		err  string
	}{
		{name: "address", in: []string{"2600:1::1"}, want: []string{"2600:1::1 in 2600:1::/64"}},
		{name: "with a length", in: []string{"2600:1:2:345::1/56"}, want: []string{"2600:1:2:345::1 in 2600:1:2:300::/56"}},
		{name: "several, in their order", in: []string{"2600:2::1", "2600:1::1/128"}, want: []string{"2600:2::1 in 2600:2::/64", "2600:1::1 in 2600:1::1/128"}},
		{name: "documentation: the policy's business", in: []string{"2001:db8::1"}, want: []string{"2001:db8::1 in 2001:db8::/64"}},
		{name: "ULA: the policy's business", in: []string{"fd00::1"}, want: []string{"fd00::1 in fd00::/64"}},
		{name: "placeholder", in: []string{"{env.STATIC_ADDRESS}"}, want: []string{"2600:1::5 in 2600:1::/64"}},
		{name: "placeholder and length", in: []string{"{env.STATIC_ADDRESS}/48"}, want: []string{"2600:1::5 in 2600:1::/48"}},

		{name: "none", err: "needs an address"},
		{name: "empty", in: []string{""}, err: "is not an IPv6 address"},
		{name: "word", in: []string{"nas"}, err: `"nas" is not an IPv6 address`},
		{name: "second one bad", in: []string{"2600:1::1", "2600:1::g"}, err: `"2600:1::g" is not an IPv6 address`},
		{name: "IPv4", in: []string{"192.0.2.1"}, err: "192.0.2.1: not an IPv6 address"},
		{name: "IPv4 prefix", in: []string{"192.0.2.1/24"}, err: "192.0.2.1/24: not an IPv6 address"},
		{name: "IPv4-mapped", in: []string{"::ffff:192.0.2.1"}, err: "not an IPv6 address"},
		{name: "link-local", in: []string{"fe80::1"}, err: "fe80::1: not a global unicast address"},
		{name: "link-local with a zone", in: []string{"fe80::1%eth0"}, err: "is not an IPv6 address"},
		{name: "zone", in: []string{"2600:1::1%eth0"}, err: "is not an IPv6 address"},
		{name: "zone before the length", in: []string{"2600:1::1%eth0/64"}, err: "is not an IPv6 address"},
		{name: "loopback", in: []string{"::1"}, err: "not a global unicast address"},
		{name: "multicast", in: []string{"ff02::1"}, err: "not a global unicast address"},
		{name: "unspecified", in: []string{"::"}, err: "not a global unicast address"},
		{name: "length", in: []string{"2600:1::1/129"}, err: "is not an IPv6 address"},
		{name: "unknown placeholder", in: []string{"{nas.address}"}, err: "unrecognized placeholder {nas.address}"},
		{name: "environment variable not set", in: []string{"{env.STATIC_UNSET}"}, err: "placeholder {env.STATIC_UNSET} is empty"},
		{name: "environment variable empty", in: []string{"{env.STATIC_EMPTY}"}, err: "placeholder {env.STATIC_EMPTY} is empty"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := StaticSource{Addrs: test.in}
			err := s.Provision(caddy.Context{})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want an error with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			addresses, err := s.Addresses(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, a := range addresses {
				got = append(got, a.IP.String()+" in "+a.Prefix.String())
				a.IP, a.Prefix = netip.Addr{}, netip.Prefix{}
				if want := (Address{DefaultRoute: true, Flags: FlagPermanent, Preferred: Forever, Valid: Forever}); a != want {
					t.Errorf("got %+v, want %+v", a, want)
				}
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestStaticJSON(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string
		err      string
	}{
		{name: "addresses", in: `{"addresses": ["2600:1::1"]}`, want: []string{"2600:1::1"}},
		{name: "nothing", in: `{}`},
		{name: "unknown field", in: `{"address": "2600:1::1"}`, err: `unknown field "address"`},
		{name: "one instead of a list", in: `{"addresses": "2600:1::1"}`, err: "cannot unmarshal string"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			info, err := caddy.GetModule("ddns_ipv6.sources.static")
			if err != nil {
				t.Fatal(err)
			}
			s := info.New().(*StaticSource)
			err = caddy.StrictUnmarshalJSON([]byte(test.in), s)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want an error with %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, s.Addrs); d != "" {
				t.Error(d)
			}
		})
	}
}

// Watch stays until its context ends, and has nothing to tell.
func TestStaticWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := false
		go func() {
			(&StaticSource{}).Watch(ctx, func() { t.Error("changed") })
			ended = true
		}()
		if synctest.Wait(); ended {
			t.Error("ended before its context")
		}
		cancel()
		if synctest.Wait(); !ended {
			t.Error("did not end with its context")
		}
	})
}

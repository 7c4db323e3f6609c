package ddnsipv6

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestEchoSeesStable: on a host with temporary addresses, which it prefers for
// its connections, the services are asked from a stable one.
func TestEchoSeesStable(t *testing.T) {
	if !testenv.Namespace(t) {
		return
	}
	router := testenv.NewRouter(t, "v0")
	testenv.Sysctl(t, "net/ipv6/conf/v0/use_tempaddr", "2")
	router.Run("ip", "address", "add", "2001:db8:2::1/64", "dev", "r0")
	router.Advertise(testenv.Advertised{Prefix: "2001:db8:1::/64", Preferred: time.Hour, Valid: time.Hour})
	// from returns the address that a connection over the default route comes from.
	from := func(dialer *net.Dialer) netip.Addr {
		conn, err := dialer.DialContext(context.WithoutCancel(t.Context()), "udp6", "[2001:db8:2::1]:9")
		if err != nil {
			t.Log(err)
			return netip.Addr{}
		}
		defer conn.Close()
		return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	}
	testenv.Eventually(t, "both addresses", func() error {
		if out := testenv.IP(t, "-6", "address", "show", "dev", "v0", "scope", "global", "-tentative"); strings.Count(out, "2001:db8:1:") < 2 {
			return errors.New(out)
		}
		return nil
	})
	if ip := from(new(net.Dialer)); isEUI64(ip) {
		t.Fatalf("the host does not prefer its temporary address, but %s", ip)
	}
	if ip := from(&net.Dialer{Control: preferStable}); !isEUI64(ip) {
		t.Errorf("connects from %s", ip)
	}
}

package ddnsipv6

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

func TestDefaultRoutes(t *testing.T) {
	if !testenv.Namespace(t) {
		return
	}
	expect := func(when string, want ...Route) {
		t.Helper()
		got, err := DefaultRoutes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	expect("alone")
	router := testenv.NewRouter(t, "v0")
	router.Run("ip", "address", "add", "fe80::99/64", "dev", "r0", "nodad")
	testenv.IP(t, "-6", "route", "add", "default", "via", "fe80::99", "dev", "v0", "metric", "2000")
	expect("by hand", Route{"v0", "fe80::99"})
	testenv.IP(t, "-6", "route", "add", "default", "via", "fe80::97", "dev", "v0", "metric", "3000")
	expect("beside a worse one over the same interface", Route{"v0", "fe80::99"})
	testenv.IP(t, "-6", "route", "add", "unreachable", "default", "metric", "1")
	expect("beside an unreachable one", Route{"v0", "fe80::99"})
	testenv.IP(t, "link", "add", "d0", "type", "veth", "peer", "name", "d1")
	testenv.IP(t, "link", "set", "d1", "up")
	testenv.IP(t, "link", "set", "d0", "up")
	testenv.IP(t, "-6", "route", "add", "default", "dev", "d0", "metric", "100")
	expect("a better one without a gateway", Route{"d0", ""})
	testenv.IP(t, "-6", "route", "del", "default", "dev", "d0", "metric", "100")
	testenv.IP(t, "-6", "route", "del", "default", "via", "fe80::99", "dev", "v0")
	testenv.IP(t, "-6", "route", "add", "default", "metric", "50", "nexthop", "via", "fe80::99", "dev", "v0", "nexthop", "via", "fe80::98", "dev", "v0")
	expect("several next hops", Route{"v0", "fe80::99"}, Route{"v0", "fe80::98"})
}

// TestDefaultRoutesEnds: the error is that of the context, and not that a socket is
// closed.
func TestDefaultRoutesEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if routes, err := DefaultRoutes(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, %v", routes, err)
	}
}

package doctor

import (
	"errors"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// TestAddressOfHost takes a machine from no IPv6 at all to a global address.
func TestAddressOfHost(t *testing.T) {
	if !testenv.Namespace(t) {
		return
	}
	p := publicPatient() // the policy is the default one: DSM keeps the name
	expectFinding(t, lookRoute(t.Context(), p), Wrong, "Turn on IPv6", "no default route")

	router := testenv.NewRouter(t, "v0")
	lasting := testenv.Advertised{Prefix: "fd00:1::/64", Preferred: time.Hour, Valid: time.Hour}
	router.Advertise(lasting)
	testenv.Eventually(t, "the default route", func() error {
		if lookRoute(t.Context(), p).Status != OK {
			return errors.New("none yet")
		}
		return nil
	})
	expectFinding(t, lookRoute(t.Context(), p), OK, "", "interface v0", "fe80::")
	expectFinding(t, lookAddress(t.Context(), p), Wrong, "prefix delegation", "not a global unicast address: ", "(v0)")

	router.Advertise(lasting, testenv.Advertised{Prefix: "2600:1::/64", Preferred: time.Hour, Valid: time.Hour})
	testenv.Eventually(t, "the global address", func() error {
		if lookAddress(t.Context(), p).Status != OK {
			return errors.New("none yet")
		}
		return nil
	})
	if !p.selected.IsValid() || p.selected.String()[:7] != "2600:1:" {
		t.Errorf("selected %v", p.selected)
	}
}

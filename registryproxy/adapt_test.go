package registryproxy_test

import (
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
	_ "github.com/caddy-nas/caddy-nas-registry/registryproxy"
)

// TestAdapt holds a Caddyfile for every option, and more bad ones, against
// what must become of them.
func TestAdapt(t *testing.T) { testenv.Adapt(t) }

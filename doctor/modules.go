package doctor

import (
	"bytes"
	"context"

	"github.com/caddyserver/caddy/v2"
)

// modules is a context to load modules of the config in, with its storage. Nothing
// is started, and nothing is logged: what modules warn of is not of the findings.
// The modules end with ctx, or when release is called.
func (p *patient) modules(ctx context.Context) (caddyContext caddy.Context, release func(), err error) {
	provisioned, err := caddy.ProvisionContext(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true},
		StorageRaw: bytes.Clone(p.setup.parsed.StorageRaw), // loading clears it
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{
			"default": {BaseLog: caddy.BaseLog{Level: "FATAL"}},
		}},
	})
	if err != nil {
		return caddy.Context{}, nil, err
	}
	provisioned.Context = ctx
	caddyContext, cancel := caddy.NewContext(provisioned)
	return caddyContext, cancel, nil
}

// Package embedded is a container registry within Caddy: the reference
// registry (github.com/distribution/distribution) with its files in a folder.
package embedded

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/startup"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is a registry for container images, in this process. It stores them
// in a folder, in the layout of the reference registry, so that the same
// folder can be used by the image registry:3. Deletes are allowed; uploads
// that nobody finished are removed after a week.
//
// It knows no users: put it behind http.handlers.registry_access.
type Handler struct {
	// Root is the folder. It is made if it is missing, when the config starts.
	// Placeholders are replaced when the config loads.
	Root string `json:"root"`

	registry *registry
	logger   *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.registry",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision checks the config. It does not touch the folder.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	root := caddy.NewReplacer().ReplaceAll(h.Root, "")
	if root == "" {
		return errors.New("the folder of the embedded registry is empty")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("folder of the embedded registry: %w", err)
	}
	h.Root = root
	if h.registry, err = registries.get(root); err != nil {
		return err
	}
	app, err := startup.Load(ctx)
	if err != nil {
		return err
	}
	app.Register(h)
	return nil
}

// Start makes the folder. Where that fails, the registry answers 503 until it
// can be made: a disk that is not mounted yet is no reason to refuse a config.
func (h *Handler) Start() error {
	if err := os.MkdirAll(h.Root, 0o700); err != nil {
		h.logger.Error("folder of the registry can't be made; requests are answered with 503 until it can",
			zap.String("folder", h.Root), zap.Error(err))
	}
	h.registry.startPurge()
	return nil
}

// Stop ends what Start began.
func (h *Handler) Stop() error {
	h.registry.stopPurge()
	return nil
}

// ServeHTTP answers a request of the distribution API.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	h.registry.ServeHTTP(&storageErrors{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		handler:               h,
		request:               r,
	}, r)
	return nil
}

// UnmarshalCaddyfile reads: embedded <dir>
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if !d.AllArgs(&h.Root) {
		return d.Err("embedded takes one folder, as in: embedded ./data/registry")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
	_ startup.Hook                = (*Handler)(nil)
)

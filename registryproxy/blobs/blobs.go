// Package blobs serves the content of a registry from the registry's own
// volume, past the registry.
package blobs

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/access"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is a middleware that answers GET and HEAD of blobs, and of manifests
// by digest, from the volume of a reference registry (its filesystem driver),
// as that registry would. All else goes on to the next handler, which must be
// the registry: other methods and paths, tags, requests with a query, digests
// that are not SHA-256, what the repository does not link, manifests of a
// media type that Accept does not name, and whatever is missing, empty,
// unreadable or not what it should be.
//
// What the registry deletes is gone here as well, since each request looks at
// the same files. A blob is trusted as the registry trusts it: it is put in
// its place whole, after its digest was checked. A manifest is checked again.
//
// The registry does not hear of what is served here: its notifications and
// metrics lack it, as the answers lack headers that its own config adds, but
// for the X-Content-Type-Options that the config in its image has.
//
// It knows no users: put it behind http.handlers.registry_access. Read access
// to the folder is enough, and nothing outside of it is ever read, whatever
// symbolic links are within.
type Handler struct {
	// Root is the folder that the registry calls rootdirectory, in which there
	// is docker/registry/v2. Placeholders are replaced when the config loads.
	// While it is missing, every request goes on to the registry.
	Root string `json:"root"`

	folder *folder
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.registry_blobs",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision looks at the folder, to tell at once if it can't be used.
func (h *Handler) Provision(ctx caddy.Context) error {
	root := caddy.NewReplacer().ReplaceAll(h.Root, "")
	if root == "" {
		return errors.New("the folder of the registry's blobs is empty")
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("folder of the registry's blobs: %w", err)
	}
	h.folder = &folder{path: root, logger: ctx.Logger()}
	if files, err := h.folder.open(); err == nil {
		files.Close()
	}
	return nil
}

// ServeHTTP answers from the folder if it can.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if c, ok := asksFor(r); ok && h.serve(w, r, c) {
		return nil
	}
	return next.ServeHTTP(w, r)
}

// asksFor returns the content that r asks for, if it can be in the folder.
func asksFor(r *http.Request) (access.Content, bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead ||
		r.URL.RawQuery != "" || r.URL.RawPath != "" {
		return access.Content{}, false
	}
	// The registry's 412 is malformed: not to be reproduced here, nor corrected.
	if len(r.Header["If-Match"]) > 0 || len(r.Header["If-Unmodified-Since"]) > 0 {
		return access.Content{}, false
	}
	c, ok := access.ParseContent(r.URL.Path)
	return c, ok && isSHA256(c.Digest)
}

// serve answers r with c, and reports whether it did.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, c access.Content) bool {
	file, size, err := h.folder.find(c)
	if err != nil {
		return false
	}
	defer file.Close()
	if c.Manifest {
		return serveManifest(w, r, c.Digest, file, size)
	}
	h.serveBlob(w, r, c.Digest, file)
	return true
}

// UnmarshalCaddyfile reads: blobs_from <dir>
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if !d.AllArgs(&h.Root) {
		return d.Err("blobs_from takes one folder, as in: blobs_from /var/lib/registry")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)

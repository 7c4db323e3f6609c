package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

const (
	// catalogPage is how many names an answer holds where the client did not
	// say, as with the reference registry; and how many are asked of the
	// registry at once at least, so that a client that wants one name doesn't
	// cause a request for each name that it may not see.
	catalogPage = 100

	// maxCatalog is how many names an answer holds at the most. A client that
	// asked for more gets a Link to the rest.
	maxCatalog = 10_000

	// maxCatalogPage bounds the memory for one answer of the registry, in
	// bytes: room for maxCatalog names of the greatest length.
	maxCatalogPage = 3 << 20
)

// serveCatalog answers with the repositories that user may see. It asks the
// registry page by page until the client's page is full.
//
// Source: https://distribution.github.io/distribution/spec/api/#catalog
func (h *Handler) serveCatalog(w *responseWriter, r *http.Request, user string, next caddyhttp.Handler) error {
	query := r.URL.Query()
	asked := query.Get("n")
	limit := catalogPage
	if asked != "" {
		var err error
		if limit, err = strconv.Atoi(asked); err != nil || limit < 0 {
			return w.refuse(refuse(http.StatusBadRequest, ocierror.PaginationInvalid,
				"parameter n must be a number, not %q", clip(asked)))
		}
	}
	n := asked
	if n != "" {
		n = strconv.Itoa(min(max(limit, catalogPage), maxCatalog))
	}

	seen := []string{}
	last, more := query.Get("last"), limit > 0
	full := min(limit, maxCatalog)
	var loop loopDetector
	for more && len(seen) < full {
		page, err := fetchCatalog(r, n, last, next)
		if err != nil {
			return err
		}
		if page.status == http.StatusBadRequest && limit < catalogPage && n != asked {
			n = asked // the registry's own limit is lower than catalogPage
			continue
		}
		if page.status != http.StatusOK {
			return page.copyTo(w)
		}
		var names []string
		if names, more, err = page.parse(); err != nil {
			return err
		}
		for i, name := range names {
			last = name
			if !h.rules.allows(user, ActionCatalog, name) {
				continue
			}
			if seen = append(seen, name); len(seen) == full {
				more = more || i < len(names)-1
				break
			}
		}
		more = more && !loop.repeats(last)
	}

	body, err := json.Marshal(catalogAnswer{Repositories: seen})
	if err != nil {
		return err
	}
	body = append(body, '\n') // as the reference registry does
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Docker-Distribution-Api-Version", "registry/2.0")
	if more && len(seen) > 0 {
		next := url.Values{"n": {strconv.Itoa(limit)}, "last": {seen[len(seen)-1]}}
		header.Set("Link", fmt.Sprintf(`</v2/_catalog?%s>; rel="next"`, next.Encode()))
	}
	_, err = w.Write(body)
	return err
}

// catalogAnswer is the body of GET /v2/_catalog.
type catalogAnswer struct {
	Repositories []string `json:"repositories"`
}

// loopDetector notices when a registry's pages lead in a circle, however long
// it is, and keeps one name for it (Brent's algorithm).
type loopDetector struct {
	mark        string
	steps, next int
}

// repeats reports whether the page that ends with last was there before.
func (d *loopDetector) repeats(last string) bool {
	if d.steps > 0 && last == d.mark {
		return true
	}
	if d.steps >= d.next {
		d.mark, d.next = last, 2*d.steps+1
	}
	d.steps++
	return false
}

// fetchCatalog asks the registry for at most n names after last. If n is
// empty, the registry decides how many.
func fetchCatalog(r *http.Request, n, last string, next caddyhttp.Handler) (*page, error) {
	query := make(url.Values, 2)
	if n != "" {
		query.Set("n", n)
	}
	if last != "" {
		query.Set("last", last)
	}
	r = r.Clone(r.Context())
	r.URL.RawQuery = query.Encode()
	// The answer is read here, and is another one than the client's.
	for _, name := range []string{"Accept-Encoding", "If-None-Match", "If-Modified-Since", "Range"} {
		r.Header.Del(name)
	}
	p := &page{header: make(http.Header), status: http.StatusOK}
	if err := next.ServeHTTP(p, r); err != nil {
		return nil, err
	}
	if p.overflow {
		return nil, unavailable(fmt.Errorf("the registry's catalog page is larger than %d bytes", maxCatalogPage))
	}
	return p, nil
}

// page holds one answer of the registry.
type page struct {
	header   http.Header
	status   int
	body     bytes.Buffer
	overflow bool
}

func (p *page) Header() http.Header { return p.header }

func (p *page) WriteHeader(status int) {
	if status >= 200 {
		p.status = status
	}
}

func (p *page) Write(b []byte) (int, error) {
	if p.body.Len()+len(b) > maxCatalogPage {
		p.overflow = true
		return len(b), nil
	}
	return p.body.Write(b)
}

// parse returns the names of the page, and whether there are more after it.
func (p *page) parse() (names []string, more bool, err error) {
	var answer catalogAnswer
	if err := json.Unmarshal(p.body.Bytes(), &answer); err != nil {
		return nil, false, unavailable(fmt.Errorf("reading the registry's catalog: %w", err))
	}
	names = answer.Repositories
	return names, len(names) > 0 && p.header.Get("Link") != "", nil
}

func (p *page) copyTo(w http.ResponseWriter) error {
	maps.Copy(w.Header(), p.header)
	w.WriteHeader(p.status)
	_, err := w.Write(p.body.Bytes())
	return err
}

// unavailable is the answer where the registry's own can't be understood.
func unavailable(err error) error {
	return (&ocierror.Error{
		Status:  http.StatusBadGateway,
		Code:    ocierror.Unavailable,
		Message: "the registry's answer could not be understood",
		Err:     err,
	}).Handler()
}

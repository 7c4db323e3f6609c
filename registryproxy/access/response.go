package access

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

// responseWriter corrects the headers of a registry's answer, and replaces an
// error that a registry client could not read. Bodies pass through.
type responseWriter struct {
	caddyhttp.ResponseWriterWrapper
	request     *http.Request
	body        *limitedBody // of the request; nil: there is no limit
	wroteHeader bool
	replaced    bool            // the body is ours; the registry's is dropped
	status      int             // of the answer; 0: there is none yet
	refusal     *ocierror.Error // that is the answer, in the place of the registry's
}

func newResponseWriter(w http.ResponseWriter, r *http.Request) *responseWriter {
	return &responseWriter{
		ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		request:               r,
	}
}

func (w *responseWriter) WriteHeader(status int) {
	if w.wroteHeader || status >= 100 && status < 200 {
		w.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	w.status = status
	h := w.Header()
	if status >= 400 && w.body.tooLarge() {
		w.replace(manifestTooLarge())
		return
	}
	if status >= 500 && !isJSON(h.Get("Content-Type")) {
		w.replace(upstreamFailure(status))
		return
	}
	w.wroteHeader = true
	// A redirect (3xx) leads to where the registry's storage is: it stays.
	if status/100 == 2 {
		if location := h.Get("Location"); location != "" {
			h.Set("Location", toOwnOrigin(location))
		}
	}
	for i, link := range h["Link"] {
		h["Link"][i] = linkToOwnOrigin(link)
	}
	forbidTransform(h)
	w.ResponseWriterWrapper.WriteHeader(status)
}

// refuse answers with e, without the registry.
func (w *responseWriter) refuse(e *ocierror.Error) error {
	w.refusal = e
	return ocierror.Write(w, w.request, e)
}

// replace answers with e. What described the registry's own body is removed.
func (w *responseWriter) replace(e *ocierror.Error) {
	w.wroteHeader, w.replaced, w.status = true, true, e.Status
	if e.Status < 500 {
		w.refusal = e
	}
	h := w.Header()
	for _, name := range []string{"Content-Encoding", "Content-Range", "Etag", "Last-Modified", "Trailer"} {
		h.Del(name)
	}
	// An error in writing shows in the client's connection; there is nobody
	// else to tell.
	_ = ocierror.Write(w.ResponseWriter, w.request, e)
}

func (w *responseWriter) Write(p []byte) (int, error) {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	if w.replaced {
		return len(p), nil
	}
	return w.ResponseWriterWrapper.Write(p)
}

// ReadFrom keeps the kernel's short way from a file to the socket open.
func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	if w.replaced {
		return io.Copy(io.Discard, r)
	}
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError sends what was written so far. Without it, a flush would reach
// the server's own writer before the headers are corrected.
func (w *responseWriter) FlushError() error {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// upstreamFailure describes an answer of the registry that has no body for a
// registry client.
func upstreamFailure(status int) *ocierror.Error {
	return &ocierror.Error{
		Status:  status,
		Code:    ocierror.Unavailable,
		Message: fmt.Sprintf("the registry failed: it answered %d %s without an explanation", status, http.StatusText(status)),
	}
}

func isJSON(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && (mediaType == "application/json" || strings.HasSuffix(mediaType, "+json"))
}

// toOwnOrigin turns a URL of the registry's API into a path, which the client
// resolves against the origin that it asked (RFC 9110, section 10.2.2). The
// registry may know itself by another name (http.host), or see another scheme
// than the client. All else stays as it is.
func toOwnOrigin(location string) string {
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || !strings.HasPrefix(u.Path, "/v2/") {
		return location
	}
	// Not u.RequestURI: the query of an upload is signed and stays as written.
	_, rest, _ := strings.Cut(location, "//")
	return rest[strings.IndexByte(rest, '/'):]
}

// linkToOwnOrigin does the same for the target of a Link: <url>; rel="next"
func linkToOwnOrigin(link string) string {
	target, parameters, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.HasPrefix(link, "<") {
		return link
	}
	return "<" + toOwnOrigin(target) + ">" + parameters
}

// forbidTransform asks that nobody on the way changes the content, Caddy's
// encode handler included (RFC 9111, section 5.2.2.6): clients verify what they
// get by its digest, and resume by byte ranges.
func forbidTransform(h http.Header) {
	for _, control := range h["Cache-Control"] {
		if strings.Contains(strings.ToLower(control), "no-transform") {
			return
		}
	}
	h["Cache-Control"] = append(h["Cache-Control"], "no-transform")
}

// Interface guards
var (
	_ http.ResponseWriter = (*responseWriter)(nil)
	_ io.ReaderFrom       = (*responseWriter)(nil)
)

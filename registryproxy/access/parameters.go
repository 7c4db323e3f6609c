package access

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/ocierror"
)

// mountRequest is the wish for a blob of another repository.
//
// Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#mounting-a-blob-from-another-repository
type mountRequest struct {
	asked  bool
	digest string // of the blob, as the client wrote it
	from   string // the other repository, likewise; empty: wherever the registry finds it
}

// checkParameters reads the parameters of r, and refuses what could be read in
// more than one way.
func checkParameters(r *http.Request, t target) (mountRequest, *ocierror.Error) {
	var mount mountRequest
	if err := checkForm(r, t); err != nil {
		return mount, err
	}
	if r.URL.RawQuery == "" {
		return mount, nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return mount, refuse(http.StatusBadRequest, ocierror.Unsupported, "the query of the request is malformed")
	}
	for name, values := range query {
		// A manifest may be given several tags at once; nothing else repeats.
		if len(values) > 1 && (name != "tag" || t.endpoint != endpointManifest) {
			return mount, refuse(http.StatusBadRequest, ocierror.Unsupported,
				"parameter %s is given more than once", clip(name))
		}
	}
	if t.endpoint != endpointUploads {
		return mount, nil
	}
	mount.asked = query.Has("mount") || query.Has("from")
	mount.digest, mount.from = query.Get("mount"), query.Get("from")
	return mount, nil
}

// checkForm refuses a form in the body of an upload request: the reference
// registry reads the parameters of uploads from there, too, and before those
// of the query.
func checkForm(r *http.Request, t target) *ocierror.Error {
	if r.ContentLength == 0 || t.endpoint != endpointUploads && t.endpoint != endpointUpload {
		return nil
	}
	for _, value := range r.Header["Content-Type"] {
		value = strings.ToLower(value)
		if strings.Contains(value, "form-urlencoded") || strings.Contains(value, "multipart/") {
			return refuse(http.StatusUnsupportedMediaType, ocierror.BlobUploadInvalid,
				"an upload can't be a form: send it as application/octet-stream")
		}
	}
	return nil
}

// dropMount takes the parameters of a mount out of r, so that it asks for an
// ordinary upload, and leaves all others as they were written. A registry does
// the same with a mount that it can't do; an error would break the push.
func dropMount(r *http.Request) {
	var kept []string
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		key, _, _ := strings.Cut(pair, "=")
		if key, err := url.QueryUnescape(key); err == nil && key != "mount" && key != "from" {
			kept = append(kept, pair)
		}
	}
	r.URL.RawQuery = strings.Join(kept, "&")
	// A handler before this one may have had them parsed, and a registry in
	// this process would not parse them again.
	r.Form, r.PostForm = nil, nil
}

// dropProxyHeaders removes what is not for the registry: the login, what a
// client could use to pose as a proxy in front of us (the registry builds
// Location from Forwarded and X-Forwarded-*), and what asks some servers to
// read another method or path than those that were judged.
func dropProxyHeaders(h http.Header) {
	for name := range h {
		switch name {
		case "Authorization", "Proxy-Authorization", "Forwarded", "X-Real-Ip", "Upgrade",
			"X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url":
			delete(h, name)
		default:
			const prefix = "X-Forwarded-"
			if len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
				delete(h, name)
			}
		}
	}
}

package access

import (
	"net/http"
	"net/url"
	"strings"
)

// endpoint is a family of URLs of the distribution API.
type endpoint int

const (
	endpointBase      endpoint = iota + 1 // /v2/
	endpointCatalog                       // /v2/_catalog
	endpointTags                          // /v2/<name>/tags/list
	endpointManifest                      // /v2/<name>/manifests/<tag or digest>
	endpointReferrers                     // /v2/<name>/referrers/<digest>
	endpointBlob                          // /v2/<name>/blobs/<digest>
	endpointUploads                       // /v2/<name>/blobs/uploads/
	endpointUpload                        // /v2/<name>/blobs/uploads/<id>
)

// target is what the path of a request names.
type target struct {
	endpoint   endpoint
	repository string // empty for endpointBase and endpointCatalog
	reference  string // tag, digest or upload ID; empty where there is none
}

// canonicalPath returns the path of u with nothing left to decode, or false if
// a registry might read it in another way than we do. Of all escapes only that
// of the colon is accepted: some clients escape it in digests, no part of the
// API can contain any other character that needs one, and an escaped slash or
// dot is how rules are talked round.
func canonicalPath(u *url.URL) (string, bool) {
	if u.Opaque != "" {
		return "", false
	}
	if u.RawPath == "" {
		return u.Path, true
	}
	path := strings.ReplaceAll(strings.ReplaceAll(u.RawPath, "%3A", ":"), "%3a", ":")
	return path, path == u.Path
}

// parseTarget reads a canonical path. It reads from the end, because a name may
// hold the words of the API ("team/manifests/blobs" is a repository); read in
// that way every path has one meaning at the most, the one that the anchored
// expressions of the reference registry give it.
//
// Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#endpoints
func parseTarget(path string) (target, bool) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	switch {
	case ok && rest == "", path == "/v2": // from where the registry redirects
		return target{endpoint: endpointBase}, true
	case !ok:
		return target{}, false
	case rest == "_catalog":
		return target{endpoint: endpointCatalog}, true
	}

	// "…/blobs/uploads/" starts an upload; without its last slash the registry
	// redirects to it.
	if name, ok := strings.CutSuffix(strings.TrimSuffix(rest, "/"), "/blobs/uploads"); ok && isName(name) {
		return target{endpoint: endpointUploads, repository: name}, true
	}

	rest, reference := cutLast(rest)
	name, word := cutLast(rest)
	t := target{repository: name, reference: reference}
	switch {
	case word == "tags" && reference == "list":
		t.endpoint, t.reference = endpointTags, ""
	case word == "manifests" && (isTag(reference) || isDigest(reference)):
		t.endpoint = endpointManifest
	case word == "referrers" && isDigest(reference):
		t.endpoint = endpointReferrers
	case word == "blobs" && isDigest(reference):
		t.endpoint = endpointBlob
	case word == "uploads" && isUploadID(reference):
		if t.repository, word = cutLast(name); word != "blobs" {
			return target{}, false
		}
		t.endpoint = endpointUpload
	default:
		return target{}, false
	}
	return t, isName(t.repository)
}

// cutLast cuts s at its last slash. Without a slash, all of s is the last part.
func cutLast(s string) (before, last string) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s
	}
	return s[:i], s[i+1:]
}

// methods returns the methods that the endpoint knows, for an Allow header.
func (e endpoint) methods() string {
	known := make([]string, 0, 4)
	for _, method := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	} {
		if _, ok := e.action(method); ok {
			known = append(known, method)
		}
	}
	return strings.Join(known, ", ")
}

// action returns what method does to an endpoint, or false if the endpoint
// does not know the method.
func (e endpoint) action(method string) (Action, bool) {
	switch e {
	case endpointBase:
		return ActionNone, method == http.MethodGet || method == http.MethodHead
	case endpointCatalog:
		return ActionCatalog, method == http.MethodGet
	case endpointTags, endpointReferrers:
		return ActionPull, method == http.MethodGet || method == http.MethodHead
	case endpointUploads:
		return ActionPush, method == http.MethodPost
	}

	switch method {
	case http.MethodGet, http.MethodHead:
		if e == endpointUpload {
			return ActionPush, true // how far an upload has come
		}
		return ActionPull, true
	case http.MethodDelete:
		if e == endpointUpload {
			return ActionPush, true // giving up one's own upload
		}
		return ActionDelete, true
	case http.MethodPut:
		return ActionPush, e == endpointManifest || e == endpointUpload
	case http.MethodPatch:
		return ActionPush, e == endpointUpload
	}
	return ActionNone, false
}

package blobs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

// The media types that the registry knows.
const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// maxManifest is how large a manifest may be to be served from here, in bytes:
// as large as one that can be pushed.
const maxManifest = 4 << 20

// serveManifest answers r with the manifest in file, and reports whether it
// did.
//
// Source: GetManifest of registry/handlers/manifests.go in
// github.com/distribution/distribution
func serveManifest(w http.ResponseWriter, r *http.Request, digest string, file *os.File, size int64) bool {
	// The registry has a way of its own to compare these.
	if size > maxManifest || len(r.Header["If-None-Match"]) > 0 {
		return false
	}
	content := make([]byte, size)
	if _, err := io.ReadFull(file, content); err != nil {
		return false
	}
	// Older registries don't write a manifest in one step.
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != encoded(digest) {
		return false
	}
	mediaType, ok := mediaTypeOf(content)
	if !ok || !accepts(r.Header["Accept"], mediaType) {
		return false
	}
	h := w.Header()
	setContentHeaders(h, digest, mediaType)
	h.Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		// An error in writing shows in the client's connection; there is nobody
		// else to tell.
		_, _ = w.Write(content)
	}
	return true
}

// mediaTypeOf returns what the registry serves a manifest as, which it finds
// in the content alone, or false for one that it might refuse or read in
// another way.
//
// Source: manifestStore.Get of registry/storage/manifeststore.go in
// github.com/distribution/distribution
func mediaTypeOf(content []byte) (string, bool) {
	var m struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     string          `json:"mediaType"`
		Config        json.RawMessage `json:"config"`
		Layers        json.RawMessage `json:"layers"`
		Manifests     json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(content, &m); err != nil || m.SchemaVersion != 2 {
		return "", false
	}
	image := isStart(m.Config, '{') && isStart(m.Layers, '[') && m.Manifests == nil
	index := isStart(m.Manifests, '[') && m.Config == nil && m.Layers == nil
	switch m.MediaType {
	case dockerManifest, ociManifest:
		return m.MediaType, image
	case dockerList, ociIndex:
		return m.MediaType, index
	case "":
		if index {
			return ociIndex, true
		}
		return ociManifest, image
	}
	return "", false
}

// isStart reports whether a JSON value begins with c.
func isStart(value json.RawMessage, c byte) bool {
	return bytes.HasPrefix(value, []byte{c})
}

// accepts reports whether Accept headers name a media type, without any
// parameter. The registry is less strict with some types, and reads
// parameters; for those requests it is the one to ask.
func accepts(accept []string, mediaType string) bool {
	for _, value := range accept {
		for element := range strings.SplitSeq(value, ",") {
			if strings.TrimSpace(element) == mediaType {
				return true
			}
		}
	}
	return false
}

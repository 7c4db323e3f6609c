package access

// Content is what a path names by its digest.
type Content struct {
	// Repository is the name of the repository, checked against the grammar.
	Repository string

	// Digest is of any algorithm: "sha256:…".
	Digest string

	// Manifest tells a manifest from a blob.
	Manifest bool
}

// ParseContent reads the path of a request as [Handler] does, for the handlers
// behind it. It returns false for every path that names no blob and no
// manifest by its digest, that of a tag included.
func ParseContent(path string) (Content, bool) {
	t, ok := parseTarget(path)
	c := Content{Repository: t.repository, Digest: t.reference, Manifest: t.endpoint == endpointManifest}
	return c, ok && (t.endpoint == endpointBlob || c.Manifest && isDigest(t.reference))
}

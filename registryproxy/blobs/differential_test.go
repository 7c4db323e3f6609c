package blobs_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

const (
	ociManifest    = string(types.OCIManifestSchema1)
	ociIndex       = string(types.OCIImageIndex)
	dockerManifest = string(types.DockerManifestSchema2)
	dockerList     = string(types.DockerManifestList)
)

func header(pairs ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// content is what the tests ask for.
type content struct {
	blob, other string            // paths of blobs of app
	hidden      string            // path of a blob of another repository, asked for in app
	sum         string            // the digest of blob
	manifests   map[string]string // paths by media type
}

// push fills the repository app with a manifest of each type, and the
// repository other with one blob.
func (h *house) push(t testing.TB) content {
	t.Helper()
	c := content{manifests: make(map[string]string)}
	for _, kind := range []struct{ manifest, index types.MediaType }{
		{types.OCIManifestSchema1, types.OCIImageIndex},
		{types.DockerManifestSchema2, types.DockerManifestList},
	} {
		image, err := random.Image(100_000, 2)
		if err != nil {
			t.Fatal(err)
		}
		image = mutate.MediaType(image, kind.manifest)
		index := mutate.IndexMediaType(mutate.AppendManifests(mutate.IndexMediaType(emptyIndex(t), kind.index), mutate.IndexAddendum{Add: image}), kind.index)
		if err := remote.WriteIndex(h.reference(t, "app:index"), index, h.options()...); err != nil {
			t.Fatal(err)
		}
		sum, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		c.manifests[string(kind.manifest)] = "/v2/app/manifests/" + sum.String()
		if sum, err = index.Digest(); err != nil {
			t.Fatal(err)
		}
		c.manifests[string(kind.index)] = "/v2/app/manifests/" + sum.String()
		layers, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		for i, path := range []*string{&c.blob, &c.other} {
			sum, err := layers[i].Digest()
			if err != nil {
				t.Fatal(err)
			}
			*path = "/v2/app/blobs/" + sum.String()
		}
	}
	_, c.sum, _ = strings.Cut(c.blob, "/blobs/")
	c.hidden = "/v2/app/blobs/" + h.pushBlob(t, "other", []byte("of another repository"))
	return c
}

// TestSameAnswers holds our answers against the registry's own, for every
// request that the folder could answer and for many that it must not.
func TestSameAnswers(t *testing.T) {
	h := newHouse(t)
	c := h.push(t)
	etag := `"` + c.sum + `"`
	upper := "/v2/app/blobs/sha256:" + strings.ToUpper(strings.TrimPrefix(c.sum, "sha256:"))
	manifest := c.manifests[ociManifest]
	type test struct {
		name, path string
		header     http.Header
		fromFolder bool
	}
	tests := []test{
		{"blob", c.blob, nil, true},
		{"another blob", c.other, nil, true},
		{"escaped colon", strings.Replace(c.blob, ":", "%3A", 1), nil, true},
		{"range", c.blob, header("Range", "bytes=1000-1999"), true},
		{"range to the end", c.blob, header("Range", "bytes=99000-"), true},
		{"last bytes", c.blob, header("Range", "bytes=-10"), true},
		{"several ranges", c.blob, header("Range", "bytes=0-9,100-109,-5"), true},
		{"range beyond the end", c.blob, header("Range", "bytes=900000000-"), true},
		{"malformed range", c.blob, header("Range", "bytes=x"), true},
		{"unchanged", c.blob, header("If-None-Match", etag), true},
		{"unchanged, one of several", c.blob, header("If-None-Match", `"x", W/`+etag), true},
		{"changed", c.blob, header("If-None-Match", `"x"`), true},
		{"any", c.blob, header("If-None-Match", "*"), true},
		{"range if the same", c.blob, header("Range", "bytes=0-9", "If-Range", etag), true},
		{"range if the same, it is not", c.blob, header("Range", "bytes=0-9", "If-Range", `"x"`), true},
		{"range if not modified since", c.blob, header("Range", "bytes=0-9", "If-Range", "Mon, 02 Jan 2006 15:04:05 GMT"), true},
		{"precondition", c.blob, header("If-Match", etag), false},
		{"not modified since", c.blob, header("If-Unmodified-Since", "Mon, 02 Jan 2006 15:04:05 GMT"), false},
		{"modified since", c.blob, header("If-Modified-Since", "Mon, 02 Jan 2006 15:04:05 GMT"), true},
		{"compression is not asked for", c.blob, header("Accept-Encoding", "gzip"), true},

		{"query", c.blob + "?ns=docker.io", nil, false},
		{"unknown blob", "/v2/app/blobs/" + digest.FromString("unknown").String(), nil, false},
		{"unknown repository", strings.Replace(c.blob, "/app/", "/nobody/", 1), nil, false},
		{"blob of another repository", c.hidden, nil, false},
		{"manifest as a blob", strings.Replace(manifest, "/manifests/", "/blobs/", 1), nil, false},
		{"blob as a manifest", strings.Replace(c.blob, "/blobs/", "/manifests/", 1), header("Accept", ociManifest), false},
		{"digest in upper case", upper, nil, false},
		{"digest too short", "/v2/app/blobs/sha256:ab", nil, false},
		{"another algorithm", "/v2/app/blobs/" + digest.SHA512.FromString("x").String(), nil, false},
		{"unknown algorithm", "/v2/app/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", nil, false},
		{"unknown manifest", "/v2/app/manifests/" + digest.FromString("unknown").String(), header("Accept", ociManifest), false},
		{"tag", "/v2/app/manifests/index", header("Accept", dockerList), false},
		{"tags", "/v2/app/tags/list", nil, false},

		{"manifest, range", manifest, header("Accept", ociManifest, "Range", "bytes=0-9"), true},
		{"manifest, several types", manifest, header("Accept", dockerManifest+", "+ociManifest+",*/*"), true},
		{"manifest, several headers", manifest, header("Accept", dockerManifest, "Accept", ociManifest), true},
		{"manifest, no type", manifest, nil, false},
		{"manifest, another type", manifest, header("Accept", dockerManifest), false},
		{"manifest, any type", manifest, header("Accept", "*/*"), false},
		{"manifest, type with a parameter", manifest, header("Accept", ociManifest+";q=0.5"), false},
		{"manifest, type with a malformed parameter", manifest, header("Accept", ociManifest+";q"), false},
		{"manifest, unchanged", manifest, header("Accept", ociManifest, "If-None-Match", etag), false},
		{"manifest, changed", manifest, header("Accept", ociManifest, "If-None-Match", `"x"`), false},
		{"Docker's list for any type", c.manifests[dockerList], header("Accept", "*/*"), false},
		{"index for a client that knows none", c.manifests[ociIndex], header("Accept", ociManifest), false},
	}
	for mediaType, path := range c.manifests {
		tests = append(tests, test{mediaType, path, header("Accept", mediaType), true})
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, test := range tests {
			t.Run(method+" "+test.name, func(t *testing.T) {
				h.check(t, request{method, test.path, test.header}, test.fromFolder)
			})
		}
	}
}

// TestChanges deletes and mounts, and looks each time whether we know as much
// as the registry.
func TestChanges(t *testing.T) {
	h := newHouse(t)
	c := h.push(t)
	look := func(path string, fromFolder bool) {
		t.Helper()
		for mediaType := range c.manifests {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				local := fromFolder && (strings.Contains(path, "/blobs/") || c.manifests[mediaType] == path)
				h.check(t, request{method, path, header("Accept", mediaType)}, local)
			}
		}
	}
	do := func(method, path string, want int) {
		t.Helper()
		if status := h.ask(t, method, path); status != want {
			t.Fatalf("%s %s: %d, want %d", method, path, status, want)
		}
	}

	mounted := strings.Replace(c.blob, "/app/", "/team/mounted/", 1)
	look(mounted, false)
	do(http.MethodPost, "/v2/team/mounted/blobs/uploads/?from=app&mount="+c.sum, http.StatusCreated)
	look(mounted, true)

	do(http.MethodDelete, c.blob, http.StatusAccepted)
	look(c.blob, false)
	look(mounted, true)
	do(http.MethodDelete, mounted, http.StatusAccepted)
	look(mounted, false)

	for mediaType, path := range c.manifests {
		look(path, true)
		do(http.MethodDelete, path, http.StatusAccepted)
		look(path, false)
		delete(c.manifests, mediaType)
	}
}

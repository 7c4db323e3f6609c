package blobs

import "testing"

func TestMediaTypeOf(t *testing.T) {
	const image, index = `"config":{},"layers":[]`, `"manifests":[]`
	for _, tc := range []struct {
		name, content, want string // want is empty for what the registry must decide
	}{
		{"OCI image", `{"schemaVersion":2,"mediaType":"` + ociManifest + `",` + image + `}`, ociManifest},
		{"Docker's image", `{"schemaVersion":2,"mediaType":"` + dockerManifest + `",` + image + `}`, dockerManifest},
		{"OCI index", `{"schemaVersion":2,"mediaType":"` + ociIndex + `",` + index + `}`, ociIndex},
		{"Docker's list", `{"schemaVersion":2,"mediaType":"` + dockerList + `",` + index + `}`, dockerList},
		{"image without a type", `{"schemaVersion":2,` + image + `}`, ociManifest},
		{"index without a type", `{"schemaVersion":2,` + index + `}`, ociIndex},
		{"type in other letters", `{"schemaVersion":2,"MEDIATYPE":"` + ociManifest + `",` + image + `}`, ociManifest},

		{"both", `{"schemaVersion":2,` + image + `,` + index + `}`, ""},
		{"neither", `{"schemaVersion":2}`, ""},
		{"image that calls itself an index", `{"schemaVersion":2,"mediaType":"` + ociIndex + `",` + image + `}`, ""},
		{"index that calls itself an image", `{"schemaVersion":2,"mediaType":"` + ociManifest + `",` + index + `}`, ""},
		{"no layers", `{"schemaVersion":2,"config":{},"layers":null}`, ""},
		{"manifests is no list", `{"schemaVersion":2,"manifests":{}}`, ""},
		{"unknown type", `{"schemaVersion":2,"mediaType":"text/plain",` + image + `}`, ""},
		{"schema 1", `{"schemaVersion":1,"mediaType":"` + dockerManifest + `",` + image + `}`, ""},
		{"no version", `{` + image + `}`, ""},
		{"not an object", `[]`, ""},
		{"half of one", `{"schemaVersion":2,"mediaType":"` + ociManifest + `",`, ""},
		{"nothing", ``, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, ok := mediaTypeOf([]byte(tc.content)); got != tc.want && ok || ok != (tc.want != "") {
				t.Errorf("%q %t, want %q", got, ok, tc.want)
			}
		})
	}
}

func TestIsSHA256(t *testing.T) {
	const hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for digest, want := range map[string]bool{
		"sha256:" + hex:              true,
		"sha256:" + hex[1:]:          false,
		"sha256:" + hex + "0":        false,
		"sha256-" + hex:              false,
		"sha512:" + hex:              false,
		"sha256:" + hex[1:] + "F":    false,
		"sha256:" + hex[1:] + "/":    false,
		"sha256:../" + hex[3:]:       false,
		"sha256:" + hex[1:] + "\x00": false,
		"":                           false,
	} {
		if got := isSHA256(digest); got != want {
			t.Errorf("%q: %t", digest, got)
		}
	}
}

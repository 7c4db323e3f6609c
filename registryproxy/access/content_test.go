package access

import "testing"

func TestParseContent(t *testing.T) {
	for _, tc := range []struct {
		path string
		want Content // the zero value: none
	}{
		{"/v2/team/app/blobs/" + emptyDigest, Content{"team/app", emptyDigest, false}},
		{"/v2/team/app/manifests/" + emptyDigest, Content{"team/app", emptyDigest, true}},
		{"/v2/a/blobs/b/manifests/" + emptyDigest, Content{"a/blobs/b", emptyDigest, true}},
		{path: "/v2/app/manifests/v1"},
		{path: "/v2/app/referrers/" + emptyDigest},
		{path: "/v2/app/blobs/uploads/" + emptyDigest},
		{path: "/v2/app/blobs/uploads/"},
		{path: "/v2/app/tags/list"},
		{path: "/v2/../blobs/" + emptyDigest},
		{path: "/v2//blobs/" + emptyDigest},
		{path: "/v2/App/blobs/" + emptyDigest},
		{path: "/v2/"},
		{path: "/v2/_catalog"},
		{path: ""},
	} {
		got, ok := ParseContent(tc.path)
		if ok != (tc.want != Content{}) || ok && got != tc.want {
			t.Errorf("%s: %+v %t, want %+v", tc.path, got, ok, tc.want)
		}
	}
}

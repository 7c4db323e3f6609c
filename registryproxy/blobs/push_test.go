package blobs_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/opencontainers/go-digest"
)

func emptyIndex(testing.TB) v1.ImageIndex { return empty.Index }

// pushBlob uploads a blob past Caddy, and returns its digest.
func (h *house) pushBlob(t testing.TB, repository string, content []byte) string {
	t.Helper()
	post := func(method, url string, body io.Reader, want int) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Fatalf("%s %s: %s", method, url, resp.Status)
		}
		return resp.Header.Get("Location")
	}
	sum := digest.FromBytes(content).String()
	location := post(http.MethodPost, "http://"+h.registry+"/v2/"+repository+"/blobs/uploads/", nil, http.StatusAccepted)
	post(http.MethodPut, location+"&digest="+sum, bytes.NewReader(content), http.StatusCreated)
	return sum
}

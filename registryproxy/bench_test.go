package registryproxy_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// recorder has deadlines, as a connection has: Caddy would log that they are
// missing.
type recorder struct{ *httptest.ResponseRecorder }

func (recorder) SetReadDeadline(time.Time) error  { return nil }
func (recorder) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkServe measures what Caddy and our handlers spend on one request of
// a user who is known, without the client's connection.
func BenchmarkServe(b *testing.B) {
	dir := b.TempDir()
	c := testenv.NewCaddy(b)
	registry := testenv.StartRegistry(b, dir)
	c.Load("registry_proxy {\nto " + registry + "\nblobs_from " + dir + "\nhtpasswd " + testenv.Users(b, "a", "b") + "\n}")
	image, err := random.Image(1024, 1)
	if err != nil {
		b.Fatal(err)
	}
	if err := remote.Write(reference(b, c, "app:v1"), image, as(c, "a", "b")...); err != nil {
		b.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		b.Fatal(err)
	}
	blob, err := layers[0].Digest()
	if err != nil {
		b.Fatal(err)
	}
	manifest, err := image.Digest()
	if err != nil {
		b.Fatal(err)
	}
	mediaType, err := image.MediaType()
	if err != nil {
		b.Fatal(err)
	}
	app, err := caddy.ActiveContext().AppIfConfigured("http")
	if err != nil {
		b.Fatal(err)
	}
	var handler http.Handler
	for _, server := range app.(*caddyhttp.App).Servers {
		handler = server
	}
	for name, uri := range map[string]string{
		"base":     "/v2/",
		"tag":      "/v2/app/manifests/v1",
		"manifest": "/v2/app/manifests/" + manifest.String(),
		"blob":     "/v2/app/blobs/" + blob.String(),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest(http.MethodGet, uri, nil)
				r.Host = c.Host
				r.RequestURI = uri
				r.SetBasicAuth("a", "b")
				r.Header.Set("Accept", string(mediaType))
				w := recorder{httptest.NewRecorder()}
				handler.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
		})
	}
}

//go:build linux

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	reference "github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const (
	parcel    = 256 << 10              // bytes of an image's layer
	freight   = 2 << 20                // the same, of images that take a while
	tryAgain  = 250 * time.Millisecond // after what failed, and between two images
	longStorm = 5 * time.Minute        // that a push or a pull may have to be tried again
)

// courier pushes images and pulls those that it has pushed, again and again, each
// until it has succeeded. It knows what the registry has confirmed.
type courier struct {
	t         testing.TB
	folder    string // of its repositories
	transport *http.Transport
	options   []remote.Option

	pushed, pulled atomic.Int64
	failed         atomic.Int64 // requests

	mu        sync.Mutex         // guards what follows
	confirmed map[string]v1.Hash // digests of manifests, by tag
	tags      []string           // the keys
}

// newCourier returns a client at an address of the house, which verifies like any
// other.
func (h *house) newCourier(t testing.TB, folder string) *courier {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(h.roots) {
		t.Fatal("the house has no authorities")
	}
	through := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext:       dialTo(netip.AddrPortFrom(h.address, 5002).String()),
		ForceAttemptHTTP2: true, ResponseHeaderTimeout: time.Minute,
	}
	t.Cleanup(through.CloseIdleConnections)
	user, password, _ := strings.Cut(login, ":")
	c := &courier{t: t, folder: folder, transport: through, confirmed: make(map[string]v1.Hash)}
	c.options = []remote.Option{
		remote.WithTransport(c), remote.WithAuth(&authn.Basic{Username: user, Password: password}),
	}
	return c
}

// RoundTrip counts requests that fail, of which the library tries some again by
// itself, and knows what must be there.
func (c *courier) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.transport.RoundTrip(r)
	if r.Context().Err() == nil && (err != nil || resp.StatusCode >= 500) {
		c.failed.Add(1)
	}
	if err == nil && resp.StatusCode == http.StatusNotFound && c.isConfirmed(r.URL.Path) {
		c.t.Errorf("%s %s: 404, and it was confirmed", r.Method, r.URL.Path)
	}
	return resp, err
}

// beginUpload sends the first half of an upload. What finish returns is whether the
// registry took the upload, after the other half.
func (c *courier) beginUpload(t testing.TB) (finish func() error) {
	t.Helper()
	send := func(method, url string, body io.Reader) (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), method, url, body)
		if err != nil {
			return nil, err
		}
		user, password, _ := strings.Cut(login, ":")
		r.SetBasicAuth(user, password)
		resp, err := c.transport.RoundTrip(r)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted {
				err = errors.New(method + ": " + resp.Status)
			}
		}
		return resp, err
	}
	begun, err := send(http.MethodPost, "https://"+site+"/v2/"+c.folder+"/half/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	location, err := begun.Location()
	if err != nil {
		t.Fatal(err)
	}
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := send(http.MethodPatch, location.String(), reader)
		reader.CloseWithError(errors.New("it has ended")) // nobody reads the rest
		ended <- err
	}()
	half := make([]byte, 64<<10)
	if _, err := writer.Write(half); err != nil { // returns when it is on its way
		t.Fatalf("%v: %v", err, <-ended)
	}
	return func() error {
		_, _ = writer.Write(half) // how it ended says more
		writer.Close()
		return <-ended
	}
}

// isConfirmed tells whether a path is of a repository whose image was confirmed.
func (c *courier) isConfirmed(path string) bool {
	repository, _, _ := strings.Cut(strings.TrimPrefix(path, "/v2/"), "/manifests/")
	repository, _, _ = strings.Cut(repository, "/blobs/")
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.confirmed[site+"/"+repository+":v1"]
	return ok
}

// work lets two push and one pull until stop is called, which waits for them.
func (c *courier) work(t testing.TB) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for _, size := range []int64{parcel, freight} {
		group.Go(func() {
			for ctx.Err() == nil {
				c.push(ctx, size)
				pause(ctx)
			}
		})
	}
	group.Go(func() {
		for ctx.Err() == nil {
			if tag := c.any(); tag != "" {
				c.until(ctx, "pull of "+tag, func() error { return c.pull(ctx, tag) })
			}
			pause(ctx)
		}
	})
	return func() {
		cancel()
		group.Wait()
		c.transport.CloseIdleConnections()
	}
}

// push sends a new image until the registry has confirmed it.
func (c *courier) push(ctx context.Context, size int64) {
	image, err := random.Image(size, 1)
	if err != nil {
		c.t.Error(err)
		return
	}
	digest, err := image.Digest()
	if err != nil {
		c.t.Error(err)
		return
	}
	tag := fmt.Sprintf("%s/%s/%s:v1", site, c.folder, digest.Hex[:12])
	at, err := reference.NewTag(tag)
	if err != nil {
		c.t.Error(err)
		return
	}
	if !c.until(ctx, "push of "+tag, func() error { return remote.Write(at, image, c.with(ctx)...) }) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.confirmed[tag] = digest
	c.tags = append(c.tags, tag)
	c.pushed.Add(1)
}

// pull gets an image, and compares all digests. That something breaks off happens;
// what is confirmed must never be another thing, nor unknown (see RoundTrip).
func (c *courier) pull(ctx context.Context, tag string) error {
	err := c.tryPull(ctx, tag)
	if isMismatch(err) {
		c.t.Errorf("%s was confirmed: %v", tag, err)
	}
	if err == nil {
		c.pulled.Add(1)
	}
	return err
}

// isMismatch tells whether content came that has another digest.
func isMismatch(err error) bool {
	return err != nil && slices.ContainsFunc([]string{"verifying sha256 checksum", "verifying size", "undersized", "mismatch"},
		func(part string) bool { return strings.Contains(err.Error(), part) })
}

func (c *courier) tryPull(ctx context.Context, tag string) error {
	at, err := reference.NewTag(tag)
	if err != nil {
		return err
	}
	image, err := remote.Image(at, c.with(ctx)...)
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	c.mu.Lock()
	want, known := c.confirmed[tag]
	c.mu.Unlock()
	if known && digest != want {
		c.t.Errorf("%s is %s instead of %s", tag, digest, want)
	}
	return validate.Image(image)
}

func (c *courier) with(ctx context.Context) []remote.Option {
	return append([]remote.Option{remote.WithContext(ctx)}, c.options...)
}

// any returns one of the images that are confirmed, "" if there is none.
func (c *courier) any() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tags) == 0 {
		return ""
	}
	return c.tags[rand.IntN(len(c.tags))]
}

// until tries something until it succeeds or ctx ends, and tells which.
func (c *courier) until(ctx context.Context, what string, try func() error) bool {
	for begin := time.Now(); ; {
		err := try()
		if err == nil || ctx.Err() != nil {
			return err == nil
		}
		if time.Since(begin) > longStorm {
			c.t.Errorf("%s: %v", what, err)
			return false
		}
		if !pause(ctx) {
			return false
		}
	}
}

func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(tryAgain):
		return true
	}
}

// allWhole pulls every image that can be seen: each is whole, and all that were
// confirmed are among them.
func (c *courier) allWhole(t *testing.T) {
	t.Helper()
	registry, err := reference.NewRegistry(site)
	if err != nil {
		t.Fatal(err)
	}
	repositories, err := remote.Catalog(t.Context(), registry, c.options...)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, repository := range repositories {
		if !strings.HasPrefix(repository, c.folder+"/") {
			continue
		}
		at, err := reference.NewRepository(site + "/" + repository)
		if err != nil {
			t.Fatal(err)
		}
		tags, err := remote.List(at, c.with(t.Context())...)
		if answer := (*transport.Error)(nil); errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
			continue // an upload began there, no more
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			tag = at.Tag(tag).String()
			seen[tag] = true
			if err := c.tryPull(t.Context(), tag); err != nil {
				t.Errorf("half an image can be seen: %s: %v", tag, err)
			}
		}
	}
	for _, tag := range c.tags {
		if !seen[tag] {
			t.Errorf("what was confirmed is not there: %s", tag)
		}
	}
	if len(seen) == 0 {
		t.Error("nothing can be seen")
	}
}

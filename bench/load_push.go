package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// pusher uploads as Docker does, over HTTP/1.1.
type pusher struct {
	server *server
	http   *http.Client
}

func newPusher(s *server) *pusher {
	return &pusher{server: s, http: &http.Client{Transport: newTransport(s, false), Timeout: ioTimeout}}
}

func (p *pusher) close() { p.http.CloseIdleConnections() }

// push uploads a blob: POST, PATCH, PUT. One PATCH has everything and is
// chunked, as Docker's; a chunk size makes several with a Content-Range.
func (p *pusher) push(ctx context.Context, repository string, c content, chunk int64) error {
	location, err := p.send(ctx, http.MethodPost, p.server.url("/v2/"+repository+"/blobs/uploads/"), nil, nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	if chunk == 0 {
		// The wrapper hides the length.
		body := struct{ io.Reader }{c.reader(0, c.size)}
		if location, err = p.send(ctx, http.MethodPatch, location, body, nil, http.StatusAccepted); err != nil {
			return err
		}
	} else {
		for offset := int64(0); offset < c.size; offset += chunk {
			n := min(chunk, c.size-offset)
			header := http.Header{"Content-Range": {fmt.Sprintf("%d-%d", offset, offset+n-1)}}
			if location, err = p.send(ctx, http.MethodPatch, location, sized{c.reader(offset, n), n}, header, http.StatusAccepted); err != nil {
				return err
			}
		}
	}
	end, err := url.Parse(location)
	if err != nil {
		return fmt.Errorf("location of an upload: %w", err)
	}
	query := end.Query()
	query.Set("digest", c.digest)
	end.RawQuery = query.Encode()
	_, err = p.send(ctx, http.MethodPut, end.String(), nil, nil, http.StatusCreated)
	return err
}

// putManifest uploads a manifest under a tag.
func (p *pusher) putManifest(ctx context.Context, repository, tag string, manifest []byte, mediaType string) error {
	_, err := p.send(ctx, http.MethodPut, p.server.url("/v2/"+repository+"/manifests/"+tag),
		bytes.NewReader(manifest), http.Header{"Content-Type": {mediaType}}, http.StatusCreated)
	return err
}

// sized is a body whose length is told.
type sized struct {
	io.Reader
	length int64 // bytes
}

// send sends one request of an upload and returns the Location of the answer.
func (p *pusher) send(ctx context.Context, method, target string, body io.Reader, header http.Header, want int) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return "", err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if body, ok := body.(sized); ok {
		req.ContentLength = body.length
	}
	if body != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	req.Header.Set("User-Agent", userAgent)
	req.SetBasicAuth(userName, password)
	resp, err := p.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != want {
		return "", fmt.Errorf("%s answered %s: %s", method, resp.Status, bytes.TrimSpace(answer))
	}
	location, err := resp.Location()
	if err != nil {
		return "", fmt.Errorf("%s answered without a Location: %w", method, err)
	}
	return location.String(), nil
}

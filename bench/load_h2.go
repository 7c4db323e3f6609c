package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// stream is a client whose requests share one HTTP/2 connection with those of
// others.
type stream struct {
	server *server
	http   *http.Client
	buf    []byte
}

// newStreams returns n clients with one connection, which is open.
func newStreams(ctx context.Context, s *server, n int) ([]*stream, func(), error) {
	transport := newTransport(s, true)
	streams := make([]*stream, n)
	for i := range streams {
		streams[i] = &stream{server: s, http: &http.Client{Transport: transport, Timeout: ioTimeout}, buf: make([]byte, 64<<10)}
	}
	resp, err := streams[0].answer(ctx, http.MethodGet, "/v2/", nil)
	if err != nil {
		return nil, nil, err
	}
	_, _ = io.Copy(io.Discard, resp.Body) // only the connection is wanted
	_ = resp.Body.Close()
	if resp.ProtoMajor != 2 {
		transport.CloseIdleConnections()
		return nil, nil, fmt.Errorf("speaks %s", resp.Proto)
	}
	return streams, transport.CloseIdleConnections, nil
}

// newTransport returns a transport for a server's certificate.
func newTransport(s *server, h2 bool) *http.Transport {
	t := &http.Transport{
		TLSClientConfig: s.lab.client.Clone(), ForceAttemptHTTP2: h2, DisableCompression: true,
		WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10, MaxIdleConnsPerHost: 64,
	}
	if !h2 {
		t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{} // not nil: no HTTP/2
	}
	return t
}

// do sends a request and counts the body of its answer.
func (c *stream) do(ctx context.Context, method, path string, header http.Header) (status int, size int64, err error) {
	resp, err := c.answer(ctx, method, path, header)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	for {
		n, err := resp.Body.Read(c.buf)
		size += int64(n)
		if errors.Is(err, io.EOF) {
			return resp.StatusCode, size, nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

func (c *stream) answer(ctx context.Context, method, path string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.server.url(path), nil)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", userAgent)
	req.SetBasicAuth(userName, password)
	return c.http.Do(req)
}

package registryproxy_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// field is a header field of HTTP/2, as it is sent.
type field = hpack.HeaderField

// stream is a request of HTTP/2: what a client of the library would never send.
type stream struct {
	fields   []field
	data     string
	trailers []field
}

// exchange2 sends one stream on a connection of its own, and returns the status of
// its answer; 0 is a stream or a connection that was reset.
func (c *rawCaddy) exchange2(t *testing.T, s stream) (status string) {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}}
	conn, err := dialer.DialContext(t.Context(), "tcp", c.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	headers := func(fields []field, end bool) {
		block.Reset()
		for _, f := range fields {
			f.Value = strings.ReplaceAll(f.Value, "HOST", c.Host)
			if err := encoder.WriteField(f); err != nil {
				t.Fatal(err)
			}
		}
		// What can't be written any more has been refused, which is read below.
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	headers(s.fields, s.data == "" && s.trailers == nil)
	if s.data != "" {
		_ = framer.WriteData(1, s.trailers == nil, []byte(s.data))
	}
	if s.trailers != nil {
		headers(s.trailers, true)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return "0"
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "0"
		}
	}
}

// request2 is a request of user a for tags, with more fields.
func request2(more ...field) []field {
	return append([]field{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "HOST"}, {Name: ":path", Value: "/v2/a/x/tags/list"},
		{Name: "authorization", Value: "Basic " + loginA},
	}, more...)
}

// with2 is the same with another value of one field.
func with2(name, value string, more ...field) []field {
	fields := request2(more...)
	for i := range fields {
		if fields[i].Name == name {
			fields[i].Value = value
		}
	}
	return fields
}

// TestRawStreams is TestRawRequests for HTTP/2.
func TestRawStreams(t *testing.T) {
	c := newRawCaddy(t)
	for _, test := range []struct {
		name    string
		stream  stream
		status  string // " or " is between what may come first
		reached string
	}{
		{"one's own", stream{fields: request2()}, "404", seenA},
		{"another's", stream{fields: with2(":path", "/v2/eve/x/tags/list")}, "403", ""},
		{"two paths", stream{fields: append([]field{{Name: ":path", Value: "/v2/eve/x/tags/list"}}, request2()...)}, "0", ""},
		{"a path behind the fields", stream{fields: request2(field{Name: ":path", Value: "/v2/eve/x/tags/list"})}, "0", ""},
		{"a path that is a URL", stream{fields: with2(":path", "https://HOST/v2/eve/x/tags/list")}, "0", ""},
		{"a path without a slash", stream{fields: with2(":path", "v2/eve/x/tags/list")}, "0", ""},
		{"no path", stream{fields: with2(":path", "")}, "0", ""},
		{"a path with a line", stream{fields: with2(":path", "/v2/a/x/tags/list HTTP/1.1\r\nX: y")}, "0", ""},
		{"a path with dots", stream{fields: with2(":path", "/v2/a/../eve/x/tags/list")}, "404", ""},
		{"two logins", stream{fields: request2(field{Name: "authorization", Value: "Basic " + loginEve})}, "400", ""},
		{"a login in upper case", stream{fields: with2("authorization", "", field{Name: "Authorization", Value: "Basic " + loginA})}, "0", ""},
		{"a login behind a line", stream{fields: with2("authorization", "", field{Name: "x", Value: "y\r\nauthorization: Basic " + loginA})}, "0", ""},
		{"a login in the trailers", stream{
			fields: with2("authorization", "")[:4], data: "x",
			trailers: []field{{Name: "authorization", Value: "Basic " + loginA}},
		}, "401", ""},
		{"another method", stream{fields: with2(":method", "DELETE")}, "405", ""},
		{"a method with a path", stream{fields: with2(":method", "GET /v2/eve/x/tags/list")}, "405", ""},
		{"CONNECT", stream{fields: with2(":method", "CONNECT")}, "0", ""},
		{"CONNECT for a websocket", stream{fields: append([]field{{Name: ":protocol", Value: "websocket"}}, with2(":method", "CONNECT")...)}, "0", ""},
		{"an upgrade", stream{fields: request2(field{Name: "connection", Value: "upgrade"}, field{Name: "upgrade", Value: "h2c"})}, "400", ""},
		{"chunks", stream{fields: request2(field{Name: "transfer-encoding", Value: "chunked"})}, "400", ""},
		{"a login that shall be dropped on the way", stream{fields: request2(field{Name: "te", Value: "authorization"})}, "400", ""},
		{"more than the length", stream{fields: with2(":method", "PATCH", field{Name: "content-length", Value: "1"}), data: "GET /v2/eve/x/tags/list HTTP/1.1\r\n\r\n"}, "405 or 0", ""},
		{"another host in a field", stream{fields: request2(field{Name: "host", Value: "evil.example"})}, "0", ""},
		{"headers of a proxy", stream{fields: request2(field{Name: "forwarded", Value: "host=evil"}, field{Name: "x-real-ip", Value: "1.2.3.4"})}, "404", seenA},
	} {
		t.Run(test.name, func(t *testing.T) {
			status := c.exchange2(t, test.stream)
			reached, _ := c.take()
			if !slices.Contains(strings.Split(test.status, " or "), status) || strings.Join(reached, ", ") != test.reached {
				t.Errorf("status %s, and the registry got %q; want %s and %q", status, reached, test.status, test.reached)
			}
		})
	}
}

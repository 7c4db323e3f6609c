package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// userAgent is a Docker client's: the recipe for nginx refuses Go's own.
const userAgent = "docker/28.5.2 go/go1.26 os/linux arch/amd64"

// ioTimeout is far beyond what any contestant takes for one work, and keeps
// one that hangs from stopping the run.
const ioTimeout = 5 * time.Minute

// client is one HTTP/1.1 connection. It does no more than a measurement needs
// since it shares the cores with what is measured: requests are made once, and
// bodies are read into one buffer and counted.
type client struct {
	scheme, address string
	tls             *tls.Config
	timeout         time.Duration // of a connection as a whole
	conn            net.Conn
	buf             []byte
	start, end      int // of what was read and not used
}

func newClient(s *server) *client {
	return &client{scheme: s.scheme, address: s.address, tls: s.lab.client, timeout: ioTimeout, buf: make([]byte, 64<<10)}
}

// request returns a request of the good user, for do. Header lines end in
// CRLF.
func (c *client) request(method, path, header string) []byte {
	return c.requestAs(userName, password, method, path, header)
}

func (c *client) requestAs(user, secret, method, path, header string) []byte {
	login := base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))
	return fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAuthorization: Basic %s\r\n%s\r\n",
		method, path, c.address, userAgent, login, header)
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// connect opens the connection unless it is open. There is no cache of TLS
// sessions, as there is none in Docker's client.
func (c *client) connect() error {
	if c.conn != nil {
		return nil
	}
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).Dial("tcp", c.address)
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(c.timeout)) // fails on a closed connection only
	c.start, c.end = 0, 0
	if c.scheme == "https" {
		secured := tls.Client(conn, c.tls)
		if err := secured.Handshake(); err != nil { //nolint:noctx // the connection has a deadline
			_ = conn.Close()
			return err
		}
		conn = secured
	}
	c.conn = conn
	return nil
}

// do sends a request and reads the answer. It returns the status and the size
// of the body, which it also writes to body if that is not nil.
func (c *client) do(request []byte, head bool, body io.Writer) (status int, size int64, err error) {
	if err := c.connect(); err != nil {
		return 0, 0, err
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if _, err := c.conn.Write(request); err != nil {
		return 0, 0, err
	}
	a, err := c.readHeader()
	if err != nil {
		return 0, 0, err
	}
	if !head {
		if a.length < 0 {
			return 0, 0, errors.New("the answer has no Content-Length")
		}
		if err := c.readBody(a.length, body); err != nil {
			return 0, 0, err
		}
	}
	if a.close {
		c.close()
	}
	return a.status, a.length, nil
}

// readHeader reads up to the empty line.
func (c *client) readHeader() (answer, error) {
	for {
		if i := bytes.Index(c.buf[c.start:c.end], []byte("\r\n\r\n")); i >= 0 {
			header := c.buf[c.start : c.start+i+2]
			c.start += i + 4
			return parseAnswer(header)
		}
		if c.start > 0 {
			c.end = copy(c.buf, c.buf[c.start:c.end])
			c.start = 0
		}
		if c.end == len(c.buf) {
			return answer{}, errors.New("the answer's header is too long")
		}
		n, err := c.conn.Read(c.buf[c.end:])
		c.end += n
		if err != nil {
			return answer{}, fmt.Errorf("reading an answer: %w", err)
		}
	}
}

// readBody reads n bytes.
func (c *client) readBody(n int64, body io.Writer) error {
	for n > 0 {
		if c.start == c.end {
			got, err := c.conn.Read(c.buf[:min(n, int64(len(c.buf)))])
			if got == 0 && err != nil {
				return fmt.Errorf("reading a body, with %d bytes to go: %w", n, err)
			}
			c.start, c.end = 0, got
		}
		part := c.buf[c.start:min(int64(c.end), int64(c.start)+n)]
		if body != nil {
			if _, err := body.Write(part); err != nil {
				return err
			}
		}
		c.start += len(part)
		n -= int64(len(part))
	}
	return nil
}

// answer is what do needs of an answer's header.
type answer struct {
	status int
	length int64 // -1: not said
	close  bool
}

// parseAnswer reads a status line and header lines, each with its CRLF.
func parseAnswer(header []byte) (answer, error) {
	line, rest, _ := bytes.Cut(header, []byte("\r\n"))
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return answer{}, fmt.Errorf("status line %q", line)
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return answer{}, fmt.Errorf("status line %q", line)
	}
	a := answer{status: status, length: -1}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
			if a.length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return answer{}, fmt.Errorf("length of an answer: %w", err)
			}
		case len(name) == len("Connection") && bytes.EqualFold(name, []byte("Connection")):
			a.close = strings.EqualFold(string(bytes.TrimSpace(value)), "close")
		}
	}
	return a, nil
}

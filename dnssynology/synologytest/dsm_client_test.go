package synologytest

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
)

// client is a careful client of a DSM, with a session once it has logged in.
type client struct {
	*DSM
	http       *http.Client
	sid, token string
}

func newClient(t *testing.T, d *DSM) *client {
	t.Helper()
	text, err := os.ReadFile(d.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("no certificate in the CA file")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{DSM: d, http: &http.Client{Transport: transport}}
}

// pairs makes values of names and values in turn.
func pairs(list ...string) url.Values {
	values := url.Values{}
	for i := 0; i < len(list); i += 2 {
		values.Set(list[i], list[i+1])
	}
	return values
}

// send makes a request: a POST if there is a body.
func (c *client) send(ctx context.Context, query, body url.Values) (*http.Response, []byte, error) {
	method, content := http.MethodGet, io.Reader(nil)
	if body != nil {
		method, content = http.MethodPost, strings.NewReader(body.Encode())
	}
	r, err := http.NewRequestWithContext(ctx, method, c.URL+"/webapi/entry.cgi?"+query.Encode(), content)
	if err != nil {
		return nil, nil, err
	}
	if body != nil {
		r.Header.Set("Content-Type", formType)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response, text, err
}

// reply makes a request, and returns the data as JSON, or an error's code.
func (c *client) reply(t *testing.T, query, body url.Values) (data string, code int) {
	t.Helper()
	response, text, err := c.send(t.Context(), query, body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%v: %v: %s", response, err, text)
	}
	var envelope struct {
		Success *bool
		Data    json.RawMessage
		Error   struct{ Code int }
	}
	if err := json.Unmarshal(text, &envelope); err != nil || envelope.Success == nil {
		t.Fatalf("reply %q: %v", text, err)
	}
	if *envelope.Success != (envelope.Error.Code == 0) {
		t.Errorf("reply %q", text)
	}
	return string(envelope.Data), envelope.Error.Code
}

func loginQuery() url.Values {
	return pairs("api", "SYNO.API.Auth", "version", "7", "method", "login")
}

func (c *client) loginBody(more ...string) url.Values {
	body := pairs("account", c.Account, "passwd", c.Password, "format", "sid", "enable_syno_token", "yes")
	for name, values := range pairs(more...) {
		body[name] = values
	}
	return body
}

// login returns the reply's fields, or an error's code.
func (c *client) login(t *testing.T, more ...string) (reply map[string]any, code int) {
	t.Helper()
	data, code := c.reply(t, loginQuery(), c.loginBody(more...))
	if code != 0 {
		return nil, code
	}
	if err := json.Unmarshal([]byte(data), &reply); err != nil {
		t.Fatal(err)
	}
	c.sid, _ = reply["sid"].(string)
	c.token, _ = reply["synotoken"].(string)
	return reply, 0
}

// query is that of a call, such as "SYNO.DNSServer.Zone 1 list", in the session.
func (c *client) query(call string) url.Values {
	parts := strings.Fields(call)
	query := pairs("api", parts[0], "version", parts[1], "method", parts[2])
	if c.sid != "" {
		query.Set("_sid", c.sid)
	}
	if c.token != "" {
		query.Set("SynoToken", c.token)
	}
	return query
}

// call makes one, with parameters given as name and JSON in turn.
func (c *client) call(t *testing.T, call string, params ...string) (data string, code int) {
	t.Helper()
	return c.reply(t, c.query(call), pairs(params...))
}

// want makes a call that must have these data or this code.
func (c *client) want(t *testing.T, wantData string, wantCode int, call string, params ...string) {
	t.Helper()
	data, code := c.call(t, call, params...)
	if data != wantData || code != wantCode {
		t.Errorf("%s %q: got %s, code %d; want %s, code %d", call, params, data, code, wantData, wantCode)
	}
}

// loggedIn starts a DSM, and a client with a session.
func loggedIn(t *testing.T, options ...DSMOption) (*client, *recorder) {
	t.Helper()
	r := &recorder{TB: t}
	c := newClient(t, NewDSM(r, options...))
	if _, code := c.login(t); code != 0 {
		t.Fatalf("login: %d", code)
	}
	t.Cleanup(func() { equal(t, "errors", r.take()) })
	return c, r
}

// export returns a certificate's files by name.
func (c *client) export(t *testing.T, id string) map[string]string {
	t.Helper()
	response, text, err := c.send(t.Context(), c.query("SYNO.Core.Certificate 1 export"), pairs("id", id, "file", `"archive"`))
	if err != nil || response.Header.Get("Content-Type") != "application/zip" {
		t.Fatalf("%v: %v: %s", response, err, text)
	}
	archive, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range archive.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(content)
	}
	return files
}

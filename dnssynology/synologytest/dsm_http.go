package synologytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DSMRequest is one that DSM received.
type DSMRequest struct {
	API     string
	Version int
	Method  string         // the Web API's, such as "list"
	Params  map[string]any // all others, decoded where they are JSON; secrets included
	At      time.Time
}

// call is a request on its way through DSM.
type call struct {
	http          *http.Request
	query, body   url.Values
	problem       error // with the HTTP request as such
	api, method   string
	version       int
	params        map[string]any // decoded
	session       *session
	sid           string
	wrong, reason string // a parameter that could not be decoded, and why
}

func (c *call) text(name string) string {
	s, _ := c.params[name].(string)
	return s
}

// enveloped are the parameters that no API declares.
var enveloped = []string{"api", "version", "method", "_sid", "SynoToken"}

// archive is a reply that is a file instead of JSON.
type archive []byte

// serveHTTP answers one request.
func (d *DSM) serveHTTP(w http.ResponseWriter, r *http.Request) {
	c := d.read(r)
	d.mu.Lock()
	d.requests = append(d.requests, DSMRequest{c.api, c.version, c.method, c.recorded(), time.Now()})
	d.mu.Unlock()
	if d.faults.strike(w, r, c.api+" "+c.method) {
		return
	}
	if want := d.pathOf(c.api); r.URL.Path != want {
		d.t.Errorf("synologytest: %s %s at %s instead of %s", c.api, c.method, r.URL.Path, want)
		http.NotFound(w, r)
		return
	}
	d.mu.Lock()
	data, failure := d.handle(c)
	d.mu.Unlock()
	if b, ok := d.faults.next(c.api+" "+c.method, true); ok {
		b.answer(w)
		return
	}
	if file, ok := data.(archive); ok {
		w.Header().Set("Content-Type", "application/zip")
		w.Header().Set("Content-Disposition", `attachment; filename="archive.zip"`)
		_, _ = w.Write(file)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	reply := map[string]any{"success": failure == nil}
	switch {
	case failure != nil && failure.Code == noCode:
	case failure != nil:
		reply["error"] = failure
	case data != nil:
		reply["data"] = data
	}
	if err := json.NewEncoder(w).Encode(reply); err != nil && r.Context().Err() == nil {
		d.t.Errorf("synologytest: %s %s: writing the reply: %v", c.api, c.method, err)
	}
}

func (d *DSM) pathOf(api string) string {
	if api == "SYNO.API.Info" {
		return "/webapi/entry.cgi"
	}
	return "/webapi/" + d.path
}

// read takes a request apart, without judging it.
func (d *DSM) read(r *http.Request) *call {
	c := &call{http: r, query: r.URL.Query()}
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		c.problem = err
	}
	if err := r.ParseForm(); err != nil {
		c.problem = err
	}
	c.body = r.PostForm
	if r.Method == http.MethodPost {
		mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if mediaType != formType && r.ContentLength != 0 {
			c.problem = fmt.Errorf("content type %q instead of %s", r.Header.Get("Content-Type"), formType)
		}
	} else if r.Method != http.MethodGet {
		c.problem = fmt.Errorf("HTTP method %s", r.Method)
	}
	for name := range r.Form {
		if len(r.Form[name]) > 1 {
			c.problem = fmt.Errorf("parameter %q is there %d times", name, len(r.Form[name]))
		}
	}
	c.api, c.method = r.Form.Get("api"), r.Form.Get("method")
	c.version, _ = strconv.Atoi(r.Form.Get("version"))
	c.sid = c.query.Get("_sid")
	c.decode(d.apis[c.api])
	return c
}

// decode fills in the parameters. Those of unknown names it decodes if it can.
func (c *call) decode(api api) {
	c.params = map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(c.http.Form)) {
		raw := c.http.Form.Get(name)
		if slices.Contains(enveloped, name) {
			continue
		}
		k, known := api.methods[c.method].params[name]
		if !known {
			if value, err := decodeJSON(raw); err == nil && !api.plain {
				c.params[name] = value
			} else {
				c.params[name] = raw
			}
			continue
		}
		value, err := k.decode(raw)
		if err != nil {
			c.wrong, c.reason = name, err.Error()
			value = raw
		}
		c.params[name] = value
	}
}

// recorded are the parameters as a test sees them.
func (c *call) recorded() map[string]any {
	params := maps.Clone(c.params)
	for _, name := range []string{"_sid", "SynoToken"} {
		if c.http.Form.Has(name) {
			params[name] = c.http.Form.Get(name)
		}
	}
	if token := c.http.Header.Get("X-SYNO-TOKEN"); token != "" {
		params["SynoToken"] = token
	}
	return params
}

// handle does what a call asks for.
func (d *DSM) handle(c *call) (data any, failure *apiError) {
	if c.problem != nil {
		return nil, d.mistake(c, codeNoRequest, c.problem.Error())
	}
	if strings.Contains(c.http.RequestURI, d.Password) || c.query.Has("passwd") {
		return nil, d.mistake(c, codeBadParam, "a password in the query string, where logs show it")
	}
	if c.api == "" || c.method == "" || c.version == 0 {
		return nil, d.mistake(c, codeNoRequest, "no api, no method or no version")
	}
	api, ok := d.apis[c.api]
	if !ok {
		return nil, &apiError{Code: codeNoAPI}
	}
	if c.version < api.min || c.version > api.max {
		return nil, &apiError{Code: codeNoVersion}
	}
	method, ok := api.methods[c.method]
	if !ok {
		return nil, &apiError{Code: codeNoMethod}
	}
	if !api.open {
		if failure := d.admit(c); failure != nil {
			return nil, failure
		}
	}
	if failure := d.checkParams(c, method); failure != nil {
		return nil, failure
	}
	return method.do(d, c)
}

// checkParams refuses a call whose parameters are not the method's.
func (d *DSM) checkParams(c *call, m method) *apiError {
	for _, name := range slices.Sorted(maps.Keys(c.params)) {
		if _, known := m.params[name]; !known {
			return d.mistake(c, codeBadParam, "unknown parameter "+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.params)) {
		if _, there := c.params[name]; !there && m.params[name]&optional == 0 {
			return d.mistake(c, codeLost, "parameter "+name+" is missing")
		}
	}
	if c.wrong != "" {
		return d.mistake(c, codeBadParam, "parameter "+c.wrong+" "+c.reason)
	}
	return nil
}

// mistake is an error that a client without mistakes does not get.
func (d *DSM) mistake(c *call, code int, reason string) *apiError {
	d.t.Errorf("synologytest: %s %s: %s", c.api, c.method, reason)
	return &apiError{Code: code, Errors: map[string]string{"reason": reason}}
}

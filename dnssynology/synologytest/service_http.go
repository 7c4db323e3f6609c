package synologytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const formType = "application/x-www-form-urlencoded"

// Codes that the service answers with.
const (
	good           = "good"
	badauth        = "badauth"
	badparam       = "badparam"
	badhostname    = "badhostname"
	apikeyNotFound = "apikey_not_found"
	hostNotFound   = "host_not_found"
)

// serveHTTP answers one request.
func (s *Service) serveHTTP(w http.ResponseWriter, r *http.Request) {
	form, problem := readForm(r)
	request := Request{Method: r.Method, Command: form.Get("_"), Form: form, At: time.Now()}
	s.mu.Lock()
	s.requests = append(s.requests, request)
	s.mu.Unlock()

	if s.faults.strike(w, r, request.Command) {
		return
	}
	if r.URL.Path != "/main.php" {
		s.t.Errorf("synologytest: a request for %s", r.URL.Path)
		http.NotFound(w, r)
		return
	}
	code := s.handle(request, problem)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"code": code})
}

// readForm returns the fields of the one place where they belong: the body of a
// POST, the query of anything else.
func readForm(r *http.Request) (form url.Values, problem error) {
	if err := r.ParseForm(); err != nil {
		return r.Form, err
	}
	if r.Method != http.MethodPost {
		return r.Form, nil
	}
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != formType {
		return r.Form, fmt.Errorf("content type %q instead of %s", r.Header.Get("Content-Type"), formType)
	}
	if r.URL.RawQuery != "" {
		return r.Form, fmt.Errorf("a POST with a query")
	}
	return r.PostForm, nil
}

// handle does what a request asks for, and returns the code of the answer.
func (s *Service) handle(request Request, problem error) (code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, known := s.commands[request.Command]
	if problem == nil {
		switch {
		case !known:
			problem = fmt.Errorf("no such command")
		case !slices.Contains(c.methods, request.Method):
			problem = fmt.Errorf("method %s instead of %s", request.Method, strings.Join(c.methods, " or "))
		default:
			problem = c.check(request.Form)
		}
	}
	if problem != nil {
		s.t.Errorf("synologytest: %s: %v", request.Command, problem)
		return badparam
	}
	if s.failTimes > 0 {
		s.failTimes--
		return s.failCode
	}
	if code := s.authenticate(request.Form); code != good {
		return code
	}
	return c.do(s, request.Form)
}

// check looks at the presence of fields only.
func (c command) check(form url.Values) error {
	for _, name := range slices.Sorted(maps.Keys(form)) {
		switch {
		case name != "_" && !slices.Contains(c.required, name) && !slices.Contains(c.optional, name):
			return fmt.Errorf("unknown field %q", name)
		case len(form[name]) != 1:
			return fmt.Errorf("field %q is there %d times", name, len(form[name]))
		case form.Get(name) == "":
			return fmt.Errorf("field %q is empty", name)
		}
	}
	for _, name := range c.required {
		if !form.Has(name) {
			return fmt.Errorf("field %q is missing", name)
		}
	}
	return nil
}

// authenticate compares the fields that are there with what is known of the NAS.
// Unknown: which of them the real service looks at.
func (s *Service) authenticate(form url.Values) (code string) {
	for _, f := range []struct{ name, want, code string }{
		{"myds_id", s.MyDSID, badauth},
		{"auth_key", s.AuthKey, badauth},
		{"serial", s.Serial, badauth},
		{"mac", s.MAC, badauth},
		{"api_key", s.APIKey, apikeyNotFound},
	} {
		if form.Has(f.name) && form.Get(f.name) != f.want {
			return f.code
		}
	}
	return s.checkHostname(form.Get("hostname"))
}

func (s *Service) checkHostname(name string) (code string) {
	if name != key(name) || strings.ContainsAny(name, "*_ ") {
		s.t.Errorf("synologytest: hostname %q is not one: no final dot, no wildcard, no label of a challenge", name)
		return badhostname
	}
	if suffix := suffixOf(name); suffix == "" || suffix == name {
		return badhostname
	}
	if name != s.Hostname {
		return hostNotFound
	}
	return good
}

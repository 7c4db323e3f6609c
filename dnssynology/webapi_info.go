package dnssynology

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const (
	infoAPI = "SYNO.API.Info"

	// infoAge is how old the list of APIs must be before it is fetched again
	// because an API isn't in it or not as it says: a package may have been
	// installed, or DSM updated, meanwhile.
	infoAge = time.Minute
)

// apiInfo is how an API is called, as DSM describes it.
type apiInfo struct {
	Path          string `json:"path"`
	MinVersion    int    `json:"minVersion"`
	MaxVersion    int    `json:"maxVersion"`
	RequestFormat string `json:"requestFormat"` // JSON: each parameter is JSON

	name    string
	version int   // that is used
	problem error // why it can't be called
}

// wantedVersions are the versions of the APIs that this package speaks. It is 1
// for all others.
var wantedVersions = map[string]int{authAPI: 7, "SYNO.Core.DDNS.ExtIP": 2}

// encode returns a parameter's value as the API wants it.
func (a *apiInfo) encode(value any) (string, error) {
	if s, ok := value.(string); ok && a.RequestFormat != "JSON" {
		return s, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// plainPath is what a path of an API looks like.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9_]+(?:[./-][A-Za-z0-9_]+)*$`)

// choose sets the version that is used, or says why none can be.
func (a *apiInfo) choose(name string) error {
	a.name = name
	wanted := max(wantedVersions[name], 1)
	if name == authAPI && a.MaxVersion == 6 {
		wanted = 6 // of DSM 6.2.4, and the same for what is used here
	}
	switch {
	case wanted < a.MinVersion || wanted > a.MaxVersion:
		return fmt.Errorf("DSM has the versions %d to %d of %s, and this program speaks %d", a.MinVersion, a.MaxVersion, name, wanted)
	case !plainPath.MatchString(a.Path):
		return fmt.Errorf("DSM gives %s a path that makes no sense", name)
	}
	a.version = wanted
	return nil
}

// missingAPIError says that DSM doesn't have an API.
type missingAPIError struct{ api string }

func (e *missingAPIError) Error() string {
	s := "this DSM has no " + e.api
	if strings.HasPrefix(e.api, "SYNO.DNSServer.") {
		s += ": install the package DNS Server"
	}
	return s
}

// lookUp returns how an API is called. The list of all APIs is fetched once.
func (w *webAPI) lookUp(ctx context.Context, name string) (*apiInfo, error) {
	for {
		w.mu.Lock()
		api, known := w.apis[name]
		fresh := w.apis != nil && time.Since(w.apisTime) < infoAge
		switch {
		case known && api.problem == nil:
			w.mu.Unlock()
			return api, nil
		case known && (fresh || w.closed):
			w.mu.Unlock()
			return nil, api.problem
		case w.closed:
			w.mu.Unlock()
			return nil, errClosed
		case fresh:
			w.mu.Unlock()
			return nil, &missingAPIError{name}
		}
		f := w.asking
		if f == nil {
			f = w.start(dsmTimeout, func(ctx context.Context) error { //nolint:contextcheck // others wait for it, too
				apis, err := w.fetchInfo(ctx)
				w.mu.Lock()
				defer w.mu.Unlock()
				if err == nil {
					w.apis, w.apisTime = apis, time.Now()
				}
				w.asking = nil
				return err
			})
			w.asking = f
		}
		w.mu.Unlock()
		if err := f.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// outdated tells whether a call failed because DSM has the API no longer as it was
// looked up, and looking it up again may help.
func (w *webAPI) outdated(api *apiInfo, err error) bool {
	var refused *APIError
	if !errors.As(err, &refused) || refused.Code != 102 && refused.Code != 104 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return false
	case w.apis[api.name] != api: // another caller has noticed
		return true
	case time.Since(w.apisTime) < infoAge:
		return false
	}
	w.apis = nil
	return true
}

// fetchInfo asks DSM for its APIs. It is the one call by GET, and without a session.
func (w *webAPI) fetchInfo(ctx context.Context) (map[string]*apiInfo, error) {
	query := url.Values{"api": {infoAPI}, "version": {"1"}, "method": {"query"}, "query": {"all"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/webapi/entry.cgi?"+query.Encode(), nil)
	if err != nil {
		return nil, errors.New("the URL can't be parsed")
	}
	var data []byte
	err = whileBusy(ctx, func() error {
		body, err := w.exchange(req)
		if err == nil {
			data, err = openEnvelope(infoAPI, "query", body)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking DSM at %s for its APIs: %w", w.url, err)
	}
	return parseInfo(data)
}

// parseInfo reads the list of APIs: {"SYNO.API.Auth": {"path": …}, …}. One that
// makes no sense stands in nobody's way but its callers'.
func parseInfo(data []byte) (map[string]*apiInfo, error) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil || raw[authAPI] == nil {
		return nil, fmt.Errorf("DSM's list of APIs (%d bytes) can't be read, or has no %s", len(data), authAPI)
	}
	apis := make(map[string]*apiInfo, len(raw))
	for name, about := range raw {
		api := new(apiInfo)
		if err := json.Unmarshal(about, api); err != nil {
			api.problem = fmt.Errorf("what DSM says of %s can't be read", name)
		} else {
			api.problem = api.choose(name)
		}
		apis[name] = api
	}
	return apis, nil
}

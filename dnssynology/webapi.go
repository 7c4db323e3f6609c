package dnssynology

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxReply bounds what is read of a reply, in bytes.
	maxReply = 4 << 20

	// dsmTimeout bounds one request, from dialling to the reply's end.
	dsmTimeout = time.Minute

	// A busy DSM is asked again so often, after 0.2 s, 0.4 s and so on: 3 s in all.
	busyRetries = 4
	busyPause   = 200 * time.Millisecond
)

// webAPI calls DSM's Web API, with one session that all callers share. It is safe
// for concurrent use.
//
// Source: "DSM Login Web API Guide" and "File Station Official API", Synology,
// for the envelope, the codes and the session.
type webAPI struct {
	dsm      DSM
	url      string // without a slash at its end
	client   *http.Client
	refusals *refusals

	ctx    context.Context // of the goroutines, until close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu        sync.Mutex // guards all following fields
	closed    bool
	session   *session
	loggingIn *flight // nil but while a login is under way
	apis      map[string]*apiInfo
	apisTime  time.Time
	asking    *flight // nil but while the list of APIs is fetched
}

// newWebAPI checks the settings, and makes a client. Nothing is asked yet.
func newWebAPI(d *DSM) (*webAPI, error) {
	base, err := d.check()
	if err != nil {
		return nil, err
	}
	transport, err := d.newTransport()
	if err != nil {
		return nil, err
	}
	w := &webAPI{
		dsm:      *d,
		url:      base.String(),
		refusals: newRefusals(base.String(), d.Memory),
		client: &http.Client{
			Transport: transport,
			Timeout:   dsmTimeout,
			// To follow one would send the session, or the password, elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w, nil
}

// call calls a method with parameters of any type that JSON has, and stores the
// reply's data in out, if that isn't nil. It logs in before the first call and
// when the session has ended, and waits a little where DSM is busy.
//
// DSM's refusals are an [APIError], and a [LoginError] where the login is what
// was refused.
func (w *webAPI) call(ctx context.Context, api, method string, params map[string]any, out any) error {
	data, err := w.do(ctx, api, method, params, openEnvelope)
	if err != nil || out == nil {
		return err
	}
	if len(data) == 0 || string(data) == "null" {
		return fmt.Errorf("%s %s: the reply has no data", api, method)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s %s: the reply's data is not as known: %w", api, method, err)
	}
	return nil
}

// download calls a method that answers with a file, and returns that: 4 MiB at
// most.
func (w *webAPI) download(ctx context.Context, api, method string, params map[string]any) ([]byte, error) {
	return w.do(ctx, api, method, params, openFile)
}

// do calls a method and opens the reply.
func (w *webAPI) do(ctx context.Context, api, method string, params map[string]any, open opener) ([]byte, error) {
	// First of all: where a login was refused, DSM is asked nothing at all.
	s, err := w.sessionAfter(ctx, nil)
	if err != nil {
		return nil, err
	}
	info, err := w.lookUp(ctx, api)
	if err != nil {
		return nil, err
	}
	var data []byte
	try := func() error {
		body, _, err := w.post(ctx, info, method, params, s)
		if err == nil {
			data, err = open(api, method, body)
		}
		// A server that sees the connection end may yet send half a reply.
		if cause := context.Cause(ctx); cause != nil && err != nil && !errors.As(err, new(*APIError)) {
			return fmt.Errorf("%s %s at %s: %w", api, method, w.url, cause)
		}
		return err
	}
	err = whileBusy(ctx, try)
	var refused *APIError
	if errors.As(err, &refused) && refused.expired() {
		if s, err = w.sessionAfter(ctx, s); err != nil {
			return nil, err
		}
		err = whileBusy(ctx, try)
	}
	if w.outdated(info, err) {
		if info, err = w.lookUp(ctx, api); err != nil {
			return nil, err
		}
		err = whileBusy(ctx, try)
	}
	return data, err
}

// whileBusy repeats f while DSM says that it is busy.
func whileBusy(ctx context.Context, f func() error) error {
	for i := 0; ; i++ {
		err := f()
		var refused *APIError
		if i == busyRetries || !errors.As(err, &refused) || !refused.busy() {
			return err
		}
		pause := busyPause << i
		timer := time.NewTimer(pause/2 + rand.N(pause)) //nolint:gosec // jitter needs no secrecy
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// closeGrace is how long close waits, beyond its context, for what was cancelled.
const closeGrace = time.Second

// close logs out, and ends what is under way. Further calls of it do nothing.
func (w *webAPI) close(ctx context.Context) error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	login := w.loggingIn
	w.mu.Unlock()
	if login != nil { // its answer is worth a wait: it may be a refusal
		select {
		case <-login.done:
		case <-ctx.Done():
		}
	}
	w.mu.Lock()
	s := w.session
	w.session = nil
	w.mu.Unlock()
	var err error
	if s != nil {
		if err = w.logout(ctx, s); err != nil {
			err = fmt.Errorf("logging out of %s: %w", w.url, err)
		}
	}
	w.cancel()
	ended := make(chan struct{})
	go func() { w.wg.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		select {
		case <-ended:
		case <-time.After(closeGrace): // a disk that hangs, say, can't be cancelled
			err = errors.Join(err, context.Cause(ctx))
		}
	}
	w.client.CloseIdleConnections()
	return err
}

// post makes a request, and tells whether DSM may have seen it.
func (w *webAPI) post(ctx context.Context, api *apiInfo, method string, params map[string]any, s *session) ([]byte, bool, error) {
	form := url.Values{}
	for name, value := range params {
		encoded, err := api.encode(value)
		if err != nil {
			return nil, false, fmt.Errorf("%s %s: parameter %s: %w", api.name, method, name, err)
		}
		form.Set(name, encoded)
	}
	form.Set("api", api.name)
	form.Set("version", strconv.Itoa(api.version))
	form.Set("method", method)
	target := w.url + "/webapi/" + api.Path
	if s != nil {
		target += "?" + url.Values{"_sid": {s.sid}}.Encode()
	}
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, false, errors.New("the address of the API can't be parsed")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if s != nil && s.token != "" {
		req.Header.Set("X-SYNO-TOKEN", s.token)
	}
	body, err := w.exchange(req)
	if err != nil {
		err = fmt.Errorf("%s %s at %s: %w", api.name, method, w.url, err)
	}
	return body, sent.Load(), err
}

// exchange sends a request and reads the reply. The error doesn't have the URL.
func (w *webAPI) exchange(req *http.Request) ([]byte, error) {
	req.Header.Set("User-Agent", "caddy-nas-registry")
	resp, err := w.client.Do(req)
	if err != nil {
		if cause := context.Cause(req.Context()); cause != nil {
			return nil, cause
		}
		return nil, trustHint(plainURLError(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the reply: %w", plainURLError(err))
	case len(body) > maxReply:
		return nil, fmt.Errorf("the reply has more than %d MiB", maxReply>>20)
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return nil, fmt.Errorf("HTTP status %d: redirects are not followed; set the URL that they lead to", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("HTTP status %d, where DSM always answers with 200", resp.StatusCode)
	}
	return body, nil
}

package dnssynology

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// opener takes the data out of a reply.
type opener func(api, method string, body []byte) ([]byte, error)

// envelope is around each reply but a file.
type envelope struct {
	Success *bool           `json:"success"`
	Data    json.RawMessage `json:"data"`
	Error   *struct {
		Code   int             `json:"code"`
		Errors json.RawMessage `json:"errors"`
	} `json:"error"`
}

// openEnvelope returns a reply's data, or the [APIError] that it is.
func openEnvelope(api, method string, body []byte) ([]byte, error) {
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil || e.Success == nil {
		return nil, fmt.Errorf("%s %s: the reply (%d bytes, %s) is not DSM's: is it DSM that listens there?",
			api, method, len(body), strings.SplitN(http.DetectContentType(body), ";", 2)[0])
	}
	if *e.Success {
		return e.Data, nil
	}
	refused := &APIError{API: api, Method: method, Code: 100}
	if e.Error != nil && e.Error.Code != 0 {
		refused.Code = e.Error.Code
		if api != authAPI {
			refused.Detail = errorDetail(e.Error.Errors)
		}
	}
	return nil, refused
}

// openFile returns a reply that is a file.
func openFile(api, method string, body []byte) ([]byte, error) {
	trimmed := bytes.TrimSpace(body)
	switch {
	case len(trimmed) == 0:
		return nil, fmt.Errorf("%s %s: the reply is empty", api, method)
	case trimmed[0] == '{':
		if _, err := openEnvelope(api, method, body); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%s %s: the reply is JSON and no file", api, method)
	case trimmed[0] == '<':
		return nil, fmt.Errorf("%s %s: the reply is a web page and no file", api, method)
	}
	return body, nil
}

package synologytest

import (
	"maps"
	"strings"
)

// api is one of the Web API's, in the one range of versions that is known.
type api struct {
	min, max int
	plain    bool // parameters are text, not JSON
	open     bool // without a session
	methods  map[string]method
}

// method has the parameters that it knows; those whose kind is optional may be
// left out.
type method struct {
	params map[string]kind
	do     func(d *DSM, c *call) (data any, err *apiError)
}

// apiError is the error of a reply.
type apiError struct {
	Code   int `json:"code"`
	Errors any `json:"errors,omitempty"`
}

// Codes that all APIs have in common.
const (
	codeNoRequest  = 101 // no api, method or version
	codeNoAPI      = 102
	codeNoMethod   = 103
	codeNoVersion  = 104
	codeNotAllowed = 105
	codeTimeout    = 106
	codeDuplicate  = 107
	codeLost       = 114 // a parameter is missing
	codeNoSession  = 119
	codeBadParam   = 120 // Unknown: that a parameter in the wrong format has this code
)

// allAPIs are those that this DSM has. The package DNS Server is there if it has
// a zone.
func (d *DSM) allAPIs() map[string]api {
	apis := map[string]api{
		"SYNO.API.Info": {min: 1, max: 1, plain: true, open: true, methods: map[string]method{
			"query": {map[string]kind{"query": isText}, (*DSM).info},
		}},
		"SYNO.API.Auth": {min: 1, max: 7, plain: true, open: true, methods: map[string]method{
			"login": {map[string]kind{
				"account": isText, "passwd": isText, "format": isText,
				"session": isText | optional, "enable_syno_token": isText | optional,
				"otp_code": isText | optional, "enable_device_token": isText | optional,
				"device_name": isText | optional, "device_id": isText | optional,
			}, (*DSM).login},
			"logout": {map[string]kind{"session": isText | optional}, (*DSM).logout},
		}},
	}
	if len(d.zones) > 0 {
		maps.Copy(apis, dnsServerAPIs)
	}
	maps.Copy(apis, ddnsAPIs)
	maps.Copy(apis, certificateAPIs)
	return apis
}

// info tells where the APIs are. Those it does not have it leaves out.
func (d *DSM) info(c *call) (any, *apiError) {
	all := map[string]any{}
	for name, api := range d.apis {
		about := map[string]any{"path": d.path, "minVersion": api.min, "maxVersion": api.max}
		if !api.plain {
			about["requestFormat"] = "JSON"
		}
		if name == "SYNO.API.Info" {
			about["path"] = "entry.cgi"
		}
		all[name] = about
	}
	query := c.text("query")
	if query == "all" {
		return all, nil
	}
	some := map[string]any{}
	for name := range strings.SplitSeq(query, ",") {
		if about, ok := all[name]; ok {
			some[name] = about
		}
	}
	return some, nil
}

package synologytest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestInfo(t *testing.T) {
	infoQuery := func(names string) url.Values {
		return pairs("api", "SYNO.API.Info", "version", "1", "method", "query", "query", names)
	}
	c := newClient(t, NewDSM(t))
	data, _ := c.reply(t, infoQuery("SYNO.API.Auth,SYNO.Core.DDNS.ExtIP,SYNO.DNSServer.Zone"), nil)
	const want = `{"SYNO.API.Auth":{"maxVersion":7,"minVersion":1,"path":"entry.cgi"},` +
		`"SYNO.Core.DDNS.ExtIP":{"maxVersion":2,"minVersion":2,"path":"entry.cgi","requestFormat":"JSON"}}`
	if data != want {
		t.Errorf("got %s, want %s", data, want)
	}

	c = newClient(t, NewDSM(t, WithZone("example.com")))
	data, _ = c.reply(t, infoQuery("all"), nil)
	var all map[string]struct{ RequestFormat string }
	if err := json.Unmarshal([]byte(data), &all); err != nil || all["SYNO.DNSServer.Zone.Record"].RequestFormat != "JSON" || len(all) != 9 {
		t.Errorf("all: %v, %s", err, data)
	}
}

func TestPath(t *testing.T) {
	r := &recorder{TB: t}
	c := newClient(t, NewDSM(r, WithPath("other.cgi")))
	response, _, err := c.send(t.Context(), loginQuery(), c.loginBody())
	if err != nil || response.StatusCode != http.StatusNotFound || len(r.take()) != 1 {
		t.Errorf("%v, %v", response, err)
	}
	data, code := c.reply(t, pairs("api", "SYNO.API.Info", "version", "1", "method", "query", "query", "SYNO.API.Auth"), nil)
	if data != `{"SYNO.API.Auth":{"maxVersion":7,"minVersion":1,"path":"other.cgi"}}` || code != 0 {
		t.Errorf("got %s, code %d", data, code)
	}
}

func TestUnknownCalls(t *testing.T) {
	c, r := loggedIn(t)
	c.want(t, "", codeNoAPI, "SYNO.DNSServer.Zone 1 list") // the package is not installed
	c.want(t, "", codeNoAPI, "SYNO.Core.Certificate.LetsEncrypt 1 create")
	c.want(t, "", codeNoMethod, "SYNO.Core.DDNS.Record 1 create")
	c.want(t, "", codeNoVersion, "SYNO.Core.DDNS.Record 2 list")
	c.want(t, "", codeNoVersion, "SYNO.Core.DDNS.ExtIP 1 list")
	equal(t, "errors", r.take())
}

// TestParamsStrict sends parameters that are not JSON, or not the method's.
func TestParamsStrict(t *testing.T) {
	c, r := loggedIn(t, WithDDNS("example.synology.me"), WithZone("example.com"))
	const zone, domain, q = "zone_name", "domain_name", `"example.com"`
	for _, test := range []struct {
		name, call string
		params     []string
		want       int
	}{
		{"no quotes", "SYNO.DNSServer.Zone.Record 1 list", []string{zone, "example.com", domain, q}, codeBadParam},
		{"two values", "SYNO.DNSServer.Zone.Record 1 list", []string{zone, q + q, domain, q}, codeBadParam},
		{"no domain_name", "SYNO.DNSServer.Zone.Record 1 list", []string{zone, q}, codeLost},
		{"unknown", "SYNO.DNSServer.Zone 1 list", []string{"offset", "0"}, codeBadParam},
		{"a string for an array", "SYNO.Core.DDNS.Record 1 delete", []string{"id", `"Synology"`}, codeBadParam},
		{"an array of numbers", "SYNO.Core.DDNS.Record 1 delete", []string{"id", `[1]`}, codeBadParam},
		{"an array of strings", "SYNO.DNSServer.Zone.Record 1 delete", []string{zone, q, domain, q, "items", `["x"]`}, codeBadParam},
		{"a number for a string", "SYNO.DNSServer.Zone.Record 1 create", []string{
			zone, q, domain, q, "rr_owner", `"x.example.com."`, "rr_type", `"A"`, "rr_ttl", "60", "rr_info", `"192.0.2.1"`}, codeBadParam},
		{"a string for a boolean", "SYNO.Core.DDNS.Record 1 set", []string{
			"id", `"Synology"`, "enable", `"true"`, "provider", `"Synology"`, "hostname", `"example.synology.me"`,
			"username", `"owner@example.com"`, "net", `"DEFAULT"`, "ip", `"0.0.0.0"`, "ipv6", `"0:0:0:0:0:0:0:0"`,
			"heartbeat", "true", "passwd", `"Synology"`}, codeBadParam},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, code := c.call(t, test.call, test.params...); code != test.want {
				t.Errorf("code %d, want %d", code, test.want)
			}
			if list := r.take(); len(list) != 1 {
				t.Errorf("got errors %q, want one", list)
			}
		})
	}
}

// TestRequestStrict makes HTTP requests that no client should.
func TestRequestStrict(t *testing.T) {
	c, r := loggedIn(t, WithZone("example.com"))
	repeated := c.query(listZones)
	repeated.Add("method", "list")
	password := c.query(listZones)
	password.Set("note", c.Password)
	for _, test := range []struct {
		name, method, contentType, body string
		query                           url.Values
		want                            int
	}{
		{"content type", "POST", "application/json", "{}", c.query(listZones), codeNoRequest},
		{"method", "PUT", formType, "", c.query(listZones), codeNoRequest},
		{"repeated", "POST", formType, "", repeated, codeNoRequest},
		{"password", "POST", formType, "", password, codeBadParam},
	} {
		request, err := http.NewRequest(test.method, c.URL+"/webapi/entry.cgi?"+test.query.Encode(), strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", test.contentType)
		response, err := c.http.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var reply struct{ Error struct{ Code int } }
		err = json.NewDecoder(response.Body).Decode(&reply)
		_ = response.Body.Close()
		if err != nil || reply.Error.Code != test.want || len(r.take()) != 1 {
			t.Errorf("%s: code %d, error %v", test.name, reply.Error.Code, err)
		}
	}
}

package dnssynology

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/dnssynology/synologytest"
)

func TestDSMSettings(t *testing.T) {
	good := DSM{URL: "HTTPS://NAS.lan:443/", Account: "caddy", Password: "secret"}
	u, err := good.check()
	if err != nil || u.String() != "https://nas.lan" {
		t.Fatalf("%v, %v", u, err)
	}
	for _, test := range []struct {
		name   string
		change func(*DSM)
		want   string
	}{
		{"no URL", func(d *DSM) { d.URL = "" }, "URL is missing"},
		{"no account", func(d *DSM) { d.Account = "" }, "account is missing"},
		{"no password", func(d *DSM) { d.Password = "" }, "password is missing"},
		{"two passwords", func(d *DSM) { d.PasswordFile = "x" }, "exclude each other"},
		{"plain http", func(d *DSM) { d.URL = "http://nas.lan:5000" }, "readable for everyone"},
		{"other scheme", func(d *DSM) { d.URL = "ftp://nas.lan" }, "not https"},
		{"no scheme", func(d *DSM) { d.URL = "nas.lan" }, "no host"},
		{"user in the URL", func(d *DSM) { d.URL = "https://a:canary@nas.lan" }, "more than"},
		{"query in the URL", func(d *DSM) { d.URL = "https://nas.lan?passwd=canary" }, "more than"},
		{"garbage", func(d *DSM) { d.URL = "https://canary:x y@nas.lan" }, "can't be parsed"},
		{"CA file and fingerprint", func(d *DSM) { d.CAFile, d.Fingerprint = "x", strings.Repeat("0", 64) }, "exclude each other"},
		{"no CA file", func(d *DSM) { d.CAFile = "missing.pem" }, "ca_file"},
		{"fingerprint of SHA-1", func(d *DSM) { d.Fingerprint = strings.Repeat("00:", 19) + "00" }, "64 hexadecimal"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := good
			test.change(&d)
			_, err := newDSMBackend(&d)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%v", err)
			}
		})
	}
	for _, url := range []string{"http://127.0.0.1:5000", "http://[::1]:5000", "http://localhost"} {
		d := good
		d.URL = url
		if _, err := newDSMBackend(&d); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestPathFromInfo(t *testing.T) {
	fake := synologytest.NewDSM(t, synologytest.WithPath("other/entry.cgi"))
	w := apiTo(t, dsmAt(fake))
	for range 3 {
		if err := ask(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
	infos := 0
	for _, r := range fake.Requests() {
		if r.API == infoAPI {
			infos++
		}
	}
	if infos != 1 {
		t.Errorf("the APIs were asked for %d times", infos)
	}
}

func TestMissingAPI(t *testing.T) {
	w := apiTo(t, dsmAt(synologytest.NewDSM(t)))
	err := w.call(t.Context(), zoneAPI, "list", nil, nil)
	if err == nil || !strings.Contains(err.Error(), "install the package DNS Server") {
		t.Errorf("%v", err)
	}
}

// Guards against a client that must be restarted after an update of DSM: what it says
// of its APIs is asked for again once it no longer holds, and not each time.
func TestOutdatedAPIs(t *testing.T) {
	for _, code := range []int{102, 104} {
		for _, old := range []bool{false, true} {
			fake := synologytest.NewDSM(t)
			w := apiTo(t, dsmAt(fake))
			if err := ask(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			if old {
				w.apisTime = w.apisTime.Add(-infoAge)
			}
			fake.Busy(code, 1)
			if err := ask(t.Context(), w); (err == nil) != old {
				t.Errorf("code %d, old %t: %v", code, old, err)
			}
			// The same of a login.
			fake = synologytest.NewDSM(t)
			w = apiTo(t, dsmAt(fake))
			if _, err := w.lookUp(t.Context(), authAPI); err != nil {
				t.Fatal(err)
			}
			if old {
				w.apisTime = w.apisTime.Add(-infoAge)
			}
			fake.FailLogin(code, 1)
			if err := ask(t.Context(), w); (err == nil) != old {
				t.Errorf("login with code %d, old %t: %v", code, old, err)
			}
		}
	}
	w := apiTo(t, dsmAt(synologytest.NewDSM(t)))
	if _, err := w.lookUp(t.Context(), authAPI); err != nil {
		t.Fatal(err)
	}
	w.apis[ddnsAPI] = &apiInfo{problem: errors.New("of another version")}
	if err := ask(t.Context(), w); err == nil {
		t.Error("an API that can't be spoken was called")
	}
	w.apisTime = w.apisTime.Add(-infoAge)
	if err := ask(t.Context(), w); err != nil {
		t.Error(err)
	}
}

func TestBadReplies(t *testing.T) {
	for _, test := range []struct {
		name, body string
		status     int
	}{
		{"a captive portal", "<!DOCTYPE html><html><body>Log in</body></html>", http.StatusOK},
		{"a redirect", "", http.StatusFound},
		{"bad gateway", "<html>", http.StatusBadGateway},
		{"nothing", "", http.StatusOK},
		{"truncated", `{"success":true,"data":{"rec`, http.StatusOK},
		{"no envelope", `{"records":[]}`, http.StatusOK},
		{"wrong types", `{"success":"yes","data":7}`, http.StatusOK},
		{"wrong data", `{"success":true,"data":"x"}`, http.StatusOK},
		{"no data", `{"success":true}`, http.StatusOK},
		{"huge", `{"success":true,"data":{"records":["` + strings.Repeat("x", maxReply) + `"]}}`, http.StatusOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			fake := synologytest.NewDSM(t, synologytest.WithDDNS("example.synology.me"))
			b := &dsmBackend{apiTo(t, dsmAt(fake))}
			// Of each call in turn, so that all parsers meet it.
			for _, call := range []string{"SYNO.API.Info query", "SYNO.API.Auth login", ddnsAPI + " list"} {
				fake.BreakCall(call, test.body, test.status, 1)
				_, err := b.get(t.Context(), "example.synology.me.")
				if err == nil {
					t.Errorf("%s: no error", call)
				}
				noSecrets(t, fake, err)
			}
			if records, err := b.get(t.Context(), "example.synology.me."); err != nil || len(records) != 2 {
				t.Errorf("afterwards: %v, %v", records, err)
			}
		})
	}
}

func TestCancelWhileHanging(t *testing.T) {
	fake := synologytest.NewDSM(t)
	w := apiTo(t, dsmAt(fake))
	check := func(when string) {
		t.Helper()
		fake.Hang(true)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		begun := time.Now()
		err := ask(ctx, w)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 5*time.Second {
			t.Errorf("%s: %v", when, err)
		}
		noSecrets(t, fake, err)
		fake.Hang(false)
	}
	check("before the first login")
	if err := ask(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	check("with a session")
}

// A redirect isn't followed: what it would lead to gets neither password nor sid.
func TestRedirectRefused(t *testing.T) {
	var leaked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Store(true) }))
	defer other.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/?canary", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	w := apiTo(t, &DSM{URL: server.URL, Account: "caddy", Password: "secret"})
	if err := ask(t.Context(), w); err == nil || !strings.Contains(err.Error(), "redirects are not followed") || strings.Contains(err.Error(), "canary") {
		t.Errorf("%v", err)
	}
	if leaked.Load() {
		t.Error("the redirect was followed")
	}
}

func TestOpenFile(t *testing.T) {
	for body, want := range map[string]string{
		"PK\x03\x04":                             "",
		"":                                       "empty",
		"<html>":                                 "web page",
		`{"x":1}`:                                "not DSM's",
		"\t" + `{"success":true}`:                "JSON",
		`{"success":false,"error":{"code":105}}`: "code 105",
	} {
		got, err := openFile("A", "export", []byte(body))
		if want == "" && (err != nil || string(got) != body) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %q, %v", body, got, err)
		}
	}
}

func TestAPIErrors(t *testing.T) {
	for _, code := range allLoginCodes {
		if e := (&APIError{API: authAPI, Method: "login", Code: code}); strings.Contains(e.Error(), "not published") {
			t.Error(e)
		}
		if e := (&APIError{API: zoneAPI, Method: "list", Code: code}); !strings.Contains(e.Error(), "not published") {
			t.Error(e)
		}
	}
	_, err := openEnvelope(recordAPI, "create", []byte(`{"success":false,"error":{"code":120,"errors":{"name":"rr_info","reason":"type"}}}`))
	if err == nil || !strings.Contains(err.Error(), "(rr_info: type)") {
		t.Error(err)
	}
	_, err = openEnvelope(recordAPI, "create", []byte(`{"success":false,"error":{"code":120,"errors":{"name":"CANARY","token":"CANARY"}}}`))
	if err == nil || strings.Contains(err.Error(), "CANARY") {
		t.Error(err)
	}
}

// None of what DSM can answer makes a parser panic, or an error show it.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{
		`{"success":true,"data":{"SYNO.API.Auth":{"path":"entry.cgi","minVersion":1,"maxVersion":7}}}`,
		`{"success":true,"data":{"items":[{"rr_owner":"a.example.com.","rr_type":"TXT","rr_ttl":"60","rr_info":"\"x\" \"\\032\"","full_record":"x"}],"total":1}}`,
		`{"success":true,"data":{"items":[{"rr_owner":"a","rr_type":"CAA","rr_ttl":60,"rr_info":"0 issue \"x\""},{"rr_owner":"@","rr_type":"SRV","rr_info":"1 2 3 x"}]}}`,
		`{"success":true,"data":{"records":[{"id":"Synology","hostname":"a.example.com","ip":"1.2.3.4","ipv6":"0:0:0:0:0:0:0:0"}]}}`,
		`{"success":false,"error":{"code":403,"errors":{"token":"x","types":[{"type":"otp"}]}}}`,
		`<html>`, `null`, `[]`, `{"success":true,"data":null}`, `{"success":true,"data":{"records":[null]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(_ *testing.T, body []byte) {
		openFile("A", "b", body)
		data, err := openEnvelope("A", "b", body)
		if err != nil {
			return
		}
		parseInfo(data)
		const zone = "example.com."
		var items listing[json.RawMessage]
		if json.Unmarshal(data, &items) == nil {
			list, _ := items.all()
			for _, item := range list {
				if r, err := parseListed(item, zone); err == nil {
					r.libdns(zone).RR()
				}
			}
		}
		if entries, err := parseDDNS(data, zone); err == nil {
			for _, e := range entries {
				e.address("A")
				e.address("AAAA")
			}
		}
	})
}

package dnssynology

import (
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestServiceError(t *testing.T) {
	for _, test := range []struct {
		code, want string
		wait       time.Duration
	}{
		{"badauth", "credentials.sh", time.Hour},
		{"apikey_not_found", "api_key", time.Hour},
		{"host_not_found", "DDNS on the NAS", time.Hour},
		{"host_expired", "heartbeat", time.Hour},
		{"host_inused_by_yourhost", "hostname/update", time.Hour},
		{"account_disabled", "account.synology.com", time.Hour},
		{"need_verified", "verified", time.Hour},
		{"badconn", "later", 0},
		{"badsys", "later", 5 * time.Minute},
		{"new_one", "unofficial", 5 * time.Minute},
	} {
		t.Run(test.code, func(t *testing.T) {
			err := &ServiceError{Command: "hostname/create", Hostname: "example.synology.me", Code: test.code}
			for _, part := range []string{test.want, test.code, "hostname/create", "example.synology.me"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v; want %q", err, part)
				}
			}
			if err.RetryAfter() != test.wait {
				t.Errorf("wait %s; want %s", err.RetryAfter(), test.wait)
			}
		})
	}
}

func TestExcerpt(t *testing.T) {
	const secret = `canary/K+y="12"`
	escaped := fmt.Sprintf("%q", secret)
	for _, test := range []struct{ name, text, want string }{
		{"plain", " hello\r\n\tworld ", "hello world"},
		{"control characters", "a\x1b[31mb\x00", "a?[31mb?"},
		{"not UTF-8", "a\xffb", "a?b"},
		{"long", strings.Repeat("x", 1000), strings.Repeat("x", excerptLength-1) + "…"},
		{"as it is", "<p>" + secret, "(withheld"},
		{"at the end of a long one", strings.Repeat("x", 1000) + secret, "(withheld"},
		{"upper case", strings.ToUpper(secret), "(withheld"},
		{"in a query", "next=" + url.QueryEscape("auth_key="+url.QueryEscape(secret)), "(withheld"},
		{"in a path", url.PathEscape(secret), "(withheld"},
		{"in HTML", "&lt;a href=" + html.EscapeString("?"+url.PathEscape(secret)), "(withheld"},
		{"in JSON", escaped + `\u003c`, "(withheld"},
		{"in JSON with escaped slashes", strings.ReplaceAll(escaped, "/", `\/`), "(withheld"},
		{"in JSON by numbers", strings.ReplaceAll(escaped, "+", `\u002B`), "(withheld"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := excerpt([]byte(test.text), []string{"", secret}); !strings.HasPrefix(got, test.want) || len(got) > excerptLength+3 || !utf8.ValidString(got) {
				t.Errorf("%q; want %q", got, test.want)
			}
		})
	}
}

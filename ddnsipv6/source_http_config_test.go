package ddnsipv6

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
)

func TestHTTPSourceCaddyfile(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     string // JSON
		err      string // a part of it
	}{
		{name: "nothing", in: "http", want: `{}`},
		{name: "empty block", in: "http {\n}", want: `{}`},
		{name: "URLs", in: "http https://a https://b", want: `{"urls":["https://a","https://b"]}`},
		{
			name: "everything",
			in: `http https://a {
				url https://b https://c
				interval 1h
				url {env.D}
				timeout 3s
				accept first
				prefix_length 56
			}`,
			want: `{"urls":["https://a","https://b","https://c","{env.D}"],"interval":3600000000000,"timeout":3000000000,"accept":"first","prefix_length":56}`,
		},
		{name: "days", in: "http {\ninterval 1d\n}", want: `{"interval":86400000000000}`},

		{name: "unknown option", in: "http {\nurls https://a\n}", err: `source http has no option "urls"`},
		{name: "block in an option", in: "http {\nurl https://a {\nb\n}\n}", err: `source http has no option "{"`},
		{name: "url without a value", in: "http {\nurl\n}", err: "url takes at least one value"},
		{name: "interval twice", in: "http {\ninterval 1m\ninterval 1m\n}", err: "interval is given more than once"},
		{name: "timeout twice", in: "http {\ntimeout 1m\ntimeout 2m\n}", err: "timeout is given more than once"},
		{name: "accept twice", in: "http {\naccept first\naccept first\n}", err: "accept is given more than once"},
		{name: "prefix_length twice", in: "http {\nprefix_length 64\nprefix_length 64\n}", err: "prefix_length is given more than once"},
		{name: "interval without a value", in: "http {\ninterval\n}", err: "interval takes one value"},
		{name: "interval with two", in: "http {\ninterval 1m 2m\n}", err: "interval takes one value"},
		{name: "interval in words", in: "http {\ninterval often\n}", err: `interval: "often" is not a duration`},
		{name: "interval of nothing", in: "http {\ninterval 0s\n}", err: `interval: "0s" is not a duration`},
		{name: "timeout negative", in: "http {\ntimeout -1s\n}", err: `timeout: "-1s" is not a duration`},
		{name: "accept without a value", in: "http {\naccept\n}", err: "accept takes one value"},
		{name: "accept empty", in: "http {\naccept \"\"\n}", err: "accept takes one value"},
		{name: "prefix_length in words", in: "http {\nprefix_length /64\n}", err: `prefix_length: "/64" is not a number`},
		{name: "prefix_length zero", in: "http {\nprefix_length 0\n}", err: `prefix_length: "0" is not a number`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := new(HTTPSource)
			err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tc.in))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("got the error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestHTTPSourceLoad(t *testing.T) {
	t.Setenv("DDNS_TEST_URL", "https://user:hunter2@a.example/?token=hunter3")
	t.Setenv("DDNS_TEST_ACCEPT", "first")
	for _, tc := range []struct {
		name, config string
		want         HTTPSource // its exported fields
		err          string     // a part of it
	}{
		{
			name: "defaults", config: `{}`,
			want: HTTPSource{
				URLs:     []string{"https://api6.ipify.org", "https://ipv6.icanhazip.com", "https://v6.ident.me"},
				Interval: caddy.Duration(5 * time.Minute), Timeout: caddy.Duration(10 * time.Second),
				Accept: "majority", PrefixLength: 64,
			},
		},
		{
			name:   "everything",
			config: `{"urls": ["{env.DDNS_TEST_URL}", "http://[2600::1]:8080/ip"], "interval": "1s", "timeout": "1s", "accept": "{env.DDNS_TEST_ACCEPT}", "prefix_length": 56}`,
			want: HTTPSource{
				URLs:     []string{"{env.DDNS_TEST_URL}", "http://[2600::1]:8080/ip"},
				Interval: caddy.Duration(time.Second), Timeout: caddy.Duration(time.Second),
				Accept: "first", PrefixLength: 56,
			},
		},
		{name: "different queries", config: `{"urls": ["https://a?1", "https://a?2"]}`, want: HTTPSource{
			URLs:     []string{"https://a?1", "https://a?2"},
			Interval: caddy.Duration(5 * time.Minute), Timeout: caddy.Duration(10 * time.Second),
			Accept: "majority", PrefixLength: 64,
		}},

		{name: "unknown field", config: `{"url": "https://a"}`, err: `unknown field "url"`},
		{name: "unknown placeholder", config: `{"urls": ["{env.DDNS_TEST_MISSING}"]}`, err: "env.DDNS_TEST_MISSING"},
		{name: "unknown placeholder in accept", config: `{"accept": "{env.DDNS_TEST_MISSING}"}`, err: "env.DDNS_TEST_MISSING"},
		{name: "no scheme", config: `{"urls": ["a.example"]}`, err: "url 1 of 1 is not one of http or https"},
		{name: "another scheme", config: `{"urls": ["https://a", "ftp://b"]}`, err: "url 2 of 2 is not one of http or https"},
		{name: "no host", config: `{"urls": ["https:///a"]}`, err: "url 1 of 1 is not one of http or https"},
		{name: "not a URL", config: `{"urls": ["https://user:hunter2@[::1"]}`, err: "url 1 of 1 is not one of http or https"},
		{name: "duplicate", config: `{"urls": ["https://a", "https://b", "https://a"]}`, err: "url https://a is given more than once"},
		{name: "duplicate in other words", config: `{"urls": ["https://a.example", "HTTPS://A.example/#b"]}`, err: "url https://A.example is given more than once"},
		{
			name: "duplicate with secrets", config: `{"urls": ["{env.DDNS_TEST_URL}", "{env.DDNS_TEST_URL}"]}`,
			err: "url https://a.example is given more than once",
		},
		{name: "short interval", config: `{"interval": "999ms"}`, err: "interval 999ms is less than 1s"},
		{name: "negative timeout", config: `{"timeout": -1}`, err: "timeout -1ns is negative"},
		{name: "unknown accept", config: `{"accept": "last"}`, err: `accept "last" is neither majority nor first`},
		{name: "long prefix", config: `{"prefix_length": 128}`, err: "prefix_length 128 is not within 1 and 127"},
		{name: "negative prefix", config: `{"prefix_length": -1}`, err: "prefix_length -1 is not within 1 and 127"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
			defer cancel()
			loaded, err := ctx.LoadModuleByID("ddns_ipv6.sources.http", json.RawMessage(tc.config))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), "hunter") {
					t.Errorf("got the error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := *loaded.(*HTTPSource)
			got.services, got.client = nil, nil
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(HTTPSource{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

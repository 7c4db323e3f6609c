package ddnsipv6

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestLook: the provider of the policy does not exist, since it is not needed.
func TestLook(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	status, err := Look(ctx, json.RawMessage(`{
		"domains": [{"name": "nas.example.com"}, {"name": "printer.example.com", "suffix": "::1:2"}, {"name": "bad.example.com", "suffix": "1::1"}],
		"provider": {"name": "none"},
		"sources": [{"source": "static", "addresses": ["fd00::1", "2600:1::1"]}]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	if status.Selected != "2600:1::1" || len(status.Addresses) != 2 || status.Addresses[0].Rejected != NotGlobal.String() {
		t.Errorf("got %+v", status)
	}
	for i, want := range []string{"2600:1::1", "2600:1::1:2", ""} {
		if n := status.Names[i]; n.Wanted != want || (want == "") != (n.Problem != "") {
			t.Errorf("got %+v, want %q", n, want)
		}
	}
}

func TestLookErrors(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	for config, want := range map[string]string{
		`[]`:                                     "reading the policy",
		`{"domains":[{"name":"nas"}]}`:           "no full name",
		`{"include":["nonsense"]}`:               "include",
		`{"sources":[{"source":"nonsense"}]}`:    "loading the sources",
		`{"domains":[{"name":"{env.MISSING}"}]}`: "MISSING",
	} {
		if _, err := Look(ctx, json.RawMessage(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}

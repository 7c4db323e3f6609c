package docker

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func TestUnmarshalCaddyfile(t *testing.T) {
	for _, test := range []struct {
		name, in string
		want     string // JSON
		err      string // a part of it
	}{
		{name: "nothing", in: `docker`, want: `{}`},
		{name: "empty block", in: "docker {\n}", want: `{}`},
		{
			name: "everything",
			in: `registry_container {
				label   a=b
				name    hub
				network web
				port    5001
				host    tcp://proxy:2375
			}`,
			want: `{"label":"a=b","name":"hub","network":"web","port":"5001","host":"tcp://proxy:2375"}`,
		},
		{name: "another order", in: "docker {\nhost unix:///a\nlabel a\n}", want: `{"label":"a","host":"unix:///a"}`},
		{name: "placeholders stay", in: "docker {\nname {env.NAME}\nport {env.PORT}\n}", want: `{"name":"{env.NAME}","port":"{env.PORT}"}`},
		{name: "quoted", in: "docker {\nlabel \"a=b c\"\n}", want: `{"label":"a=b c"}`},

		{name: "argument", in: `docker hub`, err: `docker takes a block of options, not the argument "hub"`},
		{name: "argument and block", in: "docker hub {\nlabel a\n}", err: `not the argument "hub"`},
		{name: "unknown option", in: "docker {\nsocket /a\n}", err: `docker has no option "socket"`},
		{name: "case counts", in: "docker {\nLabel a\n}", err: `docker has no option "Label"`},
		{name: "label without a value", in: "docker {\nlabel\n}", err: "label takes one value, not 0"},
		{name: "label with two values", in: "docker {\nlabel a b\n}", err: "label takes one value, not 2"},
		{name: "label twice", in: "docker {\nlabel a\nlabel b\n}", err: "label is given more than once"},
		{name: "name without a value", in: "docker {\nname\n}", err: "name takes one value, not 0"},
		{name: "name with two values", in: "docker {\nname a b\n}", err: "name takes one value, not 2"},
		{name: "name twice", in: "docker {\nname a\nname a\n}", err: "name is given more than once"},
		{name: "empty name", in: "docker {\nname \"\"\n}", err: "name is empty"},
		{name: "network without a value", in: "docker {\nnetwork\n}", err: "network takes one value, not 0"},
		{name: "network twice", in: "docker {\nnetwork a\nnetwork b\n}", err: "network is given more than once"},
		{name: "port without a value", in: "docker {\nport\n}", err: "port takes one value, not 0"},
		{name: "port with two values", in: "docker {\nport 1 2\n}", err: "port takes one value, not 2"},
		{name: "port twice", in: "docker {\nport 1\nport 2\n}", err: "port is given more than once"},
		{name: "host without a value", in: "docker {\nhost\n}", err: "host takes one value, not 0"},
		{name: "host twice", in: "docker {\nhost unix:///a\nhost unix:///b\n}", err: "host is given more than once"},
		{name: "block in an option", in: "docker {\nlabel a {\nb\n}\n}", err: `docker has no option "{"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := new(Upstreams)
			err := u.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.in))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got the error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(u)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// As the block of another directive, the options end where the block does.
func TestUnmarshalCaddyfileNested(t *testing.T) {
	d := caddyfile.NewTestDispenser("registry_proxy {\ndocker {\nlabel a\n}\nrealm x\n}")
	d.Next()
	var options []string
	u := new(Upstreams)
	for d.NextBlock(0) {
		options = append(options, d.Val())
		if d.Val() == "docker" {
			if err := u.UnmarshalCaddyfile(d.NewFromNextSegment()); err != nil {
				t.Fatal(err)
			}
		} else {
			d.RemainingArgs()
		}
	}
	if got := strings.Join(options, " "); got != "docker realm" || u.Label != "a" {
		t.Errorf("got the options %q and the label %q", got, u.Label)
	}
}

// In reverse_proxy the module is found by its name.
func TestAdaptReverseProxy(t *testing.T) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	got, warnings, err := adapter.Adapt([]byte(`http://localhost {
	reverse_proxy {
		dynamic registry_container {
			label a=b
		}
	}
}
`), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Error(warnings)
	}
	if want := `"dynamic_upstreams":{"label":"a=b","source":"registry_container"}`; !strings.Contains(string(got), want) {
		t.Errorf("%s\nlacks %s", got, want)
	}
}

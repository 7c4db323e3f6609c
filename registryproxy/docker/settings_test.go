package docker

import (
	"strings"
	"testing"
)

func TestParseLabel(t *testing.T) {
	for _, test := range []struct {
		in   string
		want label
		ok   bool
	}{
		{"a", label{key: "a", anyValue: true}, true},
		{"a=b", label{key: "a", value: "b"}, true},
		{"a=", label{key: "a"}, true},
		{"a=b=c", label{key: "a", value: "b=c"}, true},
		{"com.example.some-label=a b", label{key: "com.example.some-label", value: "a b"}, true},
		{"", label{}, false},
		{"=", label{}, false},
		{"=b", label{}, false},
		{"a b", label{}, false},
		{"a\n=b", label{}, false},
		{" a=b", label{}, false},
	} {
		got, err := parseLabel(test.in)
		if got != test.want || (err == nil) != test.ok {
			t.Errorf("%q: got %+v, %v; want %+v", test.in, got, err, test.want)
		}
	}
}

func FuzzParseLabel(f *testing.F) {
	for _, seed := range []string{"", "a", "a=b", "a=", "=b", "a=b=c", "a b=c", "ä=ö", "a\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		l, err := parseLabel(in)
		if err != nil {
			if l != (label{}) {
				t.Errorf("%q: an error and %+v", in, l)
			}
			return
		}
		if l.String() != in {
			t.Errorf("%q became %q", in, l)
		}
		if !l.matches(map[string]string{l.key: l.value}) {
			t.Errorf("%q does not match itself", in)
		}
		if l.matches(nil) || !l.anyValue && l.matches(map[string]string{l.key: l.value + "x"}) {
			t.Errorf("%q matches something else", in)
		}
	})
}

func TestParseHost(t *testing.T) {
	for _, test := range []struct {
		in, want string
		err      string // a part of it
	}{
		{in: "unix:///var/run/docker.sock", want: "unix:///var/run/docker.sock"},
		{in: "unix:///a b?c#d", want: "unix:///a b?c#d"}, // a path, not a URL's
		{in: "tcp://proxy:2375", want: "tcp://proxy:2375"},
		{in: "tcp://proxy:2375/", want: "tcp://proxy:2375"},
		{in: "http://[fd00::1]:2375", want: "http://[fd00::1]:2375"},
		{in: "https://nas.lan:2376", want: "https://nas.lan:2376"},
		{in: "/var/run/docker.sock", err: "is not a URL such as unix:///var/run/docker.sock"},
		{in: "unix:/var/run/docker.sock", err: "is not a URL"},
		{in: "", err: "is not a URL"},
		{in: "unix://docker.sock", err: "needs the absolute path"},
		{in: "unix://", err: "needs the absolute path"},
		{in: "npipe:////./pipe/docker_engine", err: `the scheme "npipe" is none of`},
		{in: "ssh://nas", err: `the scheme "ssh" is none of`},
		{in: "tcp://proxy", err: "needs a host and a port"},
		{in: "tcp://:2375", err: "needs a host and a port"},
		{in: "tcp://", err: "needs a host and a port"},
		{in: "tcp://proxy:0", err: "not a number from 1 to 65535"},
		{in: "tcp://proxy:99999", err: "not a number from 1 to 65535"},
		{in: "tcp://proxy:2375/v1.41", err: "has more than a host and a port"},
		{in: "tcp://proxy:2375?a=b", err: "has more than a host and a port"},
		{in: "tcp://[fe80::1%25eth0]:2375", err: "has an escape or a zone"},
		{in: "https://bob:hunter2@proxy:2376", err: "a user or password in the URL is not supported"},
		{in: "https://bob:hunter2@proxy:23%76", err: "not a valid URL"},
	} {
		got, err := parseHost(test.in)
		switch {
		case test.err == "" && (err != nil || got.String() != test.want):
			t.Errorf("%q: got %q, %v", test.in, got, err)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
			t.Errorf("%q: got the error %v, want %q", test.in, err, test.err)
		case err != nil && strings.Contains(err.Error(), "hunter2"):
			t.Errorf("%q: the error has the password: %v", test.in, err)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	for _, seed := range []string{"unix:///a", "tcp://a:1", "https://[::1%25a]:2", "tcp://a:b@c:1", "x", "tcp://%zz:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		h, err := parseHost(in)
		if err != nil {
			return
		}
		again, err := parseHost(h.String())
		if err != nil || again != h {
			t.Errorf("%q became %q, which becomes %q, %v", in, h, again, err)
		}
	})
}

func TestOptions(t *testing.T) {
	t.Setenv("TEST_NAME", "hub")
	t.Setenv("TEST_EMPTY", "")
	for _, test := range []struct {
		name string
		in   Upstreams
		want settings
		err  string // a part of it
	}{
		{
			name: "all",
			in:   Upstreams{Label: "a=b", Name: "{env.TEST_NAME}", Network: "web", Port: "80", Host: "tcp://a:1"},
			want: settings{host: host{"tcp", "a:1"}, label: label{key: "a", value: "b"}, name: "hub", network: "web", port: 80},
		},
		{name: "name of an empty variable", in: Upstreams{Name: "{env.TEST_EMPTY}"}, err: "name: "},
		{name: "name of no variable", in: Upstreams{Name: "{env.TEST_NO_SUCH}"}, err: "name: "},
		{name: "unknown placeholder", in: Upstreams{Label: "{nothing.at.all}"}, err: "label: "},
		{name: "name with a slash", in: Upstreams{Name: "/hub"}, err: `name: "/hub" can't be the name`},
		{name: "name that is a pattern", in: Upstreams{Name: "hub*"}, err: `name: "hub*" can't be the name`},
		{name: "label without a key", in: Upstreams{Label: "=b"}, err: "label: "},
		{name: "port that is no number", in: Upstreams{Port: "http"}, err: `port: "http" is not a number from 1 to 65535`},
		{name: "port 0", in: Upstreams{Port: "0"}, err: "port: "},
		{name: "port 65536", in: Upstreams{Port: "65536"}, err: "port: "},
		{name: "negative port", in: Upstreams{Port: "-1"}, err: "port: "},
		{name: "host that is no URL", in: Upstreams{Host: "docker.sock"}, err: "host: "},
		{name: "network none", in: Upstreams{Network: "none"}, err: "network: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.in.Host == "" {
				test.in.Host = defaultHost
			}
			var got settings
			err := test.in.replacePlaceholders()
			if err == nil {
				got, err = test.in.parse()
			}
			if err == nil {
				err = got.validate()
			}
			switch {
			case test.err == "" && (err != nil || got != test.want):
				t.Errorf("got %+v, %v; want %+v", got, err, test.want)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("got the error %v, want %q", err, test.err)
			}
		})
	}
}

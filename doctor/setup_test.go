package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/caddy-dns/cloudflare"                  // the provider in any-dns.Caddyfile
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what every Caddy has
	"github.com/google/go-cmp/cmp"

	_ "github.com/caddy-nas/caddy-nas-registry/dnssynology"
	_ "github.com/caddy-nas/caddy-nas-registry/registryproxy"
)

// told is what a setup says, in a form that can be compared.
type told struct {
	Admin, Port, Users, Create string
	Names, To                  []string
	Docker, Embedded           string
	TLS                        bool
	Policies, Issuers          int
	Managers                   int
}

func tell(t *testing.T, s *setup) told {
	t.Helper()
	transport, err := readTransport(s.transport)
	if err != nil {
		t.Fatal(err)
	}
	return told{
		Admin: s.admin, Port: s.port, Users: s.htpasswd, Create: s.create, Names: s.names, To: s.to,
		Docker: string(s.docker), Embedded: s.embedded, TLS: transport.scheme == "https",
		Policies: len(s.policies), Issuers: len(s.issuers), Managers: len(s.managers),
	}
}

func TestShippedCaddyfiles(t *testing.T) {
	files, err := filepath.Glob("../caddyfiles/*.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	compose := told{
		Admin: "unix//run/caddy/admin.sock", Port: "5002", Users: "/auth/htpasswd", Create: "admin",
		Docker: `{"label":"registry-proxy.enable=true","source":"registry_container"}`,
	}
	with := func(change func(*told)) told {
		changed := compose
		change(&changed)
		return changed
	}
	want := map[string]told{
		"local":           {Port: "5002", Names: []string{"localhost"}, Users: "./data/htpasswd", Create: "admin", Embedded: "./data/registry", Issuers: 1},
		"docker":          with(func(w *told) { w.Names, w.Issuers = []string{"localhost"}, 1 }),
		"any-dns":         with(func(w *told) { w.Names, w.Policies, w.Issuers = []string{"registry.example.com"}, 1, 1 }),
		"synology":        with(func(w *told) { w.Names, w.Policies, w.Issuers = []string{"example.synology.me"}, 1, 1 }),
		"dsm-certificate": with(func(w *told) { w.Names, w.Managers = []string{"example.synology.me"}, 1 }),
	}
	if len(files) != len(want) {
		t.Errorf("there are %q", files)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".Caddyfile")
		t.Run(name, func(t *testing.T) {
			s, err := readSetup(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want[name], tell(t, s)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// site is a Caddyfile of one site.
func site(body string) string { return "https://reg.example.com:5002 {\n" + body + "\n}\n" }

const (
	byContainer = "registry_proxy {\ndocker\nhtpasswd /auth/htpasswd\n}\n"
	byAddress   = "registry_proxy {\nto 127.0.0.1:5003\nhtpasswd /auth/htpasswd\n}\n"
	inContainer = `{"source":"registry_container"}`
)

func TestSetup(t *testing.T) {
	t.Setenv("DOCTOR_TEST_FOLDER", "/srv/registry")
	// Of the site above, with the container.
	base := told{Admin: "localhost:2019", Port: "5002", Users: "/auth/htpasswd", Names: []string{"reg.example.com"}, Docker: inContainer}
	with := func(change func(*told)) told {
		changed := base
		change(&changed)
		return changed
	}
	toAddress := with(func(w *told) { w.Docker, w.To = "", []string{"127.0.0.1:5003"} })
	for _, test := range []struct {
		name, caddyfile string
		want            told
	}{
		{"the admin endpoint's default", site(byContainer), base},
		{"admin off", "{\nadmin off\n}\n" + site(byContainer), with(func(w *told) { w.Admin = "" })},
		{"admin elsewhere", "{\nadmin localhost:3000\n}\n" + site(byContainer), with(func(w *told) { w.Admin = "localhost:3000" })},
		{"the usual port", strings.Replace(site(byContainer), ":5002", "", 1), with(func(w *told) { w.Port = "443" })},
		{"an address to bind", site("bind 127.0.0.1\n" + byContainer), base},
		{"several names", strings.Replace(site(byContainer), " {", ", https://b.example.com:5002 {", 1),
			with(func(w *told) { w.Names = []string{"reg.example.com", "b.example.com"} })},

		{"a private name before a public one", strings.Replace(site(byContainer), "https://reg.", "https://nas.lan:5002, https://reg.", 1),
			with(func(w *told) { w.Names = []string{"reg.example.com", "nas.lan"} })},

		{"upstreams of each kind", site("registry_proxy {\nto 127.0.0.1:5003 registry.lan:5004 unix//run/r.sock\nhtpasswd /auth/htpasswd\n}"),
			with(func(w *told) {
				w.Docker, w.To = "", []string{"127.0.0.1:5003", "registry.lan:5004", "unix//run/r.sock"}
			})},
		{"an upstream with TLS", site("registry_proxy {\nto https://registry.lan\nhtpasswd /auth/htpasswd\n}"),
			with(func(w *told) { w.Docker, w.To, w.TLS = "", []string{"registry.lan:443"}, true })},
		{"placeholders", site("registry_proxy {\nembedded {env.DOCTOR_TEST_FOLDER}/images\nhtpasswd {env.DOCTOR_TEST_FOLDER}/users {\ncreate admin\n}\n}"),
			with(func(w *told) {
				w.Docker, w.Embedded, w.Users, w.Create = "", "/srv/registry/images", "/srv/registry/users", "admin"
			})},
		{"an unknown placeholder", site("registry_proxy {\nto {no.such}:5000\nhtpasswd /auth/htpasswd\n}"),
			with(func(w *told) { w.Docker, w.To = "", []string{"{no.such}:5000"} })},

		{"with a matcher", site("registry_proxy /v2/team/* {\ndocker\nhtpasswd /auth/htpasswd\n}"), base},
		{"in handle", site("handle /v2/* {\n" + byContainer + "}\nhandle {\nrespond hello\n}"), base},
		{"in route", site("route {\nencode\n" + byContainer + "}"), base},
		{"in handle in route in handle", site("handle {\nroute {\nhandle /v2/* {\n" + byContainer + "}\n}\n}"), base},
		{"another proxy before", site("handle /other/* {\nreverse_proxy 127.0.0.1:9000\n}\nhandle {\n" + byContainer + "}"), base},
		{"another proxy after", site("handle {\n" + byContainer + "}\nhandle /other/* {\nreverse_proxy 127.0.0.1:9000\n}"), base},
		{"another proxy beside", site("reverse_proxy /other/* 127.0.0.1:9000\n" + byAddress), toAddress},
		{"another proxy for all else", site(byAddress + "reverse_proxy 127.0.0.1:9000"), toAddress},
		{"another proxy before it in a route", site("route {\nreverse_proxy /other/* 127.0.0.1:9000\n" + byAddress + "reverse_proxy 127.0.0.1:9001\n}"), toAddress},
		{"the proxy of a gate", site("forward_auth 127.0.0.1:9000 {\nuri /check\n}\n" + byAddress), toAddress},
		{"another embedded one", site("handle {\n" + byContainer + "}\nhandle_errors {\nreverse_proxy 127.0.0.1:9000\n}"), base},
		{"two registries in a site", site("registry_proxy /v2/a/* {\ndocker\nhtpasswd /auth/htpasswd\n}\n" +
			"registry_proxy /v2/b/* {\nembedded /b\nhtpasswd /b/users\n}"), base},

		{"other sites", "https://a.example.com:5002 {\nbasic_auth {\na " + hash + "\n}\nreverse_proxy 127.0.0.1:9000\n}\n" + site(byContainer) +
			"https://zz.example.com {\nreverse_proxy 127.0.0.1:9001\n}", base},
		{"the first of two sites", strings.Replace(site(byAddress), "reg.", "two.", 1) + site(byContainer),
			with(func(w *told) { w.Docker, w.To, w.Names = "", []string{"127.0.0.1:5003"}, []string{"two.example.com"} })},
		{"two servers", strings.NewReplacer("reg.", "a.", "5002", "5001").Replace(site("respond hello")) + site(byContainer), base},
		{"a name in a wildcard's site", "https://*.example.com:5002 {\n@registry host reg.example.com\nhandle @registry {\n" + byContainer + "}\nrespond 404\n}", base},
		{"a name beside a wildcard", strings.Replace(site(byContainer), "https://reg", "https://*.example.com:5002, https://reg", 1), base},
		{"the policy of a wildcard", "https://*.example.com:5002 {\ntls internal\n@registry host reg.example.com\nhandle @registry {\n" + byContainer + "}\n}",
			with(func(w *told) { w.Issuers = 1 })},
		{"another site's policy", "https://a.example.com {\ntls internal\n}\n" + site(byContainer), base},
		{"several blocks of ddns_ipv6", "{\nddns_ipv6 {\ndomain a.example.com\nprovider cloudflare x\n}\nddns_ipv6 {\ndomain b.example.com\nprovider cloudflare x\n}\n}\n" +
			site(byContainer), with(func(w *told) { w.Policies = 2 })},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "Caddyfile")
			if err := os.WriteFile(file, []byte(test.caddyfile), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := readSetup(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, tell(t, s)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

const hash = "$2a$04$9nMaHgZlHs6XyGnHBPKGGekzgyd.lYKUMXZjSg9ntw1b1vQOyUVcG"

// served is a config in JSON with these routes.
func served(routes string) string {
	return `{"apps": {"http": {"servers": {"s": {"listen": ["tcp/[::]:5002"], "routes": [` + routes + `]}}}}}`
}

// TestLongForm: handlers one by one, as JSON permits it and no directive writes it.
func TestLongForm(t *testing.T) {
	const (
		host   = `"match": [{"host": ["reg.example.com"]}]`
		users  = `{"handler": "authentication", "providers": {"htpasswd": {"file": "/auth/htpasswd"}}}`
		others = `{"handler": "authentication", "providers": {"htpasswd": {"file": "/others"}}}`
		access = `{"handler": "registry_access"}`
		proxy  = `{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:5003"}]}`
		other  = `{"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:9000"}]}`
	)
	base := told{Admin: "localhost:2019", Port: "5002", Users: "/auth/htpasswd", Names: []string{"reg.example.com"}, To: []string{"127.0.0.1:5003"}}
	embedded := base
	embedded.To, embedded.Embedded = nil, "/images"
	noUsers := base
	noUsers.Users = ""
	nowhere := base
	nowhere.To = nil
	for _, test := range []struct {
		name, routes string
		want         told
	}{
		{"in one route", `{` + host + `, "handle": [` + users + `, ` + access + `, ` + proxy + `]}`, base},
		{"in three routes", `{` + host + `, "handle": [{"handler": "subroute", "routes": [{"handle": [` + users + `]}, {"handle": [` + access +
			`]}, {"handle": [` + proxy + `]}]}]}`, base},
		{"the proxy behind the subroute", `{` + host + `, "handle": [{"handler": "subroute", "routes": [{"handle": [` + users + `, ` + access + `]}]}, ` + proxy + `]}`, base},
		{"the proxy deeper", `{` + host + `, "handle": [` + users + `, ` + access + `, {"handler": "subroute", "routes": [{"handle": [` + proxy + `]}]}]}`, base},
		{"another path between", `{` + host + `, "handle": [{"handler": "subroute", "routes": [{"handle": [` + users + `, ` + access + `]},
			{"match": [{"path": ["/other/*"]}], "handle": [` + other + `]}, {"match": [{"path": ["/V2/*"]}], "handle": [` + proxy + `]}]}]}`, base},
		{"another host between", `{` + host + `, "handle": [` + users + `, ` + access + `]},
			{"match": [{"host": ["other.example.com"]}], "handle": [` + other + `]}, {"handle": [` + proxy + `]}`, base},
		{"another proxy before", `{` + host + `, "handle": [{"handler": "subroute", "routes": [{"match": [{"path": ["/other/*"]}], "handle": [` + others + `, ` + other + `]},
			{"handle": [` + users + `, ` + access + `, ` + proxy + `]}]}]}`, base},
		{"users of another path", `{` + host + `, "handle": [{"handler": "subroute", "routes": [{"match": [{"path": ["/other/*"]}], "handle": [` + others + `]},
			{"handle": [` + access + `, ` + proxy + `]}]}]}`, noUsers},
		{"users of another host", `{"match": [{"host": ["other.example.com"]}], "handle": [` + others + `]}, {` + host + `, "handle": [` + access + `, ` + proxy + `]}`, noUsers},
		{"embedded", `{` + host + `, "handle": [` + users + `, ` + access + `, {"handler": "registry", "root": "/images"}]}`, embedded},
		{"an embedded one without rules before", `{"handle": [{"handler": "registry", "root": "/bare"}]}, {` + host + `, "handle": [` + users + `, ` + access + `, ` + proxy + `]}`, base},
		{"upstreams of another module", `{` + host + `, "handle": [` + users + `, ` + access + `, {"handler": "reverse_proxy", "dynamic_upstreams": {"source": "srv", "name": "x"},
			"upstreams": [{"dial": "127.0.0.1:9000"}]}]}`, nowhere},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := parseSetup([]byte(served(test.routes)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, tell(t, s)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLookConfig(t *testing.T) {
	const rules = `{"handle": [{"handler": "registry_access"}], "match": [{"host": ["reg.example.com"]}]}`
	for _, test := range []struct {
		name, file, content string
		seen, advice        string
	}{
		{"none", "", "", "no such file", "Name the file"},
		{"not a Caddyfile", "Caddyfile", "a {", "adapting: ", "Correct the file"},
		{"an unknown directive", "Caddyfile", site("registry_prox"), "registry_prox", "Correct the file"},
		{"an unknown option", "Caddyfile", site("registry_proxy {\nimage x\n}"), `unknown option "image"`, "Correct the file"},
		{"not JSON", "config.json", "a {", "invalid character", "Correct the file"},
		{"a wrong type", "config.json", `{"apps": {"http": {"servers": []}}}`, "app http: array in the place of servers", "Correct the file"},
		{"wrong policies", "config.json", `{"apps": {"ddns_ipv6": {"policies": 1}, ` + served(rules)[10:], "app ddns_ipv6: number in the place of policies", "Correct the file"},
		{"a wrong tls app", "config.json", `{"apps": {"tls": 1, ` + served(rules)[10:], "app tls: it is a number", "Correct the file"},
		{"empty", "Caddyfile", "{\n}\n", "no site has a registry", "Name the config"},
		{"another site", "Caddyfile", site("reverse_proxy 127.0.0.1:5003"), "no site has a registry", "Name the config"},
		{"null", "config.json", "null", "no site has a registry", "Name the config"},
		{"no name", "Caddyfile", ":5002 {\n" + byContainer + "}", "has no host name", "Name the config"},
		{"a wildcard alone", "Caddyfile", "https://*.example.com {\n" + byContainer + "}", "*.example.com has no name but a wildcard", "Name the config"},
		{"no address", "config.json", strings.Replace(served(rules), "tcp/[::]:5002", "unix//run/site.sock", 1), "reg.example.com is not at a TCP port", "Name the config"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "none")
			if test.file != "" {
				file = filepath.Join(filepath.Dir(file), test.file)
				if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			p := &patient{options: Options{Config: file}}
			got := lookConfig(t.Context(), p)
			if got.Status != Wrong || p.setup != nil || !strings.Contains(strings.Join(got.Seen, "\n"), test.seen) || !strings.HasPrefix(got.Advice, test.advice) {
				t.Errorf("got %+v", got)
			}
			if !strings.Contains(strings.Join(got.Seen, "\n"), filepath.Base(file)) {
				t.Errorf("it does not name the file: %q", got.Seen)
			}
		})
	}
}

// FuzzSetup: whatever a config in JSON holds, there is a setup with a name and a
// port, or an error.
func FuzzSetup(f *testing.F) {
	for _, routes := range []string{
		`{"match": [{"host": ["a"]}], "handle": [{"handler": "registry_access"}, {"handler": "registry", "root": "/r"}]}`,
		`{"match": [{"host": ["a"], "path": ["[", "*", "*.x"]}, null], "handle": [{"handler": "subroute", "routes": [{"handle": [{"handler": "registry_access"}]}]}]}`,
		`null, 1, {"match": {}, "handle": {}}, {"handle": [null, [], {"handler": 1, "routes": {}}]}`,
	} {
		f.Add([]byte(served(routes)))
	}
	f.Add([]byte(`{"admin": {"listen": "{env.X"}, "apps": {"tls": {"automation": {"policies": [{"subjects": [""]}]}}, "ddns_ipv6": null}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseSetup(text)
		if err != nil {
			return
		}
		if len(s.names) == 0 || s.port == "" || strings.Contains(s.name(), "*") {
			t.Errorf("the names %q, the port %q", s.names, s.port)
		}
		_, _ = readTransport(s.transport)
	})
}

package dnssynology

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	scriptAuthKey = "canaryAuth/Key+0123456789=="
	scriptAPIKey  = "canaryAPIkey9876543210"

	myDSReply = `{
   "data" : {
      "auth_key" : "canaryAuth\/Key+0123456789==",
      "ds_major" : "7",
      "myds_id" : "7886858",
      "serial" : "2260ABC7X30E6"
   },
   "httpd_restart" : false,
   "success" : true
}`
)

// nas is a folder of stand-ins for a NAS's commands.
type nas struct {
	t    *testing.T
	bin  string
	net  string
	file string
}

func newNAS(t *testing.T) *nas {
	n := &nas{t: t, bin: t.TempDir(), net: t.TempDir(), file: filepath.Join(t.TempDir(), "with space.json")}
	n.command("id", "echo 0")
	n.webAPI(myDSReply)
	n.command("synocloudserviceauth", `[ "$*" = "-a get" ] || exit 1
echo 'canaryAPIkey9876543210 on stderr' >&2
echo '`+scriptAPIKey+`'`)
	n.put(filepath.Join(n.net, "eth0", "address"), "00:11:32:aa:bb:cc\n", 0o644)
	n.put(filepath.Join(n.net, "eth1", "address"), "00:11:32:aa:bb:cd\n", 0o644)
	n.put(filepath.Join(n.net, "lo", "address"), "00:00:00:00:00:00\n", 0o644)
	return n
}

func (n *nas) put(name, content string, mode os.FileMode) {
	n.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		n.t.Fatal(err)
	}
}

func (n *nas) command(name, script string) {
	n.t.Helper()
	n.put(filepath.Join(n.bin, name), "#!/bin/sh\n"+script+"\n", 0o755)
}

func (n *nas) remove(name string) {
	n.t.Helper()
	if err := os.Remove(filepath.Join(n.bin, name)); err != nil {
		n.t.Fatal(err)
	}
}

// webAPI makes synowebapi answer as it does on DSM: what it is about to do on
// stderr, the envelope on stdout, and success whatever comes of it.
func (n *nas) webAPI(reply string) {
	n.t.Helper()
	n.command("synowebapi", `[ "$*" = "--exec api=SYNO.Core.Package.MyDS method=get" ] || exit 1
echo '[Line 295] Exec WebAPI:  api=SYNO.Core.Package.MyDS, version=1, method=get, param={"auth_key":"wrong"}, runner=SYSTEM_ADMIN' >&2
cat <<'REPLY'
`+reply+`
REPLY`)
}

// run runs the script and returns both outputs and the exit code.
func (n *nas) run(shell []string, args ...string) (stdout, stderr string, code int) {
	n.t.Helper()
	words := append(append(append([]string{}, shell[1:]...), "credentials.sh"), args...)
	cmd := exec.Command(shell[0], words...)
	cmd.Env = []string{"PATH=" + n.bin + ":/usr/bin:/bin", "SYS_CLASS_NET=" + n.net}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		n.t.Fatal(err)
	}
	for _, secret := range []string{scriptAuthKey, "canaryAuth", scriptAPIKey, "7886858", "2260ABC7X30E6"} {
		if strings.Contains(out.String()+errs.String(), secret) {
			n.t.Errorf("it printed %s", secret)
		}
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// shells are those that are installed, of those that a NAS may have.
func shells(t *testing.T) map[string][]string {
	list := map[string][]string{}
	for _, shell := range [][]string{{"sh"}, {"dash"}, {"bash", "--posix"}, {"busybox", "sh"}} {
		if path, err := exec.LookPath(shell[0]); err == nil {
			list[strings.Join(shell, " ")] = append([]string{path}, shell[1:]...)
		}
	}
	if len(list) == 0 {
		t.Skip("no shell")
	}
	return list
}

func TestCredentialsScript(t *testing.T) {
	want := Credentials{MyDSID: "7886858", AuthKey: scriptAuthKey, APIKey: scriptAPIKey, Serial: "2260ABC7X30E6", MAC: "00:11:32:aa:bb:cc"}
	for name, shell := range shells(t) {
		for _, test := range []struct {
			name string
			make func(n *nas)
			args []string
			mac  string
		}{
			{name: "as documented"},
			{name: "on one line", make: func(n *nas) { n.webAPI(strings.ReplaceAll(myDSReply, "\n", "")) }},
			{name: "noise on stdout", make: func(n *nas) { n.webAPI("[Line 265] Not a json value: {\"auth_key\":\"no\"}\n" + myDSReply) }},
			{name: "id is a number", make: func(n *nas) { n.webAPI(strings.Replace(myDSReply, `"7886858"`, "7886858", 1)) }},
			{name: "name within a text", make: func(n *nas) {
				n.webAPI(strings.Replace(myDSReply, `"ds_major" : "7"`, `"zz" : "\"auth_key\" : \"no\"", "my_serial" : "no"`, 1))
			}},
			{name: "key with its name", make: func(n *nas) {
				n.command("synocloudserviceauth", "printf 'done\\r\\n API_KEY = "+scriptAPIKey+" \\r\\n\\n'")
			}},
			{name: "key in JSON", make: func(n *nas) {
				n.command("synocloudserviceauth", `echo '{"api_key": "`+scriptAPIKey+`", "x": 1}'`)
			}},
			{name: "MAC given", args: []string{"-m", "00:11:32:00:00:01"}, mac: "00:11:32:00:00:01"},
			{name: "Open vSwitch", make: func(n *nas) {
				if err := os.Rename(filepath.Join(n.net, "eth0"), filepath.Join(n.net, "ovs_eth0")); err != nil {
					n.t.Fatal(err)
				}
			}},
			{name: "file is there already, readable by all", make: func(n *nas) { n.put(n.file, "old", 0o644) }},
		} {
			t.Run(name+"/"+test.name, func(t *testing.T) {
				n := newNAS(t)
				if test.make != nil {
					test.make(n)
				}
				if _, stderr, code := n.run(shell, append(test.args, n.file)...); code != 0 || stderr != "" {
					t.Fatalf("code %d: %s", code, stderr)
				}
				info, err := os.Stat(n.file)
				if err != nil || info.Mode() != 0o600 {
					t.Fatalf("mode %v, %v", info.Mode(), err)
				}
				got, err := readCredentials(n.file)
				if err != nil {
					t.Fatal(err)
				}
				want := want
				if test.mac != "" {
					want.MAC = test.mac
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				if left, _ := filepath.Glob(filepath.Join(filepath.Dir(n.file), ".synology*")); left != nil {
					t.Errorf("left behind: %v", left)
				}
			})
		}
	}
}

func TestCredentialsScriptFails(t *testing.T) {
	for name, shell := range shells(t) {
		for _, test := range []struct {
			name string
			make func(n *nas)
			args []string
			code int
			want string
		}{
			{name: "not root", make: func(n *nas) { n.command("id", "echo 1026") }, want: "sudo"},
			{name: "no synowebapi", make: func(n *nas) { n.remove("synowebapi") }, want: "no command synowebapi"},
			{name: "no synocloudserviceauth", make: func(n *nas) { n.remove("synocloudserviceauth") }, want: "no command synocloudserviceauth"},
			{name: "refused", make: func(n *nas) { n.webAPI(`{ "error" : { "code" : 4571 }, "success" : false }`) }, want: "(code 4571)"},
			{name: "not registered", make: func(n *nas) {
				n.webAPI(`{"data":{"auth_key":"","myds_id":"","serial":"x"},"success":true}`)
			}, want: "no myds_id: this NAS is not registered"},
			{name: "no JSON", make: func(n *nas) { n.webAPI("oops") }, want: "no JSON"},
			{name: "fails", make: func(n *nas) { n.command("synowebapi", "exit 3") }, want: "no JSON"},
			{name: "no key", make: func(n *nas) { n.command("synocloudserviceauth", "exit 1") }, want: "gave no api_key"},
			{name: "a sentence for a key", make: func(n *nas) { n.command("synocloudserviceauth", "echo Cannot get key") }, want: "gave no api_key"},
			{name: "no interface", make: func(n *nas) { n.net = filepath.Join(n.net, "none") }, want: "give it with -m"},
			{name: "bad MAC", args: []string{"-m", "hello"}, want: "give it with -m"},
			{name: "no directory", make: func(n *nas) { n.file = filepath.Join(n.file, "x") }, want: "no directory"},
			{name: "a directory", make: func(n *nas) { n.put(filepath.Join(n.file, "x"), "", 0o600) }, want: "name a file"},
			{name: "unknown option", args: []string{"-x"}, code: 2, want: "Usage:"},
			{name: "too many files", args: []string{"x"}, code: 2, want: "Usage:"},
		} {
			t.Run(name+"/"+test.name, func(t *testing.T) {
				n := newNAS(t)
				if test.make != nil {
					test.make(n)
				}
				if test.name == "not root" && len(shell) == 2 && shell[1] == "sh" {
					t.Skip("busybox has an id of its own")
				}
				stdout, stderr, code := n.run(shell, append(test.args, n.file)...)
				if code != max(test.code, 1) || stdout != "" || !strings.Contains(stderr, test.want) {
					t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
				}
				if info, err := os.Stat(n.file); err == nil && info.Mode().IsRegular() {
					t.Error("it wrote a file")
				}
			})
		}
	}
}

func TestCredentialsScriptHelp(t *testing.T) {
	for name, shell := range shells(t) {
		if stdout, _, code := newNAS(t).run(shell, "-h"); code != 0 || !strings.HasPrefix(stdout, "Usage: ") {
			t.Errorf("%s: code %d, %q", name, code, stdout)
		}
	}
}

func TestCredentialsScriptLint(t *testing.T) {
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("shellcheck is not installed")
	}
	if out, err := exec.Command(shellcheck, "credentials.sh").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

//go:build linux

package testenv

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// IP runs ip(8) with the given arguments and returns what it prints. The test
// must have called [Namespace].
func IP(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(detached(t), Program(t, "ip"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Sysctl sets a kernel parameter, such as "net/ipv6/conf/v0/use_tempaddr". The
// test must have called [Namespace].
func Sysctl(t testing.TB, name, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Router is a home router beside the test's host: a network namespace with the
// other end of a cable in it. It advertises prefixes by radvd, a real one.
type Router struct {
	// Interface is the host's end of the cable, such as "v0".
	Interface string

	t       testing.TB
	pid     string // of the process that keeps the namespace
	dir     string
	radvd   *exec.Cmd
	log     bytes.Buffer
	nsenter string
}

// Advertised is a prefix of router advertisements, and what remains of its
// lifetimes, in whole seconds. Hosts make addresses of those with 64 bits.
//
// Preferred 0 deprecates its addresses. An address that is there already keeps
// two hours of validity at least, unless it had less (RFC 4862, 5.5.3 e): one
// that shall vanish must have had a short one, longer than 4 s, from the start.
type Advertised struct {
	Prefix           string
	Preferred, Valid time.Duration
}

// NewRouter makes a router and a cable to it, and brings up the host's end, the
// interface that is named. The router says nothing before [Router.Advertise]:
// what hosts do with its advertisements can be set until then, such as
//
//	testenv.Sysctl(t, "net/ipv6/conf/v0/use_tempaddr", "2")
//
// The test must have called [Namespace]. The router ends with the test.
func NewRouter(t testing.TB, iface string) *Router {
	t.Helper()
	r := &Router{Interface: iface, t: t, dir: t.TempDir(), nsenter: Program(t, "nsenter")}
	Program(t, "radvd")

	// It ends when its input does: at the latest when this process has ended.
	keeper := exec.CommandContext(detached(t), Program(t, "cat"))
	keeper.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	input, err := keeper.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		if err := keeper.Wait(); err != nil {
			t.Errorf("the keeper of the router's namespace: %v", err)
		}
	})
	r.pid = strconv.Itoa(keeper.Process.Pid)

	IP(t, "link", "add", iface, "type", "veth", "peer", "name", "r0", "netns", r.pid)
	r.Run("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding") // radvd warns else
	// Nobody else is on the link: its address can be used at once.
	r.Run("sh", "-c", "echo 0 >/proc/sys/net/ipv6/conf/r0/accept_dad")
	r.Run("ip", "link", "set", "lo", "up")
	r.Run("ip", "link", "set", "r0", "up")
	Sysctl(t, filepath.Join("net/ipv6/conf", iface, "accept_ra"), "2")
	IP(t, "link", "set", iface, "up")
	t.Cleanup(func() {
		r.Silence()
		if t.Failed() {
			t.Logf("radvd of %s:\n%s", iface, r.log.String())
		}
	})
	return r
}

// Run runs a program in the router's namespace, where the cable's end is r0,
// and returns what it prints.
func (r *Router) Run(args ...string) string {
	r.t.Helper()
	out, err := exec.CommandContext(detached(r.t), r.nsenter, r.enter(args)...).CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (r *Router) enter(args []string) []string {
	return append([]string{"--target", r.pid, "--net", "--"}, args...)
}

// Advertise makes the router advertise these prefixes, and itself as the default
// router for half an hour: at once, and every 3 to 4 seconds. Prefixes that it
// advertised before and are not among them it forgets without a word, as home
// routers do that got a new prefix.
func (r *Router) Advertise(prefixes ...Advertised) {
	r.t.Helper()
	var config strings.Builder
	config.WriteString(`interface r0 {
	AdvSendAdvert on;
	MinRtrAdvInterval 3;
	MaxRtrAdvInterval 4;
	AdvDefaultLifetime 1800;
`)
	for _, p := range prefixes {
		if _, err := netip.ParsePrefix(p.Prefix); err != nil {
			r.t.Fatal(err)
		}
		fmt.Fprintf(&config, `	prefix %s {
		AdvPreferredLifetime %d;
		AdvValidLifetime %d;
	};
`, p.Prefix, int(p.Preferred.Seconds()), int(p.Valid.Seconds()))
	}
	config.WriteString("};\n")
	r.Radvd(config.String())
}

// Radvd is Advertise with a whole radvd.conf(5) for the interface r0.
func (r *Router) Radvd(config string) {
	r.t.Helper()
	r.Silence()
	file := filepath.Join(r.dir, "radvd.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.radvd = exec.CommandContext(detached(r.t), r.nsenter, r.enter([]string{
		"radvd", "--nodaemon", "--config", file, "--pidfile", filepath.Join(r.dir, "radvd.pid"), "--logmethod", "stderr",
	})...)
	r.radvd.Stdout, r.radvd.Stderr = &r.log, &r.log
	r.radvd.WaitDelay = 10 * time.Second
	r.radvd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL} // nsenter turns into radvd
	if err := r.radvd.Start(); err != nil {
		r.t.Fatal(err)
	}
}

// Silence ends the advertisements without a last one that would say so. The
// host's addresses and its default route stay for as long as their lifetimes.
func (r *Router) Silence() {
	r.t.Helper()
	if r.radvd == nil {
		return
	}
	_ = r.radvd.Process.Kill()
	_ = r.radvd.Wait() // "killed"; if it ended by itself, its log tells
	r.radvd = nil
}

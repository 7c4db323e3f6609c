//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// weather returns how often each fault strikes, as the variable STRIKES says, and
// which do: those whose names the expression in FAULTS matches.
func weather(t testing.TB) (strikes int, chosen []fault) {
	t.Helper()
	strikes, err := strconv.Atoi(os.Getenv("STRIKES"))
	if err != nil || strikes < 1 {
		t.Fatalf("STRIKES=%s: %v", os.Getenv("STRIKES"), err)
	}
	pattern, err := regexp.Compile(os.Getenv("FAULTS"))
	if err != nil {
		t.Fatalf("FAULTS: %v", err)
	}
	for _, f := range faults {
		if pattern.MatchString(f.name) {
			chosen = append(chosen, f)
		}
	}
	if len(chosen) == 0 {
		t.Fatalf("FAULTS=%s: there is none of such a name", pattern)
	}
	return strikes, chosen
}

// fault is what befalls the house while images are pushed and pulled.
type fault struct {
	name   string
	strike func(s *storm, n int)
	// of is the service whose process ends, "" if none does.
	of string
	// ends tells that Caddy starts anew: what it had in use says nothing.
	ends bool
}

// storm is a fault at work.
type storm struct {
	*house
	*courier
	*relay
	t *testing.T

	halves string // files of uploads that were half sent
}

var faults = []fault{
	{name: "the registry is killed", of: "registry", strike: func(s *storm, _ int) { s.end("registry", "KILL") }},
	{name: "the registry is made anew, at another address", strike: func(s *storm, n int) { s.anew(n) }},
	{name: "the engine's events are cut off, and the registry made anew meanwhile", strike: func(s *storm, n int) {
		testenv.EventuallyWithin(s.t, "a connection to the engine", soon, func() error {
			if s.cut() == 0 {
				s.mend()
				return errors.New("none was cut off")
			}
			return nil
		})
		s.anew(n)
		s.mend()
	}},
	{name: "the container's network is taken away", strike: func(s *storm, _ int) {
		container := s.container("registry")
		s.nas.run("docker", "network", "disconnect", "--force", s.network(), container)
		s.nas.run("docker", "network", "connect", s.network(), container)
	}},
	{name: "the registry's disk is full", strike: func(s *storm, _ int) {
		s.full("registry", func(since string) {
			testenv.EventuallyWithin(s.t, "an error in the log", soon, func() error {
				if logged := s.nas.run("docker", "logs", "--since", since, s.container("registry")); !strings.Contains(logged, "no space left") {
					return errors.New("the registry has not noticed")
				}
				return nil
			})
		})
	}},
	{name: "Caddy's disk is full", strike: func(s *storm, _ int) {
		s.full("caddy", func(string) {
			s.reload()
			s.more("pushes while there is no room for the log")
		})
	}},
	{name: "the file of users is cut off, whole again, and another", strike: func(s *storm, n int) {
		file := filepath.Join(s.checkout, "data/docker/auth/htpasswd")
		users, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		s.write(file, users[:len(users)*(1+n%4)/5])
		s.more("pushes of users that were known before")
		s.write(file, users)
		user, _, _ := strings.Cut(login, ":")
		other := regexp.MustCompile(`(?m)^` + user + `:.*\n`).Find(users)
		s.replace(file, append(users, strings.Replace(string(other), user, fmt.Sprintf("other%d", time.Now().UnixNano()), 1)...))
	}},
	{name: "the certificate is renewed, and half of it first", strike: func(s *storm, n int) {
		next := s.ca.issue(s.t, name)
		file := filepath.Join(s.checkout, "archive/dNtAMd", []string{"cert.pem", "chain.pem", "privkey.pem", "fullchain.pem"}[n%4])
		content, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		s.write(file, content[:len(content)*(1+n%4)/5])
		s.more("pushes with the certificate of before")
		s.renewInDSM(s.t, "dNtAMd", next)
		testenv.EventuallyWithin(s.t, "the renewed certificate", soon, func() error { return s.serves(next) })
	}},
	{name: "Caddy is reloaded", strike: func(s *storm, _ int) { s.reload() }},
	{name: "the Docker engine restarts", ends: true, strike: func(s *storm, _ int) {
		s.nas.daemon.stop()
		s.nas.start()
	}},
	{name: "Caddy is asked to end", of: "caddy", ends: true, strike: func(s *storm, _ int) { s.end("caddy", "TERM") }},
	{name: "Caddy is killed", of: "caddy", ends: true, strike: func(s *storm, _ int) { s.end("caddy", "KILL") }},
}

// TestWeather lets each fault strike again and again while images are pushed and
// pulled. Clients try again, as all do; what was confirmed is there afterwards, and
// whole, no upload can be seen half, and Caddy has no more in use than before.
func TestWeather(t *testing.T) {
	if os.Getenv("STRIKES") == "" {
		t.Skip("it takes long: STRIKES is how often each fault strikes")
	}
	if !inHouse(t) {
		return
	}
	n, chosen := weather(t)
	h := newHouse(t, int(validity.Seconds()))
	h.env("COMPOSE_FILE=compose.yaml:compose.dsm-certificate.yaml:compose.relay.yaml", "SYNOLOGY_CERTIFICATES="+h.checkout+"/archive")
	h.service.SetAddresses(name, h.address)
	h.renewInDSM(t, "dNtAMd", h.ca.issue(t, name))
	for folder, size := range map[string]string{"registry": "4g", "caddy": "8m"} {
		at := filepath.Join(h.checkout, "data/docker", folder)
		h.nas.run("mkdir", "-p", at)
		h.nas.run("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", at)
	}
	h.edit("dsm-certificate.Caddyfile", "	persist_config off\n", "	persist_config off\n	log audit {\n		include registry.audit\n		output file /data/caddy/audit.log\n	}\n")
	relay := h.newRelay(t)
	h.up()
	t.Cleanup(h.removeOther)
	h.reachable(h.address)
	for i, f := range chosen {
		h.then(t, f.name, func(t *testing.T) {
			s := &storm{house: h, courier: h.newCourier(t, fmt.Sprintf("weather%d", i)), relay: relay, t: t}
			// Once before, for what stays in use for good.
			s.rage(f, 1)
			before := s.atRest()
			began := time.Now()
			s.rage(f, n)
			t.Logf("%d strikes in %s: %d pushes and %d pulls confirmed, %d requests failed",
				n, time.Since(began).Round(time.Second), s.pushed.Load(), s.pulled.Load(), s.failed.Load())
			if s.pulled.Load() == 0 {
				t.Error("nothing was pulled")
			}
			s.allWhole(t)
			s.wholeBlobs()
			if !f.ends {
				s.noLeak(before)
			}
			// Room for the next.
			h.compose("stop", "registry")
			h.nas.run("sh", "-c", `rm -rf "$1"/*`, "sh", filepath.Join(h.checkout, "data/docker/registry"))
			h.compose("start", "registry")
		})
	}
}

// rage lets a fault strike n times, each time while images are pushed and pulled, and
// until pushes have succeeded that began after it.
func (s *storm) rage(f fault, n int) {
	s.t.Helper()
	for i := range n {
		if f.of != "" {
			s.rested(f.of)
		}
		stop := s.work(s.t)
		f.strike(s, i)
		s.more(fmt.Sprintf("pushes after strike %d", i))
		stop()
	}
}

// more waits until pushes are confirmed that began after this.
func (s *storm) more(what string) {
	s.t.Helper()
	done := s.pushed.Load()
	testenv.EventuallyWithin(s.t, what, longStorm, func() error {
		if more := s.pushed.Load() - done; more < 3 { // two may have been on their way
			return fmt.Errorf("%d so far (%d requests failed)", more, s.failed.Load())
		}
		return nil
	})
}

// started returns when a container's process began.
func (s *storm) started(container string) (time.Time, error) {
	return time.Parse(time.RFC3339Nano, s.nas.run("docker", "inspect", "--format", "{{.State.StartedAt}}", container))
}

// rested waits until a service has run for ten seconds. The engine starts it again
// at once then, and else takes longer each time.
func (s *storm) rested(service string) {
	s.t.Helper()
	container := s.container(service)
	testenv.EventuallyWithin(s.t, service+" to have run for ten seconds", soon, func() error {
		since, err := s.started(container)
		if err == nil && time.Since(since) < 10*time.Second {
			err = errors.New("it has not")
		}
		return err
	})
}

// end ends a service's process in the middle of an upload, and waits until the
// engine has started it again. A Caddy that is asked to end lets the upload go on
// first, while it takes no new connection; all else breaks it off.
func (s *storm) end(service, signal string) {
	s.t.Helper()
	container, process := s.container(service), s.pid(service)
	before, err := s.started(container)
	if err != nil {
		s.t.Fatal(err)
	}
	had, folder := s.halves, filepath.Join(s.checkout, "data/docker/registry/docker/registry/v2/repositories", s.folder, "half/_uploads")
	finish := s.beginUpload(s.t)
	testenv.EventuallyWithin(s.t, "its first half in the registry", soon, func() error {
		if s.halves = s.nas.run("find", folder, "-name", "data", "-size", "+0"); s.halves == had {
			return errors.New("it has not come")
		}
		return nil
	})
	s.nas.run("kill", "-"+signal, process)
	if signal == "TERM" {
		testenv.EventuallyWithin(s.t, "no new connections", soon, func() error {
			conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(s.address, 5002).String(), time.Second)
			if err == nil {
				conn.Close()
				return errors.New("there was one")
			}
			return nil
		})
	}
	if err := finish(); (err == nil) != (signal == "TERM") {
		s.t.Errorf("SIG%s to %s: the upload that was on its way: %v", signal, service, err)
	}
	testenv.EventuallyWithin(s.t, "another start", soon, func() error {
		now, err := s.started(container)
		if err == nil && now.Equal(before) {
			err = errors.New("it has not been started again")
		}
		return err
	})
}

// write writes a file in its place.
func (s *storm) write(file string, content []byte) {
	s.t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// replace puts another file in the place of one.
func (s *storm) replace(file string, content []byte) {
	s.t.Helper()
	s.write(file+".new", content)
	if err := os.Rename(file+".new", file); err != nil {
		s.t.Fatal(err)
	}
}

// full leaves no room on a disk while something happens; since is when that began,
// as docker logs takes it.
func (s *storm) full(folder string, happens func(since string)) {
	s.t.Helper()
	since := time.Now().Format(time.RFC3339Nano)
	file := filepath.Join(s.checkout, "data/docker", folder, "full")
	defer s.nas.run("rm", "--force", file)
	if _, err := s.nas.try("sh", "-c", `dd if=/dev/zero of="$1" bs=64k 2>/dev/null`, "sh", file); err == nil {
		s.t.Fatal("the disk is not full")
	}
	happens(since)
}

// anew makes the registry's container anew. Another one has its former address
// then, every second time.
func (s *storm) anew(n int) {
	s.t.Helper()
	s.compose("rm", "--force", "--stop", "registry")
	s.removeOther()
	if n%2 == 0 {
		s.nas.run("docker", "run", "--detach", "--name", "other", "--network", s.network(), "--entrypoint", "busybox", "registry:3", "sleep", "3600")
	}
	s.compose("up", "-d", "registry")
}

// removeOther removes the container that has the registry's former address.
func (h *house) removeOther() {
	_, _ = h.nas.try("docker", "rm", "--force", "--volumes", "other") // it need not be there
}

// wholeBlobs expects that every blob in the registry's folder is what its name says.
func (s *storm) wholeBlobs() {
	s.t.Helper()
	out := s.nas.run("sh", "-c", `find "$1" -name data -exec sha256sum {} +`, "sh",
		filepath.Join(s.checkout, "data/docker/registry/docker/registry/v2/blobs"))
	lines := strings.Split(out, "\n")
	for _, line := range lines {
		sum, path, _ := strings.Cut(line, " ")
		if filepath.Base(filepath.Dir(path)) != sum {
			s.t.Errorf("a blob is not whole: %s", line)
		}
	}
	if len(lines) < 3 {
		s.t.Errorf("only %d blobs", len(lines))
	}
}

// usage is what Caddy has in use.
type usage struct{ goroutines, files, kibibytes int }

// atRest returns what Caddy has in use when nothing changes any more.
func (s *storm) atRest() (u usage) {
	s.t.Helper()
	testenv.EventuallyWithin(s.t, "Caddy at rest", soon, func() error {
		before := u
		var err error
		if u, err = s.inUse(); err == nil && (u.goroutines != before.goroutines || u.files != before.files) {
			err = fmt.Errorf("%+v, and then %+v", before, u)
		}
		return err
	})
	return u
}

func (h *house) inUse() (u usage, err error) {
	profile, err := h.tryCompose("", "exec", "-T", "caddy", "curl", "--silent", "--unix-socket", "/run/caddy/admin.sock",
		"http://localhost/debug/pprof/goroutine?debug=1")
	if err != nil {
		return u, err
	}
	if _, err := fmt.Sscanf(profile, "goroutine profile: total %d", &u.goroutines); err != nil {
		return u, fmt.Errorf("%w in %.100s", err, profile)
	}
	pid := h.pid("caddy")
	u.files = len(strings.Fields(h.nas.run("ls", "/proc/"+pid+"/fd")))
	status := regexp.MustCompile(`VmRSS:\s+(\d+)`).FindStringSubmatch(h.nas.run("cat", "/proc/"+pid+"/status"))
	if status == nil {
		return u, fmt.Errorf("no memory of process %s", pid)
	}
	u.kibibytes, err = strconv.Atoi(status[1])
	return u, err
}

// noLeak expects that Caddy soon has no more in use than before, but for some
// connections to the registry. A leak shows with a hundred strikes.
func (s *storm) noLeak(before usage) {
	s.t.Helper()
	var now usage
	testenv.EventuallyWithin(s.t, "Caddy to let go", patience, func() (err error) {
		now, err = s.inUse()
		if err == nil && (now.goroutines > before.goroutines+10 || now.files > before.files+10 || now.kibibytes > before.kibibytes+32<<10) {
			err = fmt.Errorf("before: %+v, now: %+v", before, now)
		}
		return err
	})
	s.t.Logf("in use before: %+v, after: %+v", before, now)
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// lookPort looks who listens on the registry's port.
func lookPort(ctx context.Context, p *patient) Finding {
	port, err := strconv.ParseUint(p.setup.port, 10, 16)
	if err != nil {
		return wrong("Give the registry's site one port in the config.", fmt.Sprintf("%q is not a port", p.setup.port))
	}
	listeners, err := readListeners("/proc", uint16(port))
	if err != nil {
		return p.portByConnection(ctx, err)
	}
	binds := p.setup.binds()
	listeners = slices.DeleteFunc(listeners, func(l listener) bool { return !l.takes(binds) })
	if len(listeners) == 0 {
		return ok("nobody holds port " + p.setup.port)
	}
	var seen []string
	for _, l := range listeners {
		seen = append(seen, fmt.Sprintf("port %s is held by %s", p.setup.port, l))
	}
	slices.Sort(seen)
	seen = slices.Compact(seen)
	for _, l := range listeners {
		switch {
		case l.isCaddy():
		case l.pid != 0:
			return wrong(portAdvice, seen...)
		default:
			return p.portByAnswer(ctx, seen)
		}
	}
	return ok(seen...)
}

const portAdvice = "End that program, or set REGISTRY_PORT in .env to another port and run docker compose up -d."

// portByConnection is for systems that don't tell who listens.
func (p *patient) portByConnection(ctx context.Context, why error) Finding {
	conn, err := p.dial(ctx)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return ok("nobody answers at port " + p.setup.port)
	case err != nil:
		return unknown("Look which program holds the port.", why.Error(), err.Error())
	}
	conn.Close()
	return p.portByAnswer(ctx, []string{"a program answers at port " + p.setup.port + ", but not its name: " + why.Error()})
}

// portByAnswer is for a holder whose name is not to be seen from here, such as a
// program outside of the container.
func (p *patient) portByAnswer(ctx context.Context, seen []string) Finding {
	got, err := get(ctx, p.site(nil), p.setup.url(), "", "")
	switch {
	case err == nil && got.header.Get("Server") == "Caddy":
		return ok(append(seen, "it answers as Caddy")...)
	case err == nil && got.isRegistry() && p.setup.adminAnswers(ctx): // a site may hide its server
		return ok(append(seen, "it answers as a registry, and Caddy is running")...)
	case err == nil:
		return wrong(portAdvice, append(seen, "it does not answer as Caddy does")...)
	case refused(err) && p.setup.adminAnswers(ctx):
		return ok(append(seen, "it speaks TLS, and Caddy is running")...)
	case refused(err):
		return unknown("Run the doctor where Caddy runs: docker compose exec caddy caddy registry-doctor.",
			append(seen, "it speaks TLS, but has no certificate for "+p.setup.name())...)
	}
	return wrong(portAdvice, append(seen, "it does not answer as Caddy does: "+err.Error())...)
}

// listener is a listening TCP socket.
type listener struct {
	addr       netip.Addr
	uid, inode string

	// Of the process that holds it; 0 where that may not be seen.
	pid  int
	name string
}

func (l listener) String() string {
	if l.pid == 0 {
		return fmt.Sprintf("a program of user %s that can't be seen from here", l.uid)
	}
	return fmt.Sprintf("%s (process %d)", l.name, l.pid)
}

// isCaddy also knows builds with a longer name, such as caddy_linux_arm64, and this
// process, which is a Caddy.
func (l listener) isCaddy() bool {
	return strings.HasPrefix(l.name, "caddy") || l.pid != 0 && l.pid == os.Getpid()
}

// takes tells whether the listener is in the way of one that binds to these hosts,
// or is that one. An empty host is every address.
func (l listener) takes(binds []string) bool {
	if len(binds) == 0 || l.addr.IsUnspecified() {
		return true
	}
	for _, host := range binds {
		ip, err := netip.ParseAddr(host)
		if err != nil { // every address, or a name
			return true
		}
		if ip.IsUnspecified() || ip.Unmap().WithZone("") == l.addr.Unmap() {
			return true
		}
	}
	return false
}

// readListeners reads from a proc file system who listens on a port, and which
// process that is.
func readListeners(proc string, port uint16) ([]listener, error) {
	var listeners []listener
	for _, file := range []string{"tcp", "tcp6"} {
		content, err := os.ReadFile(filepath.Join(proc, "net", file))
		if errors.Is(err, fs.ErrNotExist) && file == "tcp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, parseListeners(string(content), port)...)
	}
	for i := range listeners {
		listeners[i].findProcess(proc)
	}
	return listeners, nil
}

// findProcess looks through the open files of all processes for the socket. What
// may not be read is passed over.
func (l *listener) findProcess(proc string) {
	links, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "fd", "*"))
	if err != nil {
		return
	}
	socket := "socket:[" + l.inode + "]"
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != socket {
			continue
		}
		process := filepath.Dir(filepath.Dir(link))
		pid, err := strconv.Atoi(filepath.Base(process))
		if err != nil {
			continue
		}
		name, err := os.ReadFile(filepath.Join(process, "comm"))
		if err != nil {
			continue
		}
		l.pid, l.name = pid, strings.TrimSpace(string(name))
		return
	}
}

package docker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unicode"
)

// explain says in one sentence why Docker could not be asked, and what to do
// about it. It looks at the socket's file, if there is one.
func explain(h host, err error) string {
	var r refusal
	if errors.As(err, &r) {
		return fmt.Sprintf("Docker at %s refuses to list containers: %s", h, oneLine(r.Error()))
	}
	return fmt.Sprintf("Docker does not answer at %s: %s", h, explainConnect(h, err))
}

func explainConnect(h host, err error) string {
	unix := h.scheme == "unix"
	switch {
	case unix && errors.Is(err, fs.ErrNotExist):
		return "there is no such socket (is Docker running, and its socket mounted here?)"
	case unix && errors.Is(err, fs.ErrPermission):
		return "permission denied; the user that Caddy runs as needs the group of the socket"
	case unix && errors.Is(err, syscall.ECONNREFUSED):
		return explainRefused(h.addr)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused; nothing listens on that port"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time"
	default:
		return oneLine(err.Error())
	}
}

// explainRefused tells apart what the kernel answers in the same way. Docker
// replaces its socket's file when it starts; a bind mount of the old file then
// leads to one that nobody will ever listen on again
// (https://github.com/nginx-proxy/docker-gen/issues/224).
func explainRefused(path string) string {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return "that is a directory; Docker makes one where it is to mount a socket that is not there yet: " +
			"start Docker, remove the directory and recreate this container"
	case err == nil && info.Mode()&fs.ModeSocket == 0:
		return "that is not a socket"
	default:
		return "the socket file is there but nobody listens; Docker is down, or, if the file is bind-mounted, " +
			"it went stale when Docker restarted: recreate this container"
	}
}

// oneLine makes text from elsewhere fit to be shown: bounded, without control
// characters.
func oneLine(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

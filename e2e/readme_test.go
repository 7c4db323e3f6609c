//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// TestReadme runs the README's commands as they stand there, on a terminal, in a
// house in which nothing is deployed: those after nas$ on the NAS, and those after
// pc$ on the client. What comes below a command must be among what it prints; "…"
// stands for anything, and so does the one example of a password.
func TestReadme(t *testing.T) {
	if !inHouse(t) {
		return
	}
	content, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t, int(validity.Seconds()))
	for _, guide := range []struct {
		headings []string
		prepare  func(*reader)
	}{
		{[]string{"On a NAS, for a first look"}, nil},
		{[]string{"On a Synology NAS", "Caddy keeps the name and the certificate", "When it doesn't work: registry-doctor"}, (*reader).asSynology},
		{[]string{"DSM keeps them, Caddy follows"}, func(*reader) {
			h.service.SetAddresses(name, h.address)
			h.renewInDSM(t, "dNtAMd", h.ca.issue(t, name))
		}},
	} {
		r := newReader(t, h)
		if guide.prepare != nil {
			guide.prepare(r)
		}
		for _, heading := range guide.headings {
			commands := commandsBelow(string(content), heading)
			if len(commands) == 0 {
				t.Fatalf("the README has no command below %q", heading)
			}
			h.then(t, heading, func(t *testing.T) {
				for _, c := range commands {
					if err := r.follow(c); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
		r.leave()
	}
}

// command is one of the README's.
type command struct {
	where string // nas or pc
	line  string
	shown string // what it prints
}

var (
	prompt  = regexp.MustCompile(`^(nas|pc)\$ (.*)$`)
	example = regexp.MustCompile(`[A-Z2-7]{26}`)
	asks    = regexp.MustCompile(`(?i)(password[^\n]*|once more): ?$`)
	down    = regexp.MustCompile("\x1b\\[[0-9]*B") // to the line below
	escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[a-zA-Z]|\r")
	// waits are the commands that a user repeats who was too quick.
	waits = regexp.MustCompile(`logs|registry-doctor|curl|cat /`)
)

// commandsBelow returns the commands between a heading and the next one.
func commandsBelow(text, heading string) (list []command) {
	_, text, _ = strings.Cut(text, "# "+heading+"\n")
	inConsole := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		match := prompt.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "```"):
			inConsole = line == "```console"
		case !inConsole && strings.HasPrefix(line, "#"):
			return list
		case !inConsole:
		case match != nil:
			list = append(list, command{where: match[1], line: match[2]})
		case len(list) > 0:
			list[len(list)-1].shown += line + "\n"
		}
	}
	return list
}

// reader follows the README.
type reader struct {
	h        *house
	t        testing.TB
	password string // which Caddy has shown
	env      []string
}

// newReader begins with a clean checkout. Programs that only a NAS has, and those
// that this machine lacks, are in a folder of their own.
func newReader(t testing.TB, h *house) *reader {
	t.Helper()
	r := &reader{h: h, t: t}
	r.program("sudo", `exec "$@"`) // all are root here
	if h.composer[0] == "docker-compose" {
		r.program("../.docker/cli-plugins/docker-compose", `
			if [ "$1" = docker-cli-plugin-metadata ]; then echo '{"SchemaVersion": "0.1.0", "Vendor": "house"}'; exit; fi
			shift; exec /usr/bin/env docker-compose "$@"`)
	}
	r.env = []string{
		"PATH=" + filepath.Join(h.nas.dir, "bin") + ":" + os.Getenv("PATH"), "TERM=xterm",
		"CADDY_IMAGE=" + houseImage, "SYNOLOGY_CERTIFICATES=" + h.checkout + "/archive",
		"SYS_CLASS_NET=" + filepath.Join(h.nas.dir, "net"),
	}
	r.remove(".env")
	return r
}

func (r *reader) remove(names ...string) {
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(r.h.checkout, name)); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *reader) program(name, script string) {
	if err := os.Chmod(r.h.nas.write("bin/"+name, "#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		r.t.Fatal(err)
	}
}

// asSynology gives the NAS the programs that credentials.sh asks.
func (r *reader) asSynology() {
	s := r.h.service
	r.program("synocloudserviceauth", "echo '"+s.APIKey+"'")
	r.program("synowebapi", fmt.Sprintf(`echo '{"data": {"auth_key": "%s", "myds_id": "%s", "serial": "%s"}, "success": true}'`, s.AuthKey, s.MyDSID, s.Serial))
	r.h.nas.write("net/eth0/address", s.MAC+"\n")
}

// leave takes down what was deployed.
func (r *reader) leave() {
	r.h.compose("down", "--volumes", "--timeout", "5")
	r.remove(".env", "data", "root.crt")
}

// follow runs a command, and tells why it did not print what it should.
func (r *reader) follow(c command) error {
	pattern := regexp.QuoteMeta(strings.TrimRight(c.shown, "\n"))
	pattern = example.ReplaceAllString(pattern, "("+example.String()+")")
	pattern = strings.NewReplacer("…", `[\s\S]*?`, "\n", `\s*\n\s*`).Replace(pattern)
	expected := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) { // as a user would
		out, err := r.run(c)
		if match := expected.FindStringSubmatch(out); err == nil && match != nil {
			if len(match) > 1 {
				r.password = match[1]
			}
			return nil
		}
		if err == nil {
			err = errors.New("it prints something else")
		}
		if !waits.MatchString(c.line) || time.Now().After(deadline) {
			return fmt.Errorf("%s$ %s: %w\n%s\nwhere the README has:\n%s", c.where, c.line, err, out, c.shown)
		}
	}
}

// run runs a command on a terminal, and answers when it asks for a password.
func (r *reader) run(c command) (string, error) {
	line := strings.ReplaceAll(c.line, "PASSWORD", r.password)
	ctx, cancel := context.WithTimeout(ended(r.t), patience)
	defer cancel()
	var cmd *exec.Cmd
	answer := "a new secret"
	if c.where == "pc" {
		cmd, answer = r.h.client.command(ctx, r.h.client.dir, []string{"TERM=xterm"}, "sh", "-c", line), r.password
	} else {
		cmd = r.h.nas.command(ctx, r.h.checkout, r.env, "sh", "-c", line)
	}
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		return "", err
	}
	defer terminal.Close()
	var out strings.Builder
	answered := 0
	for buffer := make([]byte, 4096); ; {
		n, err := terminal.Read(buffer)
		out.Write(buffer[:n])
		if so := out.String(); asks.MatchString(so[answered:]) {
			answered = len(so)
			if _, err := terminal.WriteString(answer + "\n"); err != nil {
				return so, err
			}
		}
		if err != nil { // EIO, when the program has closed it
			break
		}
	}
	shown := escapes.ReplaceAllString(down.ReplaceAllString(out.String(), "\n"), "")
	// Who types before the program has turned the echo off sees it; and this types
	// as fast as it can.
	return strings.ReplaceAll(shown, answer, ""), cmd.Wait()
}

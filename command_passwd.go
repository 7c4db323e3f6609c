package nasregistry

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/htpasswd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "registry-passwd",
		Usage: "[--file <path>] [--cost <n>] [--delete] <user>",
		Short: "Sets the password of a registry's user",
		Long: `
Sets the password of a user in an htpasswd file, which is made if it is
missing, or deletes the user. All other lines of the file stay.

On a terminal the password is asked for twice and not shown; otherwise it is
the first line of standard input:

	printf '%s\n' "$PASSWORD" | caddy registry-passwd alice

A running Caddy notices the change within a second.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.ExactArgs(1)
			file := cmd.Flags().StringP("file", "f", "htpasswd", "The htpasswd file")
			cost := cmd.Flags().Int("cost", htpasswd.DefaultCost, "The bcrypt cost, 4 to 16; each step doubles the time of a login")
			del := cmd.Flags().Bool("delete", false, "Delete the user")
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				return passwd(cmd, *file, args[0], *cost, *del)
			}
		},
	})
}

func passwd(cmd *cobra.Command, file, user string, cost int, del bool) error {
	if del {
		if cmd.Flags().Changed("cost") {
			return errors.New("--cost and --delete exclude each other")
		}
		if err := htpasswd.Delete(file, user); err != nil {
			return fmt.Errorf("deleting user %s: %w", user, err)
		}
		cmd.Printf("Deleted user %s from %s.\n", user, file)
		return nil
	}
	if err := htpasswd.CheckUser(user); err != nil {
		return err
	}
	password, err := readNewPassword(cmd, user)
	if err != nil {
		return fmt.Errorf("reading the password: %w", err)
	}
	if err := htpasswd.Set(file, user, password, cost); err != nil {
		return fmt.Errorf("setting the password of %s: %w", user, err)
	}
	cmd.Printf("Set the password of user %s in %s.\n", user, file)
	return nil
}

// readNewPassword asks twice on a terminal, and reads one line otherwise.
func readNewPassword(cmd *cobra.Command, user string) (string, error) {
	first, err := readPassword(cmd, user)
	terminal, there := terminalOf(cmd)
	if err != nil || !there {
		return first, err
	}
	second, err := ask(cmd, terminal, "Once more: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two are not the same; nothing was changed")
	}
	return first, nil
}

// readPassword asks on a terminal, and reads one line otherwise.
func readPassword(cmd *cobra.Command, user string) (string, error) {
	if terminal, there := terminalOf(cmd); there {
		return ask(cmd, terminal, fmt.Sprintf("Password for %s: ", user))
	}
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// terminalOf is standard input, where that is a terminal.
func terminalOf(cmd *cobra.Command) (*os.File, bool) {
	in, ok := cmd.InOrStdin().(*os.File)
	return in, ok && term.IsTerminal(int(in.Fd()))
}

// ask reads a line from a terminal without showing it. An interrupt leaves the
// terminal as it was.
func ask(cmd *cobra.Command, terminal *os.File, prompt string) (string, error) {
	fd := int(terminal.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt)
	defer signal.Stop(interrupt)

	cmd.PrintErr(prompt)
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		answers <- answer{line, err}
	}()
	defer cmd.PrintErrln()
	select {
	case a := <-answers:
		return string(a.line), a.err
	case <-interrupt:
		// The reader ends with the process.
		return "", errors.Join(errors.New("interrupted; nothing was changed"), term.Restore(fd, state))
	}
}

package nasregistry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-nas/caddy-nas-registry/doctor"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "registry-doctor",
		Usage: "[--config <path>] [--user <user>] [--login] [--json]",
		Short: "Looks for what keeps clients from the registry",
		Long: `
Examines the registry of a config file, from the address of this machine to
the users, and says what is wrong and what to do about it. It changes
nothing. With compose.yaml:

	docker compose exec caddy caddy registry-doctor

The password of --user is asked for on a terminal and not shown; otherwise it
is the first line of standard input.

The exit status is 0 if all is well, 1 if something is wrong, and 2 if nothing
is known to be wrong but something could not be looked at. --json prints a
report for programs instead, once all is done.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.NoArgs
			config := cmd.Flags().StringP("config", "c", "", "The config file (default: the one that $CADDYFILE names, ./Caddyfile, or /etc/caddy/Caddyfile)")
			user := cmd.Flags().String("user", "", "Log in to the registry as this user, too")
			login := cmd.Flags().Bool("login", false, "Try the credentials of the DNS provider and of DSM, too")
			asJSON := cmd.Flags().Bool("json", false, "Print JSON")
			cmd.RunE = func(cmd *cobra.Command, _ []string) error {
				options := doctor.Options{Config: *config, User: *user, Login: *login}
				if options.Config == "" {
					options.Config = defaultConfig(os.Getenv("CADDYFILE"))
				}
				return examine(cmd, options, *asJSON)
			}
		},
	})
}

// defaultConfig is the file that compose.yaml's variable CADDYFILE names, or one
// where Caddy looks for it, too.
func defaultConfig(named string) string {
	const folder = "/etc/caddy"
	switch {
	case named != "" && filepath.Base(named) == named:
		return filepath.Join(folder, named)
	case named != "":
		return named
	}
	if _, err := os.Stat("Caddyfile"); err == nil {
		return "Caddyfile"
	}
	return filepath.Join(folder, "Caddyfile")
}

// examine prints what the doctor finds. The error it returns carries the exit
// status, and is not printed.
func examine(cmd *cobra.Command, options doctor.Options, asJSON bool) error {
	if options.User != "" {
		password, err := readPassword(cmd, options.User)
		if err != nil {
			return fmt.Errorf("reading the password: %w", err)
		}
		if password == "" {
			return fmt.Errorf("the password of %s is missing: type it, or write it to standard input", options.User)
		}
		options.Password = password
	}
	// What modules log while they are looked at is kept, and never shown: the
	// process ends with the report.
	caddy.BufferedLog()
	out := cmd.OutOrStdout()
	var report doctor.Report
	if asJSON {
		report = doctor.Examine(cmd.Context(), options, func(doctor.Result) {})
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(report); err != nil {
			return fmt.Errorf("printing the report: %w", err)
		}
	} else {
		printer := doctor.NewPrinter(out, isTerminal(out) && os.Getenv("NO_COLOR") == "")
		report = doctor.Examine(cmd.Context(), options, printer.Result)
		printer.End()
	}
	return exit(cmd, report.ExitStatus())
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// exit makes Caddy end with a status, without a further word.
func exit(cmd *cobra.Command, status int) error {
	if status == 0 {
		return nil
	}
	cmd.SilenceErrors = true
	if status == 1 {
		return errors.New("something is wrong")
	}
	// The type of error that Caddy takes other statuses from is not exported.
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return status, nil })(cmd, nil)
}

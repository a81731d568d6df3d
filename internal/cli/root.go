// Package cli is Hakone's commands: flags in, tables and sentences out.
//
// It decides nothing about traffic. What runs is started by package server; what is asked of a
// running process goes through package admin; check and explain work offline. One command a file.
// Begin reading at Execute.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/diag"
)

// Exit codes.
const (
	ExitOK           = 0
	ExitFailed       = 1
	ExitUsage        = 2
	ExitFindings     = 3
	ExitUnreachable  = 4
	ExitUnauthorized = 5
)

// Failure is an error as a command shows it: what, cause, fix, and the exit code.
type Failure struct {
	What  string
	Code  diag.Code
	Cause string
	Fix   string
	Exit  int
}

// Error returns the three lines.
func (f *Failure) Error() string {
	s := "error: " + f.What
	if f.Code != 0 {
		s += " (" + f.Code.String() + ")"
	}
	if f.Cause != "" {
		s += "\n  cause: " + f.Cause
	}
	if f.Fix != "" {
		s += "\n  fix:   " + f.Fix
	}
	return s
}

// silent ends a command with an exit code after it has said everything itself.
type silent int

func (s silent) Error() string { return fmt.Sprintf("exit %d", int(s)) }

// Streams are where a command reads and writes. Stdout is data, Stderr progress.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Execute runs the command line args (without the program's name) and returns the exit code. ctx ends
// on the signals that stop a process.
func Execute(ctx context.Context, args []string, s Streams) int {
	root := newRoot(s)
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	cmd, err := root.ExecuteContextC(ctx)
	var quiet silent
	var failure *Failure
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &quiet):
		return int(quiet)
	case errors.As(err, &failure):
	default:
		failure = classify(err)
	}
	if failure.Fix == "" && failure.Exit == ExitUsage {
		failure.Fix = "see " + cmd.CommandPath() + " --help"
	}
	fmt.Fprintln(s.Err, failure.Error())
	return failure.Exit
}

// classify makes a Failure of any other error: those of the admin API by their kind, all else is
// wrong usage, because commands return Failures for what fails while running.
func classify(err error) *Failure {
	var problem *admin.Problem
	switch {
	case errors.Is(err, admin.ErrUnreachable):
		return &Failure{What: admin.ErrUnreachable.Error(), Code: diag.AdminUnreachable, Cause: err.Error(),
			Fix: "start hakone run, or give its address with --admin (or $HAKONE_ADMIN)", Exit: ExitUnreachable}
	case errors.Is(err, admin.ErrAnswer):
		return &Failure{What: admin.ErrAnswer.Error(), Cause: err.Error(), Fix: "use the command of the same release as the running process", Exit: ExitFailed}
	case errors.As(err, &problem):
		exit := ExitFailed
		if problem.Status == 401 || problem.Status == 403 {
			exit = ExitUnauthorized
		}
		return &Failure{What: problem.Title, Code: problem.Code, Fix: problem.Fix, Exit: exit}
	}
	what, similar, found := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	if found {
		return &Failure{What: what, Fix: "did you mean " + strings.Join(strings.Fields(similar), " or ") + "?", Exit: ExitUsage}
	}
	return &Failure{What: what, Exit: ExitUsage}
}

// flagError says what a flag wants instead of how a parser of Go failed.
func flagError(_ *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	wants := map[string]string{"int": "a number", "duration": "a duration such as 30s or 5m", "bytes": "a number of bytes such as 65536, 64KiB, 16MiB or 2GiB", "bool": "true or false"}
	want, known := wants[bad.GetFlag().Value.Type()]
	if !known {
		return err
	}
	return usage("--%s wants %s, not %q", bad.GetFlag().Name, want, bad.GetValue())
}

func newRoot(s Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "hakone",
		Short: "The TLS checkpoint of a network",
		Long: `Hakone terminates, verifies, originates and explains TLS for what enters, leaves and runs inside a network.
It reads Istio and Kubernetes Gateway API manifests from a folder and serves them.`,
		Example:       "  hakone demo\n  hakone run --config ./manifests --port-map 443=8443,80=8080\n  hakone check ./manifests",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(
		newRun(s), newCheck(s), newTLSVersion(s), newService(s), newStatus(s), newDump(s),
		newCA(s), newCert(s), newExplain(s), newVersion(s), newDemo(s),
		newOrigin(s), newPolicy(s), newLogs(s), newEgress(s), newCache(s), newImport(s), newTrace(s),
	)
	completeOutputs(root)
	return root
}

// adminFlags are the flags of commands that ask a running process.
type adminFlags struct {
	address   string
	tokenFile string
}

func (f *adminFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.address, "admin", admin.DefaultAddress(), "admin address of the running process: unix:PATH, HOST:PORT or URL")
	cmd.Flags().StringVar(&f.tokenFile, "admin-token-file", os.Getenv("HAKONE_TOKEN_FILE"), "file with the token for a TCP admin address")
}

// tokenIn reads a token from a file that holds nothing else, or from the ROLE:TOKEN lines that
// hakone run --admin-token-file reads: then an operator's is taken before a viewer's.
func tokenIn(content string) string {
	found := ""
	for line := range strings.Lines(content) {
		line = strings.TrimSpace(line)
		if token, ok := strings.CutPrefix(line, "operator:"); ok {
			return token
		}
		if token, ok := strings.CutPrefix(line, "viewer:"); ok && found == "" {
			found = token
		}
	}
	if found != "" {
		return found
	}
	return strings.TrimSpace(content)
}

// get asks the running process for what a command shows as a table, JSON or YAML, which output names.
func (f *adminFlags) get(ctx context.Context, output, path string, to any) error {
	if err := checkFormat(output, "table", "json", "yaml"); err != nil {
		return err
	}
	client, err := f.client()
	if err != nil {
		return err
	}
	return client.Get(ctx, path, to)
}

func (f *adminFlags) client() (*admin.Client, error) {
	token := os.Getenv("HAKONE_TOKEN")
	if f.tokenFile != "" {
		b, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return nil, &Failure{What: "the admin token cannot be read", Cause: err.Error(), Fix: "correct --admin-token-file", Exit: ExitUsage}
		}
		token = tokenIn(string(b))
	}
	config, err := adminTLS()
	if err != nil {
		return nil, err
	}
	return admin.NewClient(f.address, token, config), nil
}

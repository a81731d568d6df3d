package cli

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hakone-gateway/hakone/internal/demo"
)

func newDemo(s Streams) *cobra.Command {
	opts := demo.Options{Out: s.Out, Err: s.Err}
	var folder folderFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a CA, a backend and a gateway in one process, and say what to try",
		Long: `Starts a gateway on https://*.localhost from manifests that it writes into a temporary folder, with a CA and certificates of its own. Needs no
root, writes nothing elsewhere, and shows a line for each request and each refused handshake. With --script it runs the lines itself.`,
		Example: "  hakone demo\n  hakone demo --script",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if opts.Base.Settings, err = folder.settings(); err != nil {
				return err
			}
			opts.Program, opts.Color = program(), colored(s.Out)
			err = demo.Run(cmd.Context(), opts)
			switch {
			case err == nil, errors.Is(err, context.Canceled):
				return nil
			case errors.Is(err, demo.ErrFailed):
				return silent(ExitFailed)
			}
			return runFailure(err)
		},
	}
	cmd.Flags().IntVar(&opts.Port, "port", 8443, "port on loopback; if it is taken, the next free one")
	cmd.Flags().BoolVar(&opts.Script, "script", false, "run the lines, print ✓ or ✗, and exit non-zero on any ✗")
	folder.register(cmd)
	for _, f := range []string{"endpoint", "namespace", "labels"} {
		_ = cmd.Flags().MarkHidden(f) // the demo's manifests are made for the defaults
	}
	limits := pflag.NewFlagSet("limits", pflag.ContinueOnError)
	registerLimits(limits, &opts.Base.Limits) // sets the defaults that hakone run has
	return cmd
}

// program is how the user called us: "go run ./cmd/hakone" leaves a path that is of no use to them.
func program() string {
	p := os.Args[0]
	if strings.Contains(p, "go-build") {
		return "go run ./cmd/hakone"
	}
	return p
}

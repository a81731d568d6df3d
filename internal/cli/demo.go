package cli

import (
	"context"
	"errors"
	"io"
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
		Use:   "demo [ingress|edge|egress]",
		Short: "Run a CA, a backend and a gateway in one process, and say what to try",
		Long: `Starts a gateway on https://*.localhost from manifests that it writes into a temporary folder, with a CA and certificates of its own. Needs no
root, writes nothing elsewhere, and shows a line for each request and each refused handshake. With --script it runs the lines itself.

ingress (the default): three hosts in Istio's and the Gateway API on one port, one with mutual TLS.
edge: client certificates per path, an origin that accepts the edge alone, logs that are pulled.
egress: a destination behind a company's intercepting proxy, whose CA the gateway alone knows.`,
		Example:   "  hakone demo\n  hakone demo edge\n  hakone demo --script",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"ingress", "edge", "egress"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				opts.Scene = map[string]demo.Scene{"ingress": demo.Ingress(), "edge": demo.Edge(), "egress": demo.Egress()}[args[0]]
			}
			opts.Command = func(ctx context.Context, args []string, out, errOut io.Writer) int {
				return Execute(ctx, args, Streams{In: strings.NewReader(""), Out: out, Err: errOut})
			}
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

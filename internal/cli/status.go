package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/diag"
)

func newStatus(s Streams) *cobra.Command {
	var flags adminFlags
	var output string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show what a running process serves",
		Example: "  hakone status\n  hakone status -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var st admin.Status
			if err := flags.get(cmd.Context(), output, "/status", &st); err != nil {
				return err
			}
			if output != "table" {
				return writeAs(s.Out, output, st)
			}
			writeStatus(s, &st)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	flags.register(cmd)
	return cmd
}

func writeStatus(s Streams, st *admin.Status) {
	state := "serving"
	if st.Draining {
		state = "draining"
	}
	fmt.Fprintf(s.Out, "hakone %s, pid %d, %s since %s; generation %d (%s) of %s\n\n", st.Version, st.PID, state,
		st.Started.Local().Format(time.RFC3339), st.Epoch, st.Revision, strings.Join(st.Folders, ", "))
	t := newTable(s.Out, "LISTENER", "ADDRESS", "STATE", "CONNS", "CHAIN", "HOSTS", "TLS", "CLIENTS", "CERTIFICATE EXPIRES", "ROUTES")
	for _, l := range st.Listeners {
		state := "serving"
		if l.Code != 0 {
			state = l.Code.String()
		}
		for i, c := range l.Chains {
			name, address, conns := l.Name, l.Address, fmt.Sprint(l.Connections)
			if i > 0 {
				name, address, conns, state = "", "", "", ""
			}
			floor := ""
			if c.MinVersion != "" {
				floor = "≥ " + c.MinVersion
			}
			chain := c.Name
			if c.Display != "" {
				chain += " (" + c.Display + ")"
			}
			t.row(blank(name, i), blank(address, i), blank(state, i), blank(conns, i), chain, hostList(c.Hosts), floor, c.ClientAuth, expiry(c), fmt.Sprint(c.Routes))
		}
	}
	t.flush()
	for _, r := range st.Resources {
		if r.Level != "calm" {
			fmt.Fprintf(s.Out, "\n! overload: %s is %s, %d of %d in use\n", r.Resource, r.Level, r.Used, r.Bound)
		}
	}
	for _, k := range st.Kept {
		fmt.Fprintf(s.Out, "\n! %s is broken; its last good version serves\n", k)
	}
	shown := slices.DeleteFunc(slices.Clone(st.Diagnostics), func(d diag.Diagnostic) bool { return d.Severity == diag.Info })
	if len(shown) > 0 {
		fmt.Fprintln(s.Out)
		writeDiagnostics(s.Out, shown)
	}
}

// blank keeps the cells of a listener's further chains empty instead of "-".
func blank(cell string, i int) string {
	if i > 0 {
		return " "
	}
	return cell
}

func hostList(hosts []string) string {
	if len(hosts) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(hosts[:3], ","), len(hosts)-3)
	}
	return strings.Join(hosts, ",")
}

func expiry(c admin.ChainStatus) string {
	if c.NotAfter == nil {
		return c.Certificate
	}
	return c.NotAfter.UTC().Format("2006-01-02") + " (" + days(time.Until(*c.NotAfter)) + ")"
}

func days(d time.Duration) string {
	switch {
	case d < 0:
		return "expired"
	case d < 48*time.Hour:
		return d.Round(time.Hour).String()
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

func newDump(s Streams) *cobra.Command {
	var flags adminFlags
	var output string
	cmd := &cobra.Command{
		Use:       "dump [snapshot|listeners|routes|upstreams|proxies|certs]",
		Short:     "Dump what a running process runs on (references and fingerprints, never keys)",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: admin.DumpNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(output, "yaml", "json"); err != nil {
				return err
			}
			what := "snapshot"
			if len(args) == 1 {
				what = args[0]
			}
			client, err := flags.client()
			if err != nil {
				return err
			}
			var v any
			if err := client.Get(cmd.Context(), "/dump/"+what, &v); err != nil {
				return err
			}
			return writeAs(s.Out, output, v)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "yaml", "yaml or json")
	flags.register(cmd)
	return cmd
}

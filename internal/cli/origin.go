package cli

import (
	"cmp"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/upstream"
)

// newOrigin is the group of commands about origins.
func newOrigin(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "origin",
		Short: "Look at and prepare the servers behind origin pools",
	}
	cmd.AddCommand(newOriginLs(s), newOriginPull(s), newOriginEnroll(s))
	return cmd
}

func newOriginLs(s Streams) *cobra.Command {
	var flags adminFlags
	var output string
	cmd := &cobra.Command{
		Use:     "ls",
		Short:   "Show the origins of every pool, their health and its reason",
		Example: "  hakone origin ls\n  hakone origin ls -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var pools []upstream.PoolStatus
			if err := flags.get(cmd.Context(), output, "/origins", &pools); err != nil {
				return err
			}
			if output != "table" {
				return writeAs(s.Out, output, pools)
			}
			writeOrigins(s, pools, time.Now())
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	flags.register(cmd)
	return cmd
}

func writeOrigins(s Streams, pools []upstream.PoolStatus, now time.Time) {
	if len(pools) == 0 {
		fmt.Fprintln(s.Out, "no origin pool is used by a route")
		return
	}
	t := newTable(s.Out, "POOL", "ORIGIN", "ADDRESS", "ENABLED", "HEALTH", "SINCE", "CHECKED", "RTT", "REQUESTS", "FAILURES", "REASON")
	for _, p := range pools {
		name := p.Name
		if p.State != upstream.PoolHealthy {
			name += " (" + p.State + ")"
		}
		for _, o := range p.Origins {
			enabled := "yes"
			if !o.Enabled {
				enabled = "no"
			}
			t.row(name, o.Name, o.Address, enabled, o.Health, ago(now, o.Since), ago(now, o.Checked), rtt(o.RTT), fmt.Sprint(o.Requests), fmt.Sprint(o.Failures), originReason(o, now))
		}
		if len(p.Origins) == 0 {
			t.row(name, "", "", "", "", "", "", "", "", "", p.Detail)
		}
	}
	t.flush()
	for _, p := range pools {
		if p.Detail != "" {
			fmt.Fprintf(s.Out, "\n! pool %s: %s\n", p.Name, p.Detail)
		}
	}
}

// originReason says why an origin is not healthy, with its code.
func originReason(o upstream.OriginStatus, now time.Time) string {
	reason := o.Reason
	if o.Code != 0 {
		reason = o.Code.String() + " " + cmp.Or(reason, o.Code.Slug())
	}
	if o.EjectedUntil != nil && o.EjectedUntil.After(now) {
		reason += fmt.Sprintf(" (out for %s more)", o.EjectedUntil.Sub(now).Round(time.Second))
	}
	return reason
}

func ago(now time.Time, at *time.Time) string {
	if at == nil {
		return ""
	}
	d := max(now.Sub(*at), 0)
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String() + " ago"
	case d < 48*time.Hour:
		return d.Round(time.Minute).String() + " ago"
	}
	return fmt.Sprintf("%d d ago", int(d.Hours()/24))
}

func rtt(millis float64) string {
	if millis == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f ms", millis)
}

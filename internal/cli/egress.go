package cli

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/egress"
	"github.com/hakone-gateway/hakone/internal/trace"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// newEgress is the group of commands about destinations outside.
func newEgress(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "egress",
		Short: "Look at destinations outside: proxies, who intercepts, whose certificates are shown",
	}
	cmd.AddCommand(newEgressLs(s), newEgressExplain(s), newEgressAck(s), newEgressCA(s))
	return cmd
}

func newEgressLs(s Streams) *cobra.Command {
	var flags adminFlags
	var output string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List destinations outside, upstream proxies with their health, and alerts",
		Long: `Lists the upstream proxies with each address, whether it is used and why not; the destinations outside that were connected to, with what became of
their TLS here and on the way; and what has changed that somebody should look at. Exit code 3 means that there are such alerts.`,
		Example: "  hakone egress ls\n  hakone egress ls -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(output, "table", "json", "yaml"); err != nil {
				return err
			}
			e, err := getEgress(cmd, &flags, "")
			if err != nil {
				return err
			}
			if output != "table" {
				if err := writeAs(s.Out, output, e); err != nil {
					return err
				}
			} else {
				writeEgress(s.Out, e)
			}
			if len(e.Alerts) > 0 {
				return silent(ExitFindings)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	flags.register(cmd)
	return cmd
}

func getEgress(cmd *cobra.Command, flags *adminFlags, host string) (*admin.Egress, error) {
	client, err := flags.client()
	if err != nil {
		return nil, err
	}
	path := admin.EgressPath
	if host != "" {
		path += "?host=" + url.QueryEscape(host)
	}
	var e admin.Egress
	if err := client.Get(cmd.Context(), path, &e); err != nil {
		return nil, err
	}
	return &e, nil
}

func newEgressExplain(s Streams) *cobra.Command {
	var flags adminFlags
	var output string
	cmd := &cobra.Command{
		Use:   "explain HOST",
		Short: "Tell what becomes of a destination's TLS, with evidence",
		Long: `Tells of one destination: whether TLS of clients is bumped or spliced here and by which rule, through which proxies it is reached and whether they
intercept it, which issuers signed the certificates that were shown, and the last failures with what to do.`,
		Example: "  hakone egress explain www.example.com",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("hakone egress explain takes one host")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(output, "text", "json", "yaml"); err != nil {
				return err
			}
			host := strings.ToLower(strings.TrimSuffix(args[0], "."))
			e, err := getEgress(cmd, &flags, host)
			if err != nil {
				return err
			}
			if len(e.Hosts) == 0 {
				return &Failure{What: "nothing is known of " + host, Cause: "no connection has asked for it since the process started, or it had to make room for others",
					Fix: "send a request, or look at hakone egress ls", Exit: ExitFailed}
			}
			if output != "text" {
				return writeAs(s.Out, output, e)
			}
			writeEgressStory(s.Out, e)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text, json or yaml")
	flags.register(cmd)
	return cmd
}

func newEgressAck(s Streams) *cobra.Command {
	var flags adminFlags
	var all bool
	cmd := &cobra.Command{
		Use:     "ack HOST|--all",
		Short:   "Acknowledge alerts: what was seen is expected from now on",
		Example: "  hakone egress ack www.example.com\n  hakone egress ack --all",
		Args: func(_ *cobra.Command, args []string) error {
			if all != (len(args) == 0) || len(args) > 1 {
				return usage("hakone egress ack takes one host, or --all")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			ask := admin.EgressAcknowledge{All: all}
			if !all {
				ask.Host = strings.ToLower(args[0])
			}
			var done admin.EgressAcknowledged
			if err := client.Post(cmd.Context(), admin.EgressPath+"/acknowledge", ask, &done); err != nil {
				return err
			}
			fmt.Fprintf(s.Out, "%s acknowledged\n", plural(done.Alerts, "alert"))
			return nil
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "of every host")
	flags.register(cmd)
	return cmd
}

func writeEgress(w io.Writer, e *admin.Egress) {
	writeProxies(w, e.Proxies, e.Time)
	if len(e.Proxies) > 0 {
		fmt.Fprintln(w)
	}
	if len(e.Hosts) == 0 {
		fmt.Fprintln(w, "no destination outside has been asked for")
	} else {
		t := newTable(w, "HOST", "HERE", "BY", "ON THE WAY", "ISSUER", "GOOD", "FAILED", "LAST", "LAST FAILURE")
		for i := range e.Hosts {
			h := &e.Hosts[i]
			here, way, by, issuer := "", "", "", ""
			if len(h.Decisions) > 0 {
				here = pastTense(h.Decisions[0].Decision)
			}
			var good, failed int64
			for _, x := range h.Ways {
				good, failed = good+x.Good, failed+x.Failed
			}
			if len(h.Ways) > 0 {
				by, way = or(h.Ways[0].Proxy, "direct"), wayWords(h.Ways[0])
			}
			if len(h.Issuers) > 0 {
				issuer = h.Issuers[0].Issuer
			}
			last := ""
			if len(h.Failures) > 0 {
				last = h.Failures[0].Code.String() + " " + h.Failures[0].Slug
			}
			t.row(address(h.Name, h.Port), here, by, way, issuer, fmt.Sprint(good), fmt.Sprint(failed), ago(e.Time, &h.Last), last)
		}
		t.flush()
	}
	writeAlerts(w, e.Alerts, e.Time)
	if e.Lost > 0 {
		fmt.Fprintf(w, "\n%d hosts that were not seen for longest had to make room\n", e.Lost)
	}
}

func writeProxies(w io.Writer, proxies []upstream.ProxyStatus, now time.Time) {
	if len(proxies) == 0 {
		return
	}
	t := newTable(w, "PROXY", "ADDRESS", "HEALTH", "PROBED", "OPEN", "CONNECTS", "FAILURES", "REASON")
	for _, p := range proxies {
		for _, a := range p.Addresses {
			scheme, health := "http://", "healthy"
			if a.TLS {
				scheme = "https://"
			}
			if !a.Healthy {
				health = "out"
			}
			var failures int64
			for _, n := range a.Failures {
				failures += n
			}
			reason := a.Detail
			if a.Code != 0 {
				reason = a.Code.String() + " " + or(reason, a.Code.Slug())
			}
			if a.Until != nil && a.Until.After(now) {
				reason += fmt.Sprintf(" (asked again in %s)", a.Until.Sub(now).Round(100*time.Millisecond))
			}
			t.row(p.Name, scheme+a.Address, health, ago(now, a.Probed), fmt.Sprint(a.Open), fmt.Sprint(a.Connects), fmt.Sprint(failures), reason)
		}
	}
	t.flush()
	for _, p := range proxies {
		if p.Code != 0 {
			fmt.Fprintf(w, "\n! proxy %s: %s %s\n", p.Name, p.Code, trace.Printable(p.Detail))
		}
	}
}

func writeAlerts(w io.Writer, alerts []egress.Alert, now time.Time) {
	for _, a := range alerts {
		by := "directly"
		if a.Proxy != "" {
			by = "through " + a.Proxy
		}
		fmt.Fprintf(w, "\n! %s %s: %s, %s (%s, %d more)\n  %s\n  fix: %s\n", a.Code, a.Slug, a.Host, by, ago(now, &a.First), a.Count-1, trace.Printable(a.Detail), a.Fix)
	}
}

// writeEgressStory tells of a host: first what is decided here, then what is on the way.
func writeEgressStory(w io.Writer, e *admin.Egress) {
	for i := range e.Hosts {
		h := &e.Hosts[i]
		fmt.Fprintf(w, "%s  (first seen %s, last %s)\n", address(h.Name, h.Port), ago(e.Time, &h.First), ago(e.Time, &h.Last))
		if len(h.Decisions) == 0 {
			row(w, "here", "no forward proxy has decided about TLS for it")
		}
		for _, d := range h.Decisions {
			row(w, "here", fmt.Sprintf("%s by %s, %d times, last %s", pastTense(d.Decision), or(d.Rule, "default"), d.Count, ago(e.Time, &d.Last)))
		}
		for _, x := range h.Ways {
			name := "direct"
			if x.Proxy != "" {
				name = "through " + x.Proxy
			}
			row(w, "way", joined(name, wayWords(x), fmt.Sprintf("%d good, %d failed, last %s", x.Good, x.Failed, ago(e.Time, &x.Last))))
		}
		for _, n := range h.Issuers {
			state := "accepted"
			if !n.Verified {
				state = "refused"
			}
			if n.Intercepted {
				state += " by the proxy's interception CA"
			}
			row(w, "issuer", joined(n.Issuer, "key sha256:"+n.Key, state, worded("through ", n.Proxy, ""), fmt.Sprintf("%d times, last %s", n.Count, ago(e.Time, &n.Last))))
			row(w, "", worded("certificate ", n.Subject, ""))
		}
		for _, f := range h.Failures {
			fmt.Fprintf(w, "  %-9s %s %s%s, %d times, last %s\n            %s\n            fix: %s\n", "failure", f.Code, f.Slug, worded(" through ", f.Proxy, ""), f.Count, ago(e.Time, &f.Last), trace.Printable(f.Detail), f.Fix)
		}
	}
	used := map[string]bool{}
	for _, h := range e.Hosts {
		for _, x := range h.Ways {
			used[x.Proxy] = true
		}
	}
	var proxies []upstream.ProxyStatus
	for _, p := range e.Proxies {
		if used[p.Name] {
			proxies = append(proxies, p)
		}
	}
	if len(proxies) > 0 {
		fmt.Fprintln(w)
		writeProxies(w, proxies, e.Time)
	}
	writeAlerts(w, e.Alerts, e.Time)
}

// wayWords says whether a proxy intercepts.
func wayWords(x egress.WaySeen) string {
	switch {
	case x.Intercepted == nil:
		return ""
	case *x.Intercepted:
		return "bumped"
	case x.Proxy == "":
		return "own certificate"
	}
	return "spliced"
}

func pastTense(decision string) string {
	words := map[string]string{"bump": "bumped", "splice": "spliced", "terminate": "terminated"}
	return or(words[decision], decision)
}

func address(host string, port uint16) string {
	if port == 0 {
		return host
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}

package cli

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// tlsVersion carries the flags of "hakone tls-version".
type tlsVersion struct {
	s           Streams
	admin       adminFlags
	perListener bool
	output      string
	change      admin.TLSChange
	yes         bool
	noProbe     bool
}

func newTLSVersion(s Streams) *cobra.Command {
	t := &tlsVersion{s: s}
	cmd := &cobra.Command{
		Use:   "tls-version",
		Short: "Show and set the minimum TLS version, without an outage",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("hakone tls-version has no command %q; use show or set", args[0])
			}
			return cmd.Help()
		},
	}
	show := &cobra.Command{
		Use: "show", Short: "Show the minimum TLS version", Args: cobra.NoArgs,
		Example: "  hakone tls-version show\n  hakone tls-version show --per-listener",
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.show(cmd.Context()) },
	}
	show.Flags().BoolVar(&t.perListener, "per-listener", false, "one row for each listener and host")
	show.Flags().StringVarP(&t.output, "output", "o", "table", "table, json or yaml")
	t.admin.register(show)
	set := &cobra.Command{
		Use: "set VERSION", Short: "Set the minimum TLS version: 1.0, 1.1, 1.2 or 1.3", Args: cobra.ExactArgs(1),
		Long: `Writes a TLSPolicy into the folder that the running process serves, waits until it is applied, and probes every listener
with TLS 1.0 to 1.3. No connection is dropped; clients below the new floor are refused with alert 70 on their next handshake.`,
		Example: "  hakone tls-version set 1.2\n  hakone tls-version set 1.3 --host api.example.com --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			t.change.MinVersion = args[0]
			return t.set(cmd.Context())
		},
		ValidArgs: []string{"1.0", "1.1", "1.2", "1.3"},
	}
	t.registerSet(set)
	unset := &cobra.Command{
		Use: "unset", Short: "Remove the minimum that set has written for this scope", Args: cobra.NoArgs,
		Example: "  hakone tls-version unset\n  hakone tls-version unset --host api.example.com --yes",
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.unset(cmd.Context()) },
	}
	t.registerSet(unset)
	cmd.AddCommand(show, set, unset)
	return cmd
}

func (t *tlsVersion) registerSet(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.change.Listener, "listener", "", "only this gateway or listener: NAMESPACE/GATEWAY or NAMESPACE/GATEWAY/LISTENER")
	cmd.Flags().StringVar(&t.change.Host, "host", "", "only this host (may be a wildcard)")
	cmd.Flags().BoolVarP(&t.yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&t.noProbe, "no-probe", false, "do not probe the listeners afterwards")
	t.admin.register(cmd)
}

// newService is the spelling of the API gateway in seed 0:
// "service tls_version --tls-min-version show|VERSION".
func newService(s Streams) *cobra.Command {
	t := &tlsVersion{s: s, output: "table"}
	cmd := &cobra.Command{
		Use: "service", Short: "Commands as other gateways spell them",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("hakone service has no command %q; use tls_version", args[0])
			}
			return cmd.Help()
		},
	}
	var value string
	tv := &cobra.Command{
		Use: "tls_version --tls-min-version show|VERSION", Short: "The same as hakone tls-version show and set", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if value == "show" {
				return t.show(cmd.Context())
			}
			t.change.MinVersion = value
			return t.set(cmd.Context())
		},
	}
	tv.Flags().StringVar(&value, "tls-min-version", "show", "show, or the version to set")
	t.registerSet(tv)
	cmd.AddCommand(tv)
	return cmd
}

// floor is the minimum of one listener or host.
type floor struct {
	Listener   string `json:"listener"`
	Host       string `json:"host"`
	MinVersion string `json:"minVersion"`
	MaxVersion string `json:"maxVersion,omitempty"`
}

func floors(st *admin.Status) []floor {
	out := []floor{}
	for _, l := range st.Listeners {
		for _, c := range l.Chains {
			if c.MinVersion == "" {
				continue
			}
			for _, h := range c.HostFloors {
				out = append(out, floor{c.Name, h.Host, h.MinVersion, c.MaxVersion})
			}
			for _, h := range c.Hosts {
				if !slices.ContainsFunc(c.HostFloors, func(f admin.HostTLS) bool { return f.Host == h }) {
					out = append(out, floor{c.Name, h, c.MinVersion, c.MaxVersion})
				}
			}
		}
	}
	return out
}

func (t *tlsVersion) status(ctx context.Context) (*admin.Client, *admin.Status, error) {
	client, err := t.admin.client()
	if err != nil {
		return nil, nil, err
	}
	var st admin.Status
	if err := client.Get(ctx, "/status", &st); err != nil {
		return nil, nil, err
	}
	return client, &st, nil
}

func (t *tlsVersion) show(ctx context.Context) error {
	if err := checkFormat(t.output, "table", "json", "yaml"); err != nil {
		return err
	}
	_, st, err := t.status(ctx)
	if err != nil {
		return err
	}
	rows := floors(st)
	if t.output != "table" {
		return writeAs(t.s.Out, t.output, rows)
	}
	lowest, differ := lowestFloor(rows)
	switch {
	case len(rows) == 0:
		fmt.Fprintln(t.s.Out, "No listener terminates TLS")
		return nil
	case differ:
		fmt.Fprintf(t.s.Out, "TLS minimum versions differ between listeners; the lowest is %s\n", lowest)
	default:
		fmt.Fprintf(t.s.Out, "TLS minimum version is %s\n", lowest)
	}
	if differ || t.perListener {
		writeFloors(t.s, rows)
	}
	return nil
}

func writeFloors(s Streams, rows []floor) {
	tab := newTable(s.Out, "LISTENER", "HOST", "MINIMUM", "MAXIMUM")
	for _, r := range rows {
		tab.row(r.Listener, r.Host, r.MinVersion, r.MaxVersion)
	}
	tab.flush()
}

func lowestFloor(rows []floor) (lowest string, differ bool) {
	for _, r := range rows {
		if lowest != "" && r.MinVersion != lowest {
			differ = true
		}
		if lowest == "" || r.MinVersion < lowest {
			lowest = r.MinVersion
		}
	}
	return lowest, differ
}

// set asks, changes, proves and says how to undo.
func (t *tlsVersion) set(ctx context.Context) error {
	if n, ok := tlsname.ParseVersion(t.change.MinVersion); !ok {
		return usage("%q is no TLS version; use 1.0, 1.1, 1.2 or 1.3", t.change.MinVersion)
	} else {
		t.change.MinVersion = tlsname.Version(n)
	}
	client, before, err := t.status(ctx)
	if err != nil {
		return err
	}
	rows := t.inScope(floors(before))
	if len(rows) == 0 {
		return &Failure{What: "no TLS listener or host matches " + t.scope(), Fix: "hakone tls-version show --per-listener lists them", Exit: ExitUsage}
	}
	old, differ := lowestFloor(rows)
	if old == t.change.MinVersion && !differ {
		fmt.Fprintf(t.s.Out, "TLS minimum version is %s already\n", old)
		return nil
	}
	if !t.confirm(old) {
		fmt.Fprintln(t.s.Err, "Nothing was changed")
		return silent(ExitFailed)
	}
	fmt.Fprintf(t.s.Out, "WARNING: Enabling TLSv%s for %s\n", t.change.MinVersion, t.scope())
	var done admin.TLSChanged
	if err := client.Post(ctx, "/tls-version", t.change, &done); err != nil {
		return t.explainRefusal(err)
	}
	fmt.Fprintf(t.s.Out, "tlspolicy.hakone.dev patched in %s\n", done.File)
	t.prove(ctx, &done)
	return nil
}

// unset removes what set wrote for exactly this scope; the next wider setting holds again.
func (t *tlsVersion) unset(ctx context.Context) error {
	client, before, err := t.status(ctx)
	if err != nil {
		return err
	}
	if rows := t.inScope(floors(before)); len(rows) == 0 {
		return &Failure{What: "no TLS listener or host matches " + t.scope(), Fix: "hakone tls-version show --per-listener lists them", Exit: ExitUsage}
	}
	if !t.yes {
		fmt.Fprintf(t.s.Out, "Removing the minimum set for %s; the next wider setting will hold\n", t.scope())
		if !t.ask() {
			fmt.Fprintln(t.s.Err, "Nothing was changed")
			return silent(ExitFailed)
		}
	}
	var done admin.TLSChanged
	if err := client.Post(ctx, "/tls-version", t.change, &done); err != nil {
		return t.explainRefusal(err)
	}
	if done.Before == "" {
		fmt.Fprintf(t.s.Out, "No minimum was set for %s by hakone tls-version\n", t.scope())
		return nil
	}
	fmt.Fprintf(t.s.Out, "tlspolicy.hakone.dev removed from %s\n", done.File)
	t.prove(ctx, &done)
	return nil
}

// prove shows what holds now, probes it, and says how to undo the change: with the value that this
// very scope had, not with what was effective for it.
func (t *tlsVersion) prove(ctx context.Context, done *admin.TLSChanged) {
	after := t.inScope(floors(&done.Status))
	if lowest, differ := lowestFloor(after); t.change.MinVersion != "" && (differ || lowest != t.change.MinVersion) {
		fmt.Fprintf(t.s.Out, "Some hosts have a setting of their own, which is more specific and wins:\n")
		writeFloors(t.s, slices.DeleteFunc(slices.Clone(after), func(f floor) bool { return f.MinVersion == t.change.MinVersion }))
	}
	if !t.noProbe {
		probeListeners(ctx, t.s, &done.Status, after)
	}
	if done.Before == "" {
		fmt.Fprintf(t.s.Out, "undo: hakone tls-version unset%s\n", t.flags())
	} else {
		fmt.Fprintf(t.s.Out, "undo: hakone tls-version set %s%s\n", done.Before, t.flags())
	}
}

// inScope keeps the rows that the change is about.
func (t *tlsVersion) inScope(rows []floor) []floor {
	return slices.DeleteFunc(rows, func(f floor) bool {
		if l := t.change.Listener; l != "" && f.Listener != l && !strings.HasPrefix(f.Listener, l+"/") {
			return true
		}
		return t.change.Host != "" && !sameHost(f.Host, t.change.Host)
	})
}

// sameHost reports whether two patterns share names.
func sameHost(a, b string) bool { return overlap(a, b) }

func (t *tlsVersion) scope() string {
	switch {
	case t.change.Host != "" && t.change.Listener != "":
		return "host " + t.change.Host + " on " + t.change.Listener
	case t.change.Host != "":
		return "host " + t.change.Host
	case t.change.Listener != "":
		return "listener " + t.change.Listener
	}
	return "all listeners"
}

func (t *tlsVersion) flags() string {
	s := ""
	if t.change.Listener != "" {
		s += " --listener " + t.change.Listener
	}
	if t.change.Host != "" {
		s += " --host '" + t.change.Host + "'"
	}
	if t.admin.address != admin.DefaultAddress() {
		s += " --admin " + t.admin.address
	}
	if t.admin.tokenFile != "" {
		s += " --admin-token-file " + t.admin.tokenFile
	}
	return s
}

// confirm asks with the sentences that administrators know; lowering is worded more sharply.
func (t *tlsVersion) confirm(old string) bool {
	want := t.change.MinVersion
	if want >= old {
		fmt.Fprintf(t.s.Out, "Enabling TLSv%s will disable TLSv%s and below\n", want, below(want))
	} else {
		fmt.Fprintf(t.s.Out, "DANGER: lowering the minimum from TLSv%s to TLSv%s weakens every connection that negotiates less than TLSv%s.\n", old, want, old)
		if want < "1.2" {
			fmt.Fprintln(t.s.Out, "TLS 1.0 and 1.1 are deprecated by RFC 8996: their handshakes rest on MD5 and SHA-1 and their ciphers lack authentication. Use this only for clients that cannot be upgraded, and only for their host (--host).")
		}
	}
	return t.yes || t.ask()
}

func (t *tlsVersion) ask() bool {
	fmt.Fprint(t.s.Out, "Do you want to continue? [y/N]: ")
	line, _ := bufio.NewReader(t.s.In).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	if answer == "y" || answer == "yes" {
		return true
	}
	fmt.Fprintln(t.s.Out)
	return false
}

func below(version string) string {
	switch version {
	case "1.3":
		return "1.2"
	case "1.2":
		return "1.1"
	case "1.1":
		return "1.0"
	}
	return "1.0 (SSL 3.0)"
}

// explainRefusal shows the object to apply where the folder cannot be written.
func (t *tlsVersion) explainRefusal(err error) error {
	if p := problemOf(err); p != nil && p.Object != "" {
		fmt.Fprintf(t.s.Err, "Apply this object by other means:\n%s\n", p.Object)
	}
	return err
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/calendar"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/server"
)

// certCalendar carries the flags of "hakone cert calendar".
type certCalendar struct {
	s         Streams
	admin     adminFlags
	folder    folderFlags
	authority authorityFlags
	config    []string
	within    string
	output    string
}

func newCertCalendar(s Streams) *cobra.Command {
	c := &certCalendar{s: s}
	cmd := &cobra.Command{
		Use:   "calendar",
		Short: "List everything that expires, the first to end first",
		Long: `Lists certificates of listeners, of origin pull and other upstreams, with their intermediates, trusted CAs, revocation lists (their next update),
keys of identity cookies, and the roots, issuers and lists of our own authority. Asks the running process, and says where a file or Secret holds something
else than is served; with --config it reads folders instead, and needs no process. Exit code 3 means that something ends --within, marked (!), or differs.
The authority's own lists renew themselves and count only when less than a tenth of their life is left.`,
		Example: "  hakone cert calendar\n  hakone cert calendar --config ./manifests --within 30d -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.run(cmd) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&c.config, "config", nil, "folders to read instead of asking the running process")
	f.StringVar(&c.within, "within", "30d", "how soon is soon: exit 3 when something ends within this time (30d, 12h)")
	f.StringVarP(&c.output, "output", "o", "table", "table, json or yaml")
	c.admin.register(cmd)
	c.folder.register(cmd)
	c.authority.register(cmd)
	return cmd
}

func (c *certCalendar) run(cmd *cobra.Command) error {
	if err := checkFormat(c.output, "table", "json", "yaml"); err != nil {
		return err
	}
	within, err := parseSpan(c.within)
	if err != nil {
		return usage("--within %q is no time such as 30d, 12h or 1y", c.within)
	}
	cal, err := c.collect(cmd.Context(), cmd.Flags().Changed("admin"))
	if err != nil {
		return err
	}
	findings := calendar.Findings(cal.Entries, within, cal.Time)
	if c.output != "table" {
		if err := writeAs(c.s.Out, c.output, struct {
			*admin.Calendar
			Findings []diag.Diagnostic `json:"findings"`
		}{cal, emptyNotNull(findings)}); err != nil {
			return err
		}
	} else {
		c.table(cal, findings, within)
	}
	if len(findings) > 0 {
		return silent(ExitFindings)
	}
	return nil
}

// collect asks the process or reads the folders, and adds the authority where there is one.
func (c *certCalendar) collect(ctx context.Context, asked bool) (*admin.Calendar, error) {
	cal := &admin.Calendar{Time: time.Now(), Entries: []calendar.Entry{}}
	own, err := c.authority.expiring(ctx, cal.Time)
	if err != nil {
		return nil, err
	}
	switch {
	case len(c.config) > 0:
		settings, err := c.folder.settings()
		if err != nil {
			return nil, err
		}
		entries, err := server.Expiring(ctx, c.config, settings, cal.Time)
		if err != nil {
			return nil, &Failure{What: "the folder cannot be read", Code: diag.FileUnreadable, Cause: err.Error(), Fix: "check path and permissions", Exit: ExitUsage}
		}
		cal.Entries = append(cal.Entries, entries...)
	default:
		client, err := c.admin.client()
		if err != nil {
			return nil, err
		}
		var served admin.Calendar
		err = client.Get(ctx, "/certificates/calendar", &served)
		if err != nil && (asked || len(own) == 0 || !errors.Is(err, admin.ErrUnreachable)) {
			return nil, err
		}
		if err != nil {
			fmt.Fprintln(c.s.Err, "no running hakone answers: only the authority is listed")
		} else {
			cal = &served
		}
	}
	for _, e := range own { // the process may have the same authority open
		if !slices.ContainsFunc(cal.Entries, func(o calendar.Entry) bool {
			return o.Kind == e.Kind && o.Name == e.Name && o.Fingerprint == e.Fingerprint && o.NotAfter.Equal(e.NotAfter)
		}) {
			cal.Entries = append(cal.Entries, e)
		}
	}
	slices.SortStableFunc(cal.Entries, func(a, b calendar.Entry) int { return a.NotAfter.Compare(b.NotAfter) })
	return cal, nil
}

func (c *certCalendar) table(cal *admin.Calendar, findings []diag.Diagnostic, within time.Duration) {
	t := newTable(c.s.Out, "EXPIRES", "LEFT", "STATE", "KIND", "NAME", "OBJECT", "FOR", "SOURCE")
	for _, e := range cal.Entries {
		left := daysWords(e.NotAfter.Sub(cal.Time))
		if e.State == calendar.Expired {
			left = "-" + daysWords(cal.Time.Sub(e.NotAfter))
		}
		state := string(e.State)
		if e.Covered && e.State != calendar.OK {
			state += " (has a successor)"
		}
		switch {
		case e.Ends(within, cal.Time):
			state += " (!)"
		case e.Renews:
			state += " (renews itself)"
		}
		source := e.Source
		if e.SourceNotAfter != nil {
			source += ", expires " + e.SourceNotAfter.UTC().Format(time.DateOnly)
		}
		t.row(e.NotAfter.UTC().Format(time.DateOnly), left, state, string(e.Kind), e.Name, e.Object, strings.Join(e.Hosts, ","), source)
	}
	t.flush()
	if cal.Unread != "" {
		fmt.Fprintf(c.s.Err, "the folders could not be compared with what is served: %s\n", cal.Unread)
	}
	writeCalendarSummary(c.s, findings, within)
}

func writeCalendarSummary(s Streams, findings []diag.Diagnostic, within time.Duration) {
	due, differ := 0, 0
	for _, f := range findings {
		if f.Code == diag.NewerThanServed {
			fmt.Fprintf(s.Out, "%-7s %s  %s — fix: %s\n", f.Severity, f.Code, f.Message, f.Fix)
			differ++
		} else {
			due++
		}
	}
	fmt.Fprintf(s.Err, "%d end within %s, %d differ from their source; (!) marks what ends\n", due, daysWords(within), differ)
}

// parseSpan reads a length of time as people write it: days (30d), weeks (2w), years of 365 days (15y),
// or what Go reads (12h30m). Several follow each other: 1y30d. It is positive.
func parseSpan(s string) (time.Duration, error) {
	const day = 24 * time.Hour
	units := map[byte]time.Duration{'d': day, 'w': 7 * day, 'y': 365 * day}
	total, rest := time.Duration(0), s
	for rest != "" {
		n := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		unit := time.Duration(0)
		if n > 0 {
			unit = units[rest[n]]
		}
		if unit == 0 {
			break
		}
		count, err := strconv.ParseUint(rest[:n], 10, 32)
		if err != nil || count > uint64((200*365*day)/unit) {
			return 0, fmt.Errorf("%q is out of range", s)
		}
		total += time.Duration(count) * unit
		rest = rest[n+1:]
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil {
			return 0, err
		}
		total += d
	}
	if total <= 0 || total > 200*365*day {
		return 0, fmt.Errorf("%q is out of range", s)
	}
	return total, nil
}

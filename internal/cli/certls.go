package cli

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/ca"
)

// certLs carries the flags of "hakone cert ls".
type certLs struct {
	at       authorityFlags
	filter   ca.Filter
	profile  string
	expiring string
	issuer   string
	revoked  bool
	output   string
}

func newCertLs(s Streams) *cobra.Command {
	c := &certLs{}
	cmd := &cobra.Command{
		Use: "ls [TEXT]", Short: "List what the authority has issued, the newest first", Args: cobra.MaximumNArgs(1),
		Long:    "Lists what the authority has issued; TEXT is a part of a subject, name, serial number or fingerprint.",
		Example: "  hakone cert ls\n  hakone cert ls --expiring 30d\n  hakone cert ls --revoked -o json\n  hakone cert ls mtls_bkend",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				c.filter.Text = args[0]
			}
			return c.run(cmd, s)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.filter.State, "state", "", "only those that are valid, expired, revoked or pending")
	f.BoolVar(&c.revoked, "revoked", false, "the same as --state revoked")
	f.StringVar(&c.profile, "profile", "", "only those of a profile: "+profiles())
	f.StringVar(&c.expiring, "expiring", "", "only valid ones that expire within a time (30d)")
	f.StringVar(&c.issuer, "issuer", "", "only those of one CA, as issuer-1")
	f.BoolVar(&c.filter.Own, "own", false, "with the authority's own certificates")
	f.IntVar(&c.filter.Limit, "limit", 0, "at most so many")
	f.StringVarP(&c.output, "output", "o", "table", "table, json or yaml")
	complete(cmd, "state", "valid", "expired", "revoked", "pending")
	c.at.registerAll(cmd)
	return cmd
}

func (c *certLs) run(cmd *cobra.Command, s Streams) error {
	if err := checkFormat(c.output, "table", "json", "yaml"); err != nil {
		return err
	}
	now := time.Now()
	var err error
	if c.revoked {
		if c.filter.State != "" && c.filter.State != "revoked" {
			return usage("--revoked and --state %s exclude each other", c.filter.State)
		}
		c.filter.State = "revoked"
	}
	if !slices.Contains([]string{"", "valid", "expired", "revoked", "pending"}, c.filter.State) {
		return usage("--state %q is none of valid, expired, revoked, pending", c.filter.State)
	}
	if c.profile != "" {
		if c.filter.Profile, err = ca.ParseProfile(c.profile); err != nil {
			return authorityFailure("--profile cannot be used", err)
		}
	}
	if c.expiring != "" {
		d, err := parseSpan(c.expiring)
		if err != nil {
			return usage("--expiring %q is no time such as 30d or 12h", c.expiring)
		}
		c.filter.Expires = now.Add(d)
		if c.filter.State == "" {
			c.filter.State = "valid"
		}
	}
	limit := c.filter.Limit
	if limit < 0 {
		return usage("--limit %d is below 0", limit)
	}
	if c.issuer != "" {
		c.filter.Limit = 0
	}
	a, err := c.at.open(cmd.Context(), s)
	if err != nil {
		return err
	}
	entries, err := a.List(cmd.Context(), c.filter)
	if err != nil {
		return authorityFailure("the journal cannot be read", err)
	}
	if c.issuer != "" {
		entries = slices.DeleteFunc(entries, func(e ca.Entry) bool { return e.Issuer != c.issuer })
		if limit > 0 && len(entries) > limit {
			entries = entries[:limit]
		}
	}
	if c.output != "table" {
		if entries == nil {
			entries = []ca.Entry{}
		}
		return writeAs(s.Out, c.output, entries)
	}
	t := newTable(s.Out, "SERIAL", "STATE", "PROFILE", "SUBJECT", "NAMES", "EXPIRES", "ISSUER")
	for _, e := range entries {
		state := e.State(now)
		if e.Reason != "" {
			state += " (" + e.Reason + ")"
		}
		t.row(e.Serial, state, string(e.Profile), e.Title(), strings.Join(e.Names, ","), e.NotAfter.UTC().Format(time.DateOnly), firstOf(e.ID, e.Issuer))
	}
	t.flush()
	return nil
}

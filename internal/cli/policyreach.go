package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/cli/reach"
	"github.com/hakone-gateway/hakone/internal/diag"
)

func newPolicyReach(s Streams) *cobra.Command {
	var f folders
	var output string
	var all bool
	cmd := &cobra.Command{
		Use:   "reach --config DIR",
		Short: "Show who gets in where, and prove that nothing else is open",
		Long: `Shows for every host of which a policy covers something, and every path that a policy or route names, what a client gets: without a
certificate, with one of each CA, with a revoked and with an expired one. It then asks for each closed path in some twenty other spellings, and
looks for other hosts, ports without TLS and rewrites that lead to the same origin and path without a certificate.
The clients are of stand-ins for the CAs of the configuration, so spec.allow and spec.deny do not count (marked *); hakone policy test asks
about one client with all of it. Exit code 3 means that there is a way around a policy.`,
		Example: "  hakone policy reach --config ./manifests\n  hakone policy reach --config ./manifests -o json --all",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(output, "table", "json", "yaml"); err != nil {
				return err
			}
			snapshot, ds, now, err := f.load(cmd)
			if err != nil {
				return err
			}
			ds = aboutPolicies(ds)
			survey, err := reach.Take(snapshot, now, all)
			if err != nil {
				return &Failure{What: "the survey cannot be made", Cause: err.Error(), Exit: ExitFailed}
			}
			if output == "table" {
				writeDiagnostics(s.Err, ds)
				writeSurvey(s.Out, survey, len(ds) == 0)
			} else if err := writeAs(s.Out, output, map[string]any{"survey": survey, "diagnostics": emptyNotNull(ds)}); err != nil {
				return err
			}
			if survey.Grave() || len(ds) > 0 {
				return silent(ExitFindings)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	cmd.Flags().BoolVar(&all, "all", false, "show hosts without any policy too")
	f.register(cmd)
	return cmd
}

// maxColumns is how many CAs have a column of their own.
const maxColumns = 4

// writeSurvey writes the table and the findings. sound says that no policy has errors.
func writeSurvey(w io.Writer, v *reach.Survey, sound bool) {
	var cas []int // indexes of good clients
	for i, c := range v.Clients {
		if c.Name != "none" && c.State == "" {
			cas = append(cas, i)
		}
	}
	headers := []string{"PORT", "HOST", "PATH", "POLICY", "NONE"}
	if len(cas) <= maxColumns {
		for _, i := range cas {
			headers = append(headers, strings.ToUpper(v.Clients[i].Name))
		}
	} else {
		headers = append(headers, "LETS IN")
	}
	t := newTable(w, append(headers, "REVOKED", "EXPIRED")...)
	for i := range v.Rows {
		r := &v.Rows[i]
		path := r.Path
		if r.Method != "" {
			path = r.Method + " " + path
		}
		port := strings.TrimPrefix(r.Listener, "*:")
		if !r.TLS {
			port += " plain"
		}
		cells := []string{port, r.Host, path, r.Policy, cell(r.Answers[0], false)}
		var in []string
		for _, n := range cas {
			if len(cas) <= maxColumns {
				cells = append(cells, cell(r.Answers[n], r.Rules))
			} else if got := r.Answers[n].Outcome; got == reach.Allow || got == reach.Redirect {
				in = append(in, v.Clients[n].Name)
			}
		}
		if len(cas) > maxColumns {
			cells = append(cells, strings.Join(in, ", "))
		}
		revoked := bad(v, r, "revoked")
		if revoked == string(reach.Allow) && r.NoList {
			revoked += " (no list)"
		}
		t.row(append(cells, revoked, bad(v, r, "expired"))...)
	}
	t.flush()
	if len(v.Rows) == 0 {
		fmt.Fprintln(w, "no host that is served has a policy on client certificates")
	}
	for _, f := range v.Findings {
		word := "note"
		if f.Grave {
			word = "WAY AROUND"
		}
		fmt.Fprintf(w, "%s: %s%s: %s\n", word, f.Host, f.Path, f.Message)
		if f.Fix != "" {
			fmt.Fprintf(w, "  fix: %s\n", f.Fix)
		}
	}
	held := slices.ContainsFunc(v.Rows, func(r reach.Row) bool { return r.Policy != "" })
	switch {
	case v.Grave() || len(v.Rows) == 0:
	case !sound || !held:
		fmt.Fprintf(w, "%d requests were decided; the policies have errors or cover nothing, so this proves nothing\n", v.Probes)
	default:
		fmt.Fprintf(w, "%d requests were decided; none gets around a policy\n", v.Probes)
	}
}

// cell says what a client gets. A star says that spec.allow or spec.deny choose among those let in.
func cell(a reach.Answer, rules bool) string {
	text := string(a.Outcome)
	switch a.Outcome {
	case reach.Deny, reach.Refuse:
		text += " " + a.Code.String()
	case reach.NotServed:
		text = "404"
	case reach.Allow:
		if a.Verdict == "audit" {
			text += " (audit " + a.Code.String() + ")"
		} else if rules && a.Verdict == "allow" {
			text += "*"
		}
	}
	return text
}

// bad says what clients of a state get, of the CAs whose good clients are let in because of their
// certificate.
func bad(v *reach.Survey, r *reach.Row, state string) string {
	out, code := "", diag.Code(0)
	for i, c := range v.Clients {
		if c.State != state || r.Answers[0].Outcome == reach.Allow && r.Answers[0].Verdict != "audit" {
			continue
		}
		good := -1
		for j, g := range v.Clients {
			if g.Name == c.Name && g.State == "" {
				good = j
			}
		}
		if good < 0 || r.Answers[good].Outcome != reach.Allow || r.Answers[good].Code != 0 {
			continue
		}
		a := r.Answers[i]
		if text := cell(a, false); out == "" || a.Outcome == reach.Allow || code == 0 {
			out, code = text, a.Code
			if a.Outcome == reach.Allow {
				return out
			}
		}
	}
	return out
}

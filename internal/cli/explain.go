package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/diag"
)

func newExplain(s Streams) *cobra.Command {
	var flags adminFlags
	var output string
	var all bool
	cmd := &cobra.Command{
		Use:   "explain HKnnnn|SLUG|REQUEST-ID",
		Short: "Explain a code, or tell the story of a request",
		Long: `With a code (HK2101) or its slug (client_cert_missing): what it means, why, and what to do; works offline.
With a request ID or connection number from a log, answer or error page: what happened, from the running process.`,
		Example: "  hakone explain HK2101\n  hakone explain client_cert_unknown_ca\n  hakone explain 0f8fad5b-d9cb-469f-a165-70867728950e\n  hakone explain --all -o json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 || all && len(args) == 0 {
				return nil
			}
			return usage("hakone explain takes one code or request ID")
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(output, "text", "json", "yaml"); err != nil {
				return err
			}
			if all {
				return explainAll(s, output)
			}
			code, err := diag.ParseCode(args[0])
			if err == nil {
				e, _ := diag.Lookup(code)
				if output != "text" {
					return writeAs(s.Out, output, entryJSON(e))
				}
				writeEntry(s, e)
				return nil
			}
			if looksLikeCode(args[0]) {
				return &Failure{What: err.Error(), Fix: "hakone explain --all lists every code", Exit: ExitUsage}
			}
			return explainRequest(cmd, s, &flags, args[0], output)
		},
		ValidArgsFunction: func(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			var out []string
			for _, e := range diag.Catalogue() {
				out = append(out, e.Code.String()+"\t"+e.Title)
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text, json or yaml")
	cmd.Flags().BoolVar(&all, "all", false, "list every code")
	flags.register(cmd)
	return cmd
}

func looksLikeCode(s string) bool {
	return len(s) >= 3 && strings.EqualFold(s[:2], "HK") && strings.Trim(s[2:], "0123456789") == ""
}

func writeEntry(s Streams, e diag.Entry) {
	fmt.Fprintf(s.Out, "%s %s: %s\n\n%s\n\nfix: %s\n", e.Code, e.Slug, e.Title, e.Cause, e.Fix)
	if e.Status != 0 {
		fmt.Fprintf(s.Out, "\nwhere HTTP is reachable the answer is %d\n", e.Status)
	}
}

func entryJSON(e diag.Entry) map[string]any {
	return map[string]any{"code": e.Code, "slug": e.Slug, "severity": e.Severity, "title": e.Title, "cause": e.Cause, "fix": e.Fix, "status": e.Status}
}

func explainAll(s Streams, output string) error {
	if output != "text" {
		var list []any
		for _, e := range diag.Catalogue() {
			list = append(list, entryJSON(e))
		}
		return writeAs(s.Out, output, list)
	}
	t := newTable(s.Out, "CODE", "SLUG", "MEANING")
	for _, e := range diag.Catalogue() {
		t.row(e.Code.String(), e.Slug, e.Title)
	}
	t.flush()
	return nil
}

// explainRequest prints what the running process recorded, then the catalogue's words on its code.
func explainRequest(cmd *cobra.Command, s Streams, flags *adminFlags, id, output string) error {
	client, err := flags.client()
	if err != nil {
		return err
	}
	var record map[string]any
	if err := client.Get(cmd.Context(), "/explain/"+url.PathEscape(id), &record); err != nil {
		return err
	}
	if output != "text" {
		return writeAs(s.Out, output, record)
	}
	if err := writeAs(s.Out, "yaml", record); err != nil {
		return err
	}
	for _, code := range codesIn(record) {
		e, _ := diag.Lookup(code)
		fmt.Fprintln(s.Out)
		writeEntry(s, e)
	}
	return nil
}

// codesIn finds the codes that a record names, at any depth, once each.
func codesIn(v any) []diag.Code {
	var out []diag.Code
	seen := map[diag.Code]bool{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, child := range v {
				if text, ok := child.(string); ok && k == "code" {
					if c, err := diag.ParseCode(text); err == nil && !seen[c] {
						seen[c] = true
						out = append(out, c)
					}
				}
				walk(child)
			}
		case []any:
			for _, child := range v {
				walk(child)
			}
		case json.RawMessage:
			var inner any
			if json.Unmarshal(v, &inner) == nil {
				walk(inner)
			}
		}
	}
	walk(v)
	return out
}

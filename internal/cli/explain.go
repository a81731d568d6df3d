package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/diag"
)

func newExplain(s Streams) *cobra.Command {
	var flags adminFlags
	var output, store string
	var all bool
	cmd := &cobra.Command{
		Use:   "explain HKnnnn|SLUG|REQUEST-ID",
		Short: "Explain a code, or tell the story of a request",
		Long: `With a code (HK2101) or its slug (client_cert_missing): what it means, why, and what to do; works offline.
With a request ID (RayID) or connection number from a log, answer or error page, or a client's ADDRESS:PORT: what happened, from the running process and the logs that it keeps,
or with --log-store from the folder that hakone run has as --log-store.`,
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
			if store != "" {
				return explainOffline(cmd.Context(), s.Out, store, args[0], output)
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
	cmd.Flags().StringVar(&store, "log-store", "", "read this folder instead of asking a running process")
	flags.register(cmd)
	return cmd
}

func looksLikeCode(s string) bool {
	return len(s) >= 3 && strings.EqualFold(s[:2], "HK") && strings.Trim(s[2:], "0123456789") == ""
}

func writeEntry(s Streams, e diag.Entry) {
	fmt.Fprintf(s.Out, "%s %s: %s\n\n%s\n\nfix: %s\n", e.Code, e.Slug, e.Title, e.Cause, e.Fix)
	if e.Status != 0 {
		fmt.Fprintf(s.Out, "\nA request refused for this is answered %d.\n", e.Status)
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

// explainRequest tells what the running process recorded, and the catalogue's words on its codes.
func explainRequest(cmd *cobra.Command, s Streams, flags *adminFlags, id, output string) error {
	client, err := flags.client()
	if err != nil {
		return err
	}
	var raw []byte
	if err := client.Get(cmd.Context(), "/explain/"+url.PathEscape(id), &raw); err != nil {
		return err
	}
	return writeStory(s.Out, raw, output)
}

func writeStory(w io.Writer, raw json.RawMessage, output string) error {
	if output != "text" {
		return writeAs(w, output, raw)
	}
	var told story
	if err := json.Unmarshal(raw, &told); err != nil {
		return fmt.Errorf("%w: %w", admin.ErrAnswer, err)
	}
	told.write(w)
	return nil
}

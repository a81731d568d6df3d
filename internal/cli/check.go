package cli

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/server"
	"github.com/hakone-gateway/hakone/internal/source/file"
)

func newCheck(s Streams) *cobra.Command {
	var folder folderFlags
	var output, failOn, geoDB string
	cmd := &cobra.Command{
		Use:   "check DIR...",
		Short: "Say everything that is wrong with a folder of manifests",
		Long: `Reads the folders as hakone run does, without serving, and prints every diagnostic: code, severity, object, place, field, what is wrong
and how to mend it. Certificates are judged too. Exit code 3 means findings at or above --fail-on, 2 wrong usage.`,
		Example: "  hakone check ./manifests\n  hakone check ./manifests -o json --fail-on warning",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(output, "table", "json", "yaml"); err != nil {
				return err
			}
			var limit diag.Severity
			switch failOn {
			case "error":
				limit = diag.Error
			case "warning":
				limit = diag.Warning
			default:
				return usage("--fail-on %q is neither error nor warning", failOn)
			}
			settings, err := folder.settings()
			if err != nil {
				return err
			}
			settings.GeoDB = geoDB != ""
			set, sourced, err := file.New(args, slog.New(slog.DiscardHandler)).Load(cmd.Context())
			if err != nil {
				return &Failure{What: "the folder cannot be read", Code: diag.FileUnreadable, Cause: err.Error(), Fix: "check path and permissions", Exit: ExitUsage}
			}
			ds := control.Check(set, sourced, settings, server.Lint, time.Now())
			if output == "table" {
				writeDiagnostics(s.Out, ds)
				fmt.Fprintf(s.Err, "%s in %d objects\n", summary(ds), set.Len())
			} else if err := writeAs(s.Out, output, map[string]any{"diagnostics": emptyNotNull(ds), "summary": counts(ds, set.Len())}); err != nil {
				return err
			}
			if worst, any := diag.Worst(ds); any && worst >= limit {
				return silent(ExitFindings)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	cmd.Flags().StringVar(&failOn, "fail-on", "error", "exit 3 on findings of this severity or worse: error or warning")
	cmd.Flags().StringVar(&geoDB, "geoip-db", "", "the file that hakone run is given for origin pools with geo steering; it is not read here")
	folder.register(cmd)
	return cmd
}

func emptyNotNull(ds []diag.Diagnostic) []diag.Diagnostic {
	if ds == nil {
		return []diag.Diagnostic{}
	}
	return ds
}

// writeDiagnostics prints one block a finding: a head line that grep finds, then what, field and fix.
func writeDiagnostics(w io.Writer, ds []diag.Diagnostic) {
	for _, d := range ds {
		head := fmt.Sprintf("%-7s %s", d.Severity, d.Code)
		if o := d.Object.String(); o != "" {
			head += " " + o
		}
		if p := d.Position.String(); p != "" {
			head += "  " + p
		}
		if d.Field != "" {
			head += "  " + d.Field
		}
		fmt.Fprintln(w, head)
		fmt.Fprintf(w, "        %s\n", indent(d.Message))
		if d.Fix != "" {
			text, objects := apart(d.Fix)
			fmt.Fprintf(w, "        fix: %s\n%s", indent(text), objects)
		}
	}
}

// apart takes the objects that a fix ends with from its text: they are printed from the margin on, so that they can be
// copied as they are ("---" divides documents there alone). objects ends with a line feed, if there are any.
func apart(fix string) (text, objects string) {
	i := strings.Index(fix, "\napiVersion: ")
	if i < 0 {
		return fix, ""
	}
	return fix[:i], strings.TrimSpace(fix[i:]) + "\n"
}

func indent(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n        ") }

// counts is the summary as data.
func counts(ds []diag.Diagnostic, objects int) map[string]int {
	n := map[string]int{"objects": objects, "error": 0, "warning": 0, "info": 0}
	for _, d := range ds {
		n[d.Severity.String()]++
	}
	return n
}

func summary(ds []diag.Diagnostic) string {
	var n [3]int
	for _, d := range ds {
		n[d.Severity]++
	}
	return fmt.Sprintf("%s, %s, %d info", plural(n[diag.Error], "error"), plural(n[diag.Warning], "warning"), n[diag.Info])
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

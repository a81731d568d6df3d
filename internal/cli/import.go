package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/squidconf"
)

// newImport is the command that turns other programs' configuration into manifests.
func newImport(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Turn another program's configuration into manifests",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImportSquid(s))
	return cmd
}

func newImportSquid(s Streams) *cobra.Command {
	var opts squidconf.Options
	var folder, output string
	cmd := &cobra.Command{
		Use:   "squid squid.conf",
		Short: "Turn squid.conf into a ForwardProxy, with what it refers to",
		Long: `Reads squid.conf with its includes and writes manifests: a ForwardProxy, an UpstreamProxy for each parent, Secrets and ConfigMaps of the
files that are named. Each line is listed on stderr as honoured, without effect, dangerous or refused. Lines that are refused never open
what they were to close: where no other rule can, a first rule denies everything until you remove it. Secrets hold private keys: --out writes them readable for you alone. Exit code 3 means lines that are refused.`,
		Example: "  hakone import squid /etc/squid/squid.conf --out ./manifests\n  hakone run --config ./manifests --access-log-format squid",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkFormat(output, "table", "json", "yaml"); err != nil {
				return err
			}
			opts.Open, opts.Glob = os.ReadFile, filepath.Glob
			r, err := squidconf.Import(args[0], opts)
			if err != nil {
				return &Failure{What: "the configuration cannot be read", Cause: err.Error(), Fix: "check path and permissions", Exit: ExitUsage}
			}
			manifests, err := r.Manifests()
			if err != nil {
				return fmt.Errorf("import: %w", err)
			}
			if err := writeManifests(s, folder, "squid.yaml", manifests); err != nil {
				return err
			}
			if output == "table" {
				writeImported(s.Err, r)
			} else if err := writeAs(s.Err, output, imported{Lines: importedLines(r), Flags: append([]string{}, r.Flags...), DeniesAll: r.Shut}); err != nil {
				return err
			}
			if r.Worst() == squidconf.Refused {
				return silent(ExitFindings)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&folder, "out", "", "folder to write squid.yaml into (default: stdout)")
	cmd.Flags().StringVar(&opts.Name, "name", "", "name of the ForwardProxy (default: that of visible_hostname, else squid)")
	cmd.Flags().StringVar(&opts.Namespace, "namespace", "default", "namespace of all objects")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "form of the list of lines: table, json or yaml")
	return cmd
}

// writeManifests writes to stdout, or to a new file in a folder. A file that is there stays.
func writeManifests(s Streams, folder, name string, text []byte) error {
	if folder == "" {
		_, err := s.Out.Write(text)
		return err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return &Failure{What: "the folder cannot be made", Cause: err.Error(), Fix: "correct --out", Exit: ExitUsage}
	}
	path := filepath.Join(folder, name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return &Failure{What: "the manifests cannot be written", Cause: err.Error(), Fix: "remove the file that is there, or name another folder with --out", Exit: ExitUsage}
	}
	_, err = f.Write(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return &Failure{What: "the manifests cannot be written", Cause: err.Error(), Fix: "make room, or name another folder with --out", Exit: ExitFailed}
	}
	fmt.Fprintf(s.Err, "wrote %s\n", path)
	return nil
}

// writeImported lists the lines and what became of them.
func writeImported(w io.Writer, r *squidconf.Result) {
	counts := map[squidconf.Outcome]int{}
	for _, l := range r.Lines {
		counts[l.Outcome]++
		code := ""
		if l.Code != 0 {
			code = " " + l.Code.String()
		}
		fmt.Fprintf(w, "%s:%d: %s%s: %s\n", l.File, l.Number, l.Outcome, code, l.Text)
		if l.Note != "" {
			fmt.Fprintf(w, "    %s\n", l.Note)
		}
		if l.Fix != "" {
			fmt.Fprintf(w, "    fix: %s\n", l.Fix)
		}
	}
	fmt.Fprintf(w, "%d lines: %d honoured, %d without effect, %d dangerous, %d refused\n", len(r.Lines), counts[squidconf.Honoured], counts[squidconf.NoEffect], counts[squidconf.Dangerous], counts[squidconf.Refused])
	if r.Shut != "" {
		fmt.Fprintf(w, "access is denied to all by the first rule, which asks for the ACL %s: some of the refused lines closed what no other rule closes; remove the rule when that is settled\n", r.Shut)
	}
	if len(r.Flags) > 0 {
		fmt.Fprintf(w, "start with: hakone run --config DIR %s\n", strings.Join(r.Flags, " "))
	}
}

// imported is the result as JSON has it. Its fields are in docs/import-squid.md.
type imported struct {
	Lines     []importedLine `json:"lines"`
	Flags     []string       `json:"flags"` // of hakone run
	DeniesAll string         `json:"deniesAll,omitempty"`
}

// importedLine is a line as JSON has it.
type importedLine struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Text    string `json:"text"`
	Outcome string `json:"outcome"`
	Code    string `json:"code,omitempty"`
	Note    string `json:"note,omitempty"`
	Fix     string `json:"fix,omitempty"`
}

func importedLines(r *squidconf.Result) []importedLine {
	out := []importedLine{}
	for _, l := range r.Lines {
		x := importedLine{File: l.File, Line: l.Number, Text: l.Text, Outcome: string(l.Outcome), Note: l.Note, Fix: l.Fix}
		if l.Code != 0 {
			x.Code = l.Code.String()
		}
		out = append(out, x)
	}
	return out
}

package cli

import (
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/source/file"
)

func newPolicy(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Ask what policies on client certificates let in",
		Long: `Asks ClientCertificatePolicies, offline, from a folder of manifests: what one client gets (test), and what everybody gets (reach).
The answers come from the code that serves requests.`,
	}
	cmd.AddCommand(newPolicyTest(s), newPolicyReach(s))
	return cmd
}

// folders are the flags of commands that evaluate folders of manifests.
type folders struct {
	folderFlags
	dirs []string
	at   string
}

func (f *folders) register(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.dirs, "config", nil, "folder of manifests; may be repeated")
	cmd.Flags().StringVar(&f.at, "at", "", "judge certificates as at this time (RFC 3339) instead of now")
	f.folderFlags.register(cmd)
}

// load evaluates the folders, as hakone run would at its start.
func (f *folders) load(cmd *cobra.Command) (*ir.Snapshot, []diag.Diagnostic, time.Time, error) {
	now := time.Now()
	if f.at != "" {
		t, err := time.Parse(time.RFC3339, f.at)
		if err != nil {
			return nil, nil, now, usage("--at wants a time such as 2026-01-02T15:04:05Z, not %q", f.at)
		}
		now = t
	}
	if len(f.dirs) == 0 {
		return nil, nil, now, usage("--config DIR is needed")
	}
	settings, err := f.settings()
	if err != nil {
		return nil, nil, now, err
	}
	set, sourced, err := file.New(f.dirs, slog.New(slog.DiscardHandler)).Load(cmd.Context())
	if err != nil {
		return nil, nil, now, &Failure{What: "the folder cannot be read", Code: diag.FileUnreadable, Cause: err.Error(), Fix: "check path and permissions", Exit: ExitUsage}
	}
	return control.Snapshot(set, settings), control.Check(set, sourced, settings, nil, now), now, nil
}

// aboutPolicies keeps the errors about policies, without which an answer may surprise.
func aboutPolicies(ds []diag.Diagnostic) []diag.Diagnostic {
	return slices.DeleteFunc(ds, func(d diag.Diagnostic) bool {
		return d.Severity != diag.Error || d.Object.Kind != v1alpha1.KindClientCertificatePolicy
	})
}

package cli

import "github.com/spf13/cobra"

// newCert is the group of commands about certificates.
func newCert(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "Issue, renew, revoke, inspect and export certificates; see what expires",
		RunE:  group("cert", "issue, sign, renew, revoke, release, ls, export, inspect or calendar"),
	}
	cmd.AddCommand(newCertIssue(s), newCertSign(s), newCertRenew(s), newCertRevoke(s), newCertRelease(s), newCertLs(s), newCertExport(s), newCertInspect(s), newCertCalendar(s))
	return cmd
}

// group answers a command that has only sub-commands: help, or what the word may have been.
func group(name, words string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usage("hakone %s has no command %q; use %s", name, args[0], words)
		}
		return cmd.Help()
	}
}

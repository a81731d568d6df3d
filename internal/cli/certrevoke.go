package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/ca"
)

func newCertRevoke(s Streams) *cobra.Command {
	var at authorityFlags
	var reason string
	cmd := &cobra.Command{
		Use:     "revoke SERIAL|FINGERPRINT|FILE...",
		Short:   "Revoke certificates, and publish the list",
		Long:    "Revokes all that are named, or none, and publishes a new revocation list. A revocation is final, except with --reason certificateHold, which hakone cert release ends.",
		Example: "  hakone cert revoke client.crt --reason keyCompromise\n  hakone cert revoke 5a3f…",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return standing(cmd, s, &at, args, "revoked", func(a authority, refs []string) ([]ca.Entry, error) {
				return a.Revoke(cmd.Context(), reason, refs...)
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why: "+strings.Join(ca.Reasons(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(ca.Reasons(), cobra.ShellCompDirectiveNoFileComp))
	at.registerAll(cmd)
	return cmd
}

func newCertRelease(s Streams) *cobra.Command {
	var at authorityFlags
	cmd := &cobra.Command{
		Use: "release SERIAL|FINGERPRINT|FILE...", Short: "Make valid again what was revoked with certificateHold", Args: cobra.MinimumNArgs(1),
		Example: "  hakone cert release client.crt",
		RunE: func(cmd *cobra.Command, args []string) error {
			return standing(cmd, s, &at, args, "released", func(a authority, refs []string) ([]ca.Entry, error) { return a.Release(cmd.Context(), refs...) })
		},
	}
	at.registerAll(cmd)
	return cmd
}

// standing changes what certificates are worth, and says which.
func standing(cmd *cobra.Command, s Streams, at *authorityFlags, args []string, word string, change func(authority, []string) ([]ca.Entry, error)) error {
	var refs []string
	for _, arg := range args {
		ref, err := reference(s, arg)
		if err != nil {
			return err
		}
		refs = append(refs, ref)
	}
	a, err := at.open(cmd.Context(), s)
	if err != nil {
		return err
	}
	entries, err := change(a, refs)
	if err != nil {
		return at.named(authorityFailure("nothing was "+word, err))
	}
	for _, e := range entries {
		fmt.Fprintf(s.Out, "%s %s %s\n", word, e.Serial, e.Title())
	}
	fmt.Fprintf(s.Err, "takes effect within 2 s in a hakone run that has this authority open (--ca-dir, --ca-secret); within --revocation-refresh (1 h) in others that fetch lists or ask OCSP; "+
		"where a list stands in a ConfigMap, when that is written anew: hakone ca crl%s -o configmap --config-map NAME\n", at.words())
	return nil
}

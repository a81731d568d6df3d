package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/ca"
)

// rotation explains the steps; each command's help has its part.
const rotationHelp = `A root is changed in three steps, so that everybody trusts the new one before anything it issued is served:

  prepare   makes the next root and issuer, which vouch for the old ones and the other way round, and puts both roots into the trust bundle. What is issued
            still comes from the old issuer. Now distribute the bundle (hakone ca show --bundle) to everybody who verifies.
  switch    what is issued comes from the new issuer, with the cross-signed root in its chain, so that those who know only the old root still follow it.
            Now renew what is in use (hakone cert ls --issuer lists it).
  retire    takes the old root out of the trust bundle; refused while certificates of it are valid, unless --force.

Each step may be repeated, and is finished by repeating it if it was cut off.`

func newCARotate(s Streams) *cobra.Command {
	cmd := &cobra.Command{Use: "rotate", Short: "Change the root with an overlap: prepare, switch, retire; status", Long: rotationHelp,
		Example: "  hakone ca rotate prepare\n  hakone ca rotate status\n  hakone ca rotate switch\n  hakone ca rotate retire",
		RunE:    group("ca rotate", "prepare, switch, retire or status")}
	cmd.AddCommand(newRotateStep(s, ca.Prepare, "Make the next root and issuer, trusted beside the old ones"),
		newRotateStep(s, ca.Switch, "Let the new issuer issue"), newRotateStep(s, ca.Retire, "Take the old root out of the trust bundle"), newRotateStatus(s))
	return cmd
}

func newRotateStep(s Streams, step ca.Step, short string) *cobra.Command {
	var at authorityFlags
	var o ca.RotateOptions
	var keyType, subject string
	cmd := &cobra.Command{
		Use: string(step), Short: short, Long: rotationHelp, Args: cobra.NoArgs, Example: "  hakone ca rotate " + string(step),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Key, err = parseKeyKind(keyType); err != nil {
				return err
			}
			if subject != "" {
				if o.Subject, err = ca.ParseSubject(subject); err != nil {
					return authorityFailure("--subject cannot be used", err)
				}
			}
			a, err := at.open(cmd.Context(), s)
			if err != nil {
				return err
			}
			r, found, err := a.Rotate(cmd.Context(), step, o)
			if err != nil {
				return at.named(refused(s, "the rotation cannot go on", found, err))
			}
			tellFindings(s, found)
			fmt.Fprintln(s.Out, rotationWords(r))
			fmt.Fprintln(s.Err, nextStep(r))
			return nil
		},
	}
	if step == ca.Prepare {
		cmd.Flags().StringVar(&keyType, "key-type", "", "keys of the new root and issuer (default: as before)")
		cmd.Flags().StringVar(&subject, "subject", "", "name of the new root (default: the old one's with a number)")
	}
	if step == ca.Retire {
		cmd.Flags().BoolVar(&o.Force, "force", false, "although certificates of the old root are still valid: they will be refused")
	}
	at.registerAll(cmd)
	return cmd
}

func newRotateStatus(s Streams) *cobra.Command {
	var at authorityFlags
	var output string
	cmd := &cobra.Command{
		Use: "status", Short: "Show how far a rotation has come, and what to do next", Args: cobra.NoArgs, Example: "  hakone ca rotate status",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(output, "table", "json", "yaml"); err != nil {
				return err
			}
			a, err := at.open(cmd.Context(), s)
			if err != nil {
				return err
			}
			info, err := a.Info(cmd.Context())
			if err != nil {
				return authorityFailure("the authority cannot be read", err)
			}
			if output != "table" {
				return writeAs(s.Out, output, info.Rotation)
			}
			fmt.Fprintln(s.Out, rotationWords(info.Rotation))
			fmt.Fprintln(s.Err, nextStep(info.Rotation))
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	at.registerAll(cmd)
	return cmd
}

// rotationWords says where a rotation stands.
func rotationWords(r ca.Rotation) string {
	switch r.Stage {
	case "prepared":
		return fmt.Sprintf("prepared: generation %d issues, generation %d stands ready, both roots are trusted", r.Generation, r.Next)
	case "switched":
		left := "no certificate of the old one is valid any more"
		if r.OldValid > 0 {
			left = plural(r.OldValid, "certificate") + " of the old one still valid"
			if r.OldUntil != nil {
				left += ", the last until " + r.OldUntil.UTC().Format(time.DateOnly)
			}
		}
		return fmt.Sprintf("switched: generation %d issues, generation %d is to retire; %s", r.Generation, r.Old, left)
	}
	return fmt.Sprintf("steady: generation %d issues, no rotation is under way", r.Generation)
}

// nextStep says what a person does now.
func nextStep(r ca.Rotation) string {
	switch {
	case r.Stage == "prepared":
		return "next: give the trust bundle to everybody who verifies (hakone ca show --bundle), then hakone ca rotate switch"
	case r.Stage == "switched" && r.OldValid > 0:
		return strings.Join([]string{"next: renew what comes from the old issuer (hakone cert ls --state valid, hakone cert renew) and revoke what was replaced (hakone cert revoke --reason superseded)", "then hakone ca rotate retire"}, ", ")
	case r.Stage == "switched":
		return "next: hakone ca rotate retire"
	}
	return "next: nothing; a rotation begins with hakone ca rotate prepare"
}

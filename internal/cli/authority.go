package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/calendar"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/enroll"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// authorityFlags say which authority a command is about, and where it is.
type authorityFlags struct {
	dir        string
	name       string
	secret     string
	folder     string
	passphrase string
	admin      adminFlags
	flags      *cobra.Command
}

// register adds the flags, apart from --config and --admin.
func (f *authorityFlags) register(cmd *cobra.Command) {
	f.flags = cmd
	cmd.Flags().StringVar(&f.dir, "ca-dir", defaultAuthorityDir(), "folder of the authority ($HAKONE_CA_DIR)")
	cmd.Flags().StringVar(&f.name, "name", ca.DefaultName, "which authority of the folder")
	cmd.Flags().StringVar(&f.secret, "secret", "", "NAMESPACE or NAMESPACE/NAME of an authority kept in Secret manifests of --config, instead of --ca-dir")
	cmd.Flags().StringVar(&f.passphrase, "passphrase-file", os.Getenv("HAKONE_CA_PASSPHRASE_FILE"), "file with the passphrase of the authority's keys, - for standard input")
}

// registerAll adds --config and --admin too, for commands that have no such flags of their own.
func (f *authorityFlags) registerAll(cmd *cobra.Command) {
	f.register(cmd)
	cmd.Flags().StringVar(&f.folder, "config", "", "folder of the Secret manifests for --secret")
	f.admin.register(cmd)
	cmd.Flags().Lookup("admin").Usage = "ask the authority of the running process at this address instead of opening its folder"
}

// defaultAuthorityDir is $HAKONE_CA_DIR, else hakone/ca in the user's configuration folder.
func defaultAuthorityDir() string {
	if dir := os.Getenv("HAKONE_CA_DIR"); dir != "" {
		return dir
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		dir = "."
	}
	return filepath.Join(dir, "hakone", "ca")
}

// authority is an authority, of this process's disk or of a running process.
type authority interface {
	Info(context.Context) (ca.Info, error)
	Issue(context.Context, ca.Request) (*ca.Issued, []ca.Finding, error)
	Sign(context.Context, []byte, ca.Request) (*ca.Issued, []ca.Finding, error)
	Renew(context.Context, string, ca.Renewal) (*ca.Issued, []ca.Finding, error)
	Revoke(context.Context, string, ...string) ([]ca.Entry, error)
	Release(context.Context, ...string) ([]ca.Entry, error)
	Get(context.Context, string) (*ca.Issued, error)
	List(context.Context, ca.Filter) ([]ca.Entry, error)
	CRL(ctx context.Context, id string, publish bool, life time.Duration) (*ca.List, error)
	CRLs(context.Context) ([]byte, error)
	Bundle(context.Context) ([]byte, error)
	Rotate(context.Context, ca.Step, ca.RotateOptions) (ca.Rotation, []ca.Finding, error)
}

// words repeats on a command line which authority is meant, with a blank before; "" for the default one.
func (f *authorityFlags) words() string {
	out := ""
	for _, name := range []string{"ca-dir", "name", "secret", "config", "passphrase-file", "admin"} {
		if flag := f.flags.Flags().Lookup(name); flag != nil && flag.Changed {
			out += " --" + name + " " + shellWord(flag.Value.String())
		}
	}
	return out
}

// shellWord quotes what a shell would not take as one word.
func shellWord(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@,+=%", r)
	}) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// remote reports whether the running process is to be asked.
func (f *authorityFlags) remote() bool {
	a := f.flags.Flags().Lookup("admin")
	return a != nil && a.Changed
}

// store returns where the authority is kept, and its name there.
func (f *authorityFlags) store() (ca.Store, string, error) {
	if f.secret == "" {
		return ca.Dir(f.dir), f.name, nil
	}
	if f.folder == "" {
		return nil, "", usage("--secret needs the folder of the manifests: --config DIR")
	}
	namespace, name, named := strings.Cut(f.secret, "/")
	if !named {
		name = f.name
	}
	if _, err := enroll.ParseObjectName(namespace+"/x", ""); err != nil || name == "" {
		return nil, "", usage("--secret %q is no NAMESPACE or NAMESPACE/NAME", f.secret)
	}
	return ca.Secrets(f.folder, namespace), name, nil
}

func (f *authorityFlags) options(in Streams) (ca.Options, error) {
	o := ca.Options{By: "cli"}
	if f.passphrase != "" {
		p, err := readPassword(f.passphrase, in.In)
		if err != nil {
			return o, &Failure{What: "the passphrase cannot be read", Cause: strings.TrimPrefix(err.Error(), "error: "), Fix: "correct --passphrase-file", Exit: ExitUsage}
		}
		o.Passphrase = p
	}
	return o, nil
}

// open returns the authority. Its errors are Failures.
func (f *authorityFlags) open(ctx context.Context, s Streams) (authority, error) {
	if f.remote() {
		client, err := f.admin.client()
		if err != nil {
			return nil, err
		}
		return client.Authority(f.name), nil
	}
	store, name, err := f.store()
	if err != nil {
		return nil, err
	}
	opts, err := f.options(s)
	if err != nil {
		return nil, err
	}
	a, err := ca.Open(ctx, store, name, opts)
	if err != nil {
		return nil, authorityFailure("the authority cannot be opened", err)
	}
	return admin.LocalAuthority{Authority: a}, nil
}

// expiring lists the authority's own certificates and lists; nothing where there is no authority and
// none was asked for.
func (f *authorityFlags) expiring(ctx context.Context, now time.Time) ([]calendar.Entry, error) {
	store, name, err := f.store()
	if err != nil {
		return nil, err
	}
	a, err := ca.Open(ctx, store, name, ca.Options{By: "cli"})
	if err != nil {
		var missing *ca.Error
		asked := f.secret != "" || f.flags.Flags().Changed("ca-dir") || f.flags.Flags().Changed("name")
		if errors.As(err, &missing) && missing.Code == diag.AuthorityNotFound && !asked {
			return nil, nil
		}
		return nil, authorityFailure("the authority cannot be opened", err)
	}
	info, err := a.Info()
	if err != nil {
		return nil, authorityFailure("the authority cannot be read", err)
	}
	return admin.AuthorityExpiries(info, now), nil
}

// named lets the commands in the fix of a Failure name the authority that was asked.
func (f *authorityFlags) named(err error) error {
	var mine *Failure
	if words := f.words(); words != "" && errors.As(err, &mine) {
		var pairs []string
		for _, command := range []string{"cert ls", "cert renew", "cert revoke", "ca rotate prepare", "ca rotate switch", "ca rotate retire"} {
			pairs = append(pairs, "hakone "+command, "hakone "+command+words)
		}
		mine.Fix = strings.NewReplacer(pairs...).Replace(mine.Fix)
	}
	return err
}

// authorityFailure makes a Failure of an error of the authority or of an enrolment.
func authorityFailure(what string, err error) error {
	var mine *ca.Error
	var theirs *enroll.Error
	var bytes *secret.Error
	var problem *admin.Problem
	switch {
	case errors.As(err, &mine):
		exit := ExitFailed
		switch mine.Code {
		case diag.AuthorityNotFound, diag.AuthoritySetup, diag.IssueInvalid, diag.CSRInvalid, diag.RevocationReason, diag.AuthorityExists:
			exit = ExitUsage
		case diag.CertRefused:
			exit = ExitFindings
		}
		return &Failure{What: what, Code: mine.Code, Cause: mine.Error(), Fix: mine.Fix, Exit: exit}
	case errors.As(err, &theirs):
		return &Failure{What: what, Code: theirs.Code, Cause: theirs.Error(), Fix: theirs.Fix, Exit: ExitUsage}
	case errors.As(err, &bytes):
		return &Failure{What: what, Code: bytes.Code, Cause: bytes.Error(), Fix: bytes.Fix, Exit: ExitUsage}
	case errors.As(err, &problem), errors.Is(err, admin.ErrUnreachable), errors.Is(err, admin.ErrAnswer):
		return err
	}
	return &Failure{What: what, Cause: err.Error(), Fix: "mend the cause and try again", Exit: ExitFailed}
}

// tellFindings writes what an authority said beside what it did, one a line, to stderr.
func tellFindings(s Streams, found []ca.Finding) {
	for _, f := range found {
		fmt.Fprintf(s.Err, "%-7s %s  %s", f.Severity, f.Code, f.Message)
		if f.Fix != "" {
			fmt.Fprintf(s.Err, " — fix: %s", f.Fix)
		}
		fmt.Fprintln(s.Err)
	}
}

// refused shows the findings of a refusal, then makes the Failure.
func refused(s Streams, what string, found []ca.Finding, err error) error {
	var e *ca.Error
	if errors.As(err, &e) && len(e.Findings) > 0 {
		found = e.Findings
	}
	tellFindings(s, found)
	return authorityFailure(what, err)
}

// parseKeyKind reads --key-type; ok is false after a Failure.
func parseKeyKind(text string) (ca.KeyKind, error) {
	if text == "" {
		return "", nil
	}
	k, err := ca.ParseKeyKind(text)
	if err != nil {
		return "", authorityFailure(fmt.Sprintf("--key-type %q cannot be used", text), err)
	}
	return k, nil
}

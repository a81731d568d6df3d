package cli

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/ca"
)

// request carries the flags that say what to issue.
type request struct {
	profile     string
	subject, cn string
	sans        []string
	life        string
	days        int
	keyType     string
	pathLength  int
	permit      []string
	exclude     []string
}

func (q *request) register(cmd *cobra.Command, profile string) {
	f := cmd.Flags()
	f.StringVar(&q.profile, "profile", profile, "what the certificate is for: "+profiles())
	f.StringSliceVar(&q.sans, "san", nil, "a name: host, wildcard, IP address, e-mail address or URI; may be repeated")
	f.StringVar(&q.cn, "cn", "", "common name")
	f.StringVar(&q.subject, "subject", "", `whole subject, as "CN=name,O=organization"`)
	f.StringVar(&q.life, "for", "", "how long it is valid: 15y, 90d, 12h (default: the profile's)")
	f.IntVar(&q.days, "days", 0, "how many days it is valid, instead of --for")
	f.IntVar(&q.pathLength, "path-length", 0, "profile intermediate: how many CAs may stand below")
	f.StringSliceVar(&q.permit, "permit", nil, "profile intermediate: domains and networks that it may issue for, and none else")
	f.StringSliceVar(&q.exclude, "exclude", nil, "profile intermediate: domains and networks that it may not issue for")
	_ = cmd.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions(strings.Split(profiles(), ", "), cobra.ShellCompDirectiveNoFileComp))
}

func (q *request) registerKey(cmd *cobra.Command, initial string) {
	cmd.Flags().StringVar(&q.keyType, "key-type", initial, "kind of the key: "+kinds())
	_ = cmd.RegisterFlagCompletionFunc("key-type", cobra.FixedCompletions(strings.Split(kinds(), ", "), cobra.ShellCompDirectiveNoFileComp))
}

func profiles() string {
	var out []string
	for _, p := range ca.Profiles() {
		out = append(out, string(p))
	}
	return strings.Join(out, ", ")
}

// parse makes what the authority takes.
func (q *request) parse() (ca.Request, error) {
	var r ca.Request
	var err error
	if r.Profile, err = ca.ParseProfile(q.profile); err != nil {
		return r, authorityFailure("--profile cannot be used", err)
	}
	if q.subject != "" {
		if r.Subject, err = ca.ParseSubject(q.subject); err != nil {
			return r, authorityFailure("--subject cannot be used", err)
		}
	}
	if q.cn != "" {
		if q.subject != "" {
			return r, usage("--cn and --subject exclude each other")
		}
		r.Subject = pkix.Name{CommonName: q.cn}
	}
	if r.Validity, err = validityFlag(q.life, q.days); err != nil {
		return r, err
	}
	if r.Key, err = parseKeyKind(q.keyType); err != nil {
		return r, err
	}
	for _, n := range q.sans {
		r.Names = append(r.Names, strings.TrimSpace(n))
	}
	r.PathLength = q.pathLength
	r.Constraints = constraintsOf(q.permit, q.exclude)
	return r, nil
}

func constraintsOf(permit, exclude []string) ca.Constraints {
	var c ca.Constraints
	for n, list := range [][]string{permit, exclude} {
		for _, name := range list {
			dns, ip := &c.PermittedDNS, &c.PermittedIP
			if n == 1 {
				dns, ip = &c.ExcludedDNS, &c.ExcludedIP
			}
			if _, _, err := net.ParseCIDR(name); err == nil {
				*ip = append(*ip, name)
			} else {
				*dns = append(*dns, name)
			}
		}
	}
	return c
}

func validityFlag(life string, days int) (time.Duration, error) {
	switch {
	case days < 0 || days > 200*365:
		return 0, usage("--days %d is out of range", days)
	case life != "" && days != 0:
		return 0, usage("--for and --days exclude each other")
	case life != "":
		d, err := parseSpan(life)
		if err != nil {
			return 0, usage("--for %q is no time such as 15y, 90d or 12h", life)
		}
		return d, nil
	}
	return time.Duration(days) * 24 * time.Hour, nil
}

func newCertIssue(s Streams) *cobra.Command {
	var at authorityFlags
	var q request
	d := delivery{s: s}
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Make a key and a certificate for it",
		Long: `Makes a key, and has the authority (hakone ca init) certify it. What clients would refuse is refused before anything is signed. The certificate file holds
the chain, the key file has mode 0600; a key that is there is never written over without --force. The authority keeps no keys of others.`,
		Example: `  hakone cert issue --profile origin --san mtls_bkend.mtls-test.net --key-type rsa-2048 --for 15y --cert mtls_bkend.crt --key mtls_bkend.key
  hakone cert issue --profile client --cn alice --out alice
  hakone cert issue --san '*.example.com' -o secret --secret-name istio-system/example > secret.yaml
  hakone cert issue --profile client --cn bob -o pkcs12 --password-file pw --out bob`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := q.parse()
			if err != nil {
				return err
			}
			name := r.Subject.CommonName
			if len(r.Names) > 0 {
				name = r.Names[0]
			}
			if name == "" {
				return &Failure{What: "the certificate would have no name", Fix: "give --san HOST, or --cn NAME for a client", Exit: ExitUsage}
			}
			p, err := d.prepare(name, false)
			if err != nil {
				return err
			}
			a, err := at.open(cmd.Context(), s)
			if err != nil {
				return err
			}
			i, found, err := a.Issue(cmd.Context(), r)
			if err != nil {
				return refused(s, "nothing was issued", found, err)
			}
			return handOver(cmd.Context(), s, a, &d, p, i, found)
		},
	}
	q.register(cmd, string(ca.Server))
	q.registerKey(cmd, string(ca.ECDSAP256))
	d.register(cmd)
	at.registerAll(cmd)
	return cmd
}

// handOver delivers what was issued, and says what it is.
func handOver(ctx context.Context, s Streams, a authority, d *delivery, p *plan, i *ca.Issued, found []ca.Finding) error {
	tellFindings(s, found)
	bundle, err := a.Bundle(ctx)
	if err != nil {
		return authorityFailure("the trust bundle cannot be made", err)
	}
	fmt.Fprintf(s.Err, "%s certificate %s of %s, valid until %s\n", i.Entry.Profile, i.Entry.Serial, i.Entry.Issuer, i.Entry.NotAfter.UTC().Format(time.DateOnly))
	return d.deliver(ctx, p, parcel{chain: i.ChainPEM(), key: i.Key, ca: bundle, entry: &i.Entry})
}

func newCertSign(s Streams) *cobra.Command {
	var at authorityFlags
	var q request
	d := delivery{s: s}
	cmd := &cobra.Command{
		Use:   "sign REQUEST",
		Short: "Certify the key of a certificate signing request",
		Long: `Reads a request (PKCS #10, PEM or DER; - for standard input) whose signature proves that the sender has the key. Subject and names are those of the
request unless --san, --cn or --subject say otherwise; usages are the profile's. Writes the certificate with its chain to standard output, or to --out or --cert.`,
		Example: "  hakone cert sign --profile client client.csr > client.crt\n  openssl req -new -key k -subj /CN=x | hakone cert sign --san x.example.com -",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := q.parse()
			if err != nil {
				return err
			}
			csr, err := readInput(args[0], s.In)
			if err != nil {
				return &Failure{What: "the request cannot be read", Cause: err.Error(), Fix: "name the file, or - for standard input", Exit: ExitUsage}
			}
			p, err := d.prepare("", true)
			if err != nil {
				return err
			}
			a, err := at.open(cmd.Context(), s)
			if err != nil {
				return err
			}
			i, found, err := a.Sign(cmd.Context(), csr, r)
			if err != nil {
				return refused(s, "nothing was signed", found, err)
			}
			return handOver(cmd.Context(), s, a, &d, p, i, found)
		},
	}
	q.register(cmd, string(ca.Server))
	d.register(cmd)
	for _, name := range []string{"key", "secret-name", "password-file", "legacy"} {
		_ = cmd.Flags().MarkHidden(name) // there is no key to write
	}
	at.registerAll(cmd)
	return cmd
}

// reference turns an argument into what the authority finds: a file's certificate, or the text itself.
func reference(s Streams, arg string) (string, error) {
	b, err := readInput(arg, s.In)
	switch {
	case err == nil:
		return string(b), nil
	case errors.Is(err, fs.ErrNotExist):
		return arg, nil
	}
	return "", &Failure{What: fmt.Sprintf("%s cannot be read", arg), Cause: err.Error(), Fix: "give a serial number, a fingerprint or a certificate file", Exit: ExitUsage}
}

func newCertRenew(s Streams) *cobra.Command {
	var at authorityFlags
	var life, keyType, csr string
	var days int
	var r ca.Renewal
	d := delivery{s: s}
	cmd := &cobra.Command{
		Use:   "renew SERIAL|FINGERPRINT|FILE",
		Short: "Issue a certificate again, with the same names",
		Long: `Issues again what the authority has issued, from the CA that issues now: same profile, subject, names and length of life, and a new key of the same kind.
The old certificate stays valid until it expires or is revoked. With --same-key the old key is certified again, with --csr FILE that of a request.`,
		Example: "  hakone cert renew origin.crt --out origin-new\n  hakone cert renew 5a3f… --cert origin.crt --key origin.key --force",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if r.Validity, err = validityFlag(life, days); err != nil {
				return err
			}
			if r.Key, err = parseKeyKind(keyType); err != nil {
				return err
			}
			if csr != "" {
				if r.CSR, err = readInput(csr, s.In); err != nil {
					return &Failure{What: "the request cannot be read", Cause: err.Error(), Fix: "correct --csr", Exit: ExitUsage}
				}
			}
			ref, err := reference(s, args[0])
			if err != nil {
				return err
			}
			a, err := at.open(cmd.Context(), s)
			if err != nil {
				return err
			}
			old, err := a.Get(cmd.Context(), ref)
			if err != nil {
				return authorityFailure("nothing was renewed", err)
			}
			p, err := d.prepare(nameOfEntry(old.Entry), r.SameKey || csr != "")
			if err != nil {
				return err
			}
			i, found, err := a.Renew(cmd.Context(), ref, r)
			if err != nil {
				return refused(s, "nothing was renewed", found, err)
			}
			return handOver(cmd.Context(), s, a, &d, p, i, found)
		},
	}
	f := cmd.Flags()
	f.StringVar(&life, "for", "", "how long it is valid: 15y, 90d, 12h (default: as long as before)")
	f.IntVar(&days, "days", 0, "how many days it is valid, instead of --for")
	f.StringVar(&keyType, "key-type", "", "kind of the new key (default: as before)")
	f.BoolVar(&r.SameKey, "same-key", false, "certify the old key again")
	f.StringVar(&csr, "csr", "", "certify the key of this request, - for standard input")
	d.register(cmd)
	at.registerAll(cmd)
	return cmd
}

func nameOfEntry(e ca.Entry) string {
	if len(e.Names) > 0 {
		return e.Names[0]
	}
	return strings.TrimPrefix(strings.Split(e.Subject, ",")[0], "CN=")
}

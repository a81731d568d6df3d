package cli

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/enroll"
)

// newCA is the group of commands about the authority itself.
func newCA(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Make and keep an authority of your own: root, issuer, revocation lists, OCSP, rotation",
		Long: `The authority lives in a folder (--ca-dir), in Secret manifests (--secret NAMESPACE/NAME --config DIR), or in a running process (--admin ADDRESS).
What it issues is the matter of hakone cert.`,
		RunE: group("ca", "init, show, rotate, crl or ocsp"),
	}
	cmd.AddCommand(newCAInit(s), newCAShow(s), newCARotate(s), newCACRL(s), newCAOCSP(s))
	return cmd
}

// caInit carries the flags of "hakone ca init".
type caInit struct {
	s                         Streams
	at                        authorityFlags
	setup                     ca.Setup
	subject, keyType          string
	rootFor, issuerFor        string
	crlLifetime, ocspLifetime string
	permit, exclude           []string
}

func newCAInit(s Streams) *cobra.Command {
	i := &caInit{s: s}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make an authority: a root, and an issuer below it",
		Long: `Makes the keys (mode 0600) and certificates of a root and of the issuer below it, and the journal of what they issue. An authority that is there
already is never replaced. With --url, certificates say where revocation is asked about; serve that address with hakone ca ocsp or hakone run.`,
		Example: `  hakone ca init
  hakone ca init --subject "CN=Example Origin CA,O=Example" --key-type rsa-4096 --url http://ca.example.net:8080
  hakone ca init --name clients --root-only --permit example.com --for 10y
  hakone ca init --secret istio-system/default --config ./manifests`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return i.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&i.subject, "subject", "", `name of the root, as "CN=Example CA,O=Example" (default: CN=Hakone CA, or CN=Hakone CA NAME)`)
	f.StringVar(&i.keyType, "key-type", "ecdsa-p256", "keys of root and issuer: "+kinds())
	f.StringVar(&i.rootFor, "for", "25y", "how long the root is valid (25y, 9125d)")
	f.StringVar(&i.issuerFor, "issuer-for", "", "how long the issuer is valid (default: 20y, or a fifth less than the root)")
	f.BoolVar(&i.setup.RootOnly, "root-only", false, "no issuer: the root itself issues")
	f.IntVar(&i.setup.PathLength, "path-length", 0, "how many CAs may stand below the issuer")
	f.StringVar(&i.setup.URL, "url", "", "where the authority is served (http://HOST[:PORT]): certificates name their OCSP responder and list there")
	f.StringSliceVar(&i.permit, "permit", nil, "names that may be issued, and none else: a domain with all below it, or a network (10.0.0.0/8); may be repeated")
	f.StringSliceVar(&i.exclude, "exclude", nil, "domains and networks that are never issued; may be repeated")
	f.StringVar(&i.crlLifetime, "crl-lifetime", "7d", "from one revocation list's update to the next at the latest")
	f.StringVar(&i.ocspLifetime, "ocsp-lifetime", "12h", "how long an OCSP response may be used")
	i.at.register(cmd)
	f.StringVar(&i.at.folder, "config", "", "folder of the Secret manifests for --secret")
	return cmd
}

func kinds() string {
	var out []string
	for _, k := range ca.KeyKinds() {
		out = append(out, string(k))
	}
	return strings.Join(out, ", ")
}

func (i *caInit) run(ctx context.Context) error {
	store, name, err := i.at.store()
	if err != nil {
		return err
	}
	if err := i.parse(name); err != nil {
		return err
	}
	opts, err := i.at.options(i.s)
	if err != nil {
		return err
	}
	a, found, err := ca.Create(ctx, store, name, i.setup, opts)
	if err != nil {
		return refused(i.s, "the authority cannot be made", found, err)
	}
	tellFindings(i.s, found)
	info, err := a.Info()
	if err != nil {
		return authorityFailure("the authority cannot be read", err)
	}
	fmt.Fprintf(i.s.Out, "authority %s made in %s\n", info.Name, info.Store)
	writeCAs(i.s, info)
	fmt.Fprintf(i.s.Err, "next: hakone cert issue%[1]s --san HOST · trust bundle: hakone ca show%[1]s --bundle\n", i.at.words())
	return nil
}

// parse turns the flags into a setup.
func (i *caInit) parse(name string) error {
	if i.subject == "" {
		i.subject = "CN=Hakone CA"
		if name != ca.DefaultName {
			i.subject += " " + name
		}
	}
	var err error
	if i.setup.Subject, err = ca.ParseSubject(i.subject); err != nil {
		return authorityFailure("--subject cannot be used", err)
	}
	if i.setup.Key, err = parseKeyKind(i.keyType); err != nil {
		return err
	}
	for _, span := range []struct {
		flag, text string
		to         *time.Duration
	}{{"for", i.rootFor, &i.setup.RootValidity}, {"issuer-for", i.issuerFor, &i.setup.IssuerValidity},
		{"crl-lifetime", i.crlLifetime, &i.setup.CRLLifetime}, {"ocsp-lifetime", i.ocspLifetime, &i.setup.OCSPLifetime}} {
		if span.text == "" {
			continue
		}
		if *span.to, err = parseSpan(span.text); err != nil {
			return usage("--%s %q is no time such as 15y, 30d or 12h", span.flag, span.text)
		}
	}
	if i.issuerFor == "" {
		i.setup.IssuerValidity = min(7300*24*time.Hour, i.setup.RootValidity/5*4)
	}
	i.setup.Constraints = constraintsOf(i.permit, i.exclude)
	return nil
}

func newCAShow(s Streams) *cobra.Command {
	var at authorityFlags
	var output, configMap string
	var bundle bool
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show the authority: its CAs, how much it has issued, its rotation and lists",
		Example: "  hakone ca show\n  hakone ca show --bundle > ca.crt\n  hakone ca show --bundle -o configmap --config-map partners-ca > partners-ca.yaml\n  hakone ca show -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFormat(output, "table", "json", "yaml", "configmap"); err != nil {
				return err
			}
			a, err := at.open(cmd.Context(), s)
			if err != nil {
				return err
			}
			if output == "configmap" {
				return trustConfigMap(cmd.Context(), s, a, &at, configMap)
			}
			if bundle {
				pem, err := a.Bundle(cmd.Context())
				if err != nil {
					return authorityFailure("the trust bundle cannot be made", err)
				}
				_, err = s.Out.Write(pem)
				return err
			}
			info, err := a.Info(cmd.Context())
			if err != nil {
				return authorityFailure("the authority cannot be read", err)
			}
			if output != "table" {
				return writeAs(s.Out, output, info)
			}
			writeAuthority(s, info)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json, yaml or configmap: the trust bundle and the lists of its CAs in one ConfigMap, for caRefs")
	cmd.Flags().StringVar(&configMap, "config-map", "", "with -o configmap: NAME or NAMESPACE/NAME (default: default/hakone-ca-AUTHORITY)")
	cmd.Flags().BoolVar(&bundle, "bundle", false, "print the trust bundle as PEM instead: the root, during a rotation both")
	at.registerAll(cmd)
	return cmd
}

func writeAuthority(s Streams, info ca.Info) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(s.Out, "%-12s %s\n", name, value)
		}
	}
	line("authority", info.Name)
	line("kept in", info.Store)
	line("url", info.URL)
	if info.Encrypted {
		line("keys", "encrypted with a passphrase")
	}
	line("constraints", constraintWords(info.Constraints))
	line("issued", fmt.Sprintf("%d: %d valid, %d expired, %d revoked", info.Counts.Issued, info.Counts.Valid, info.Counts.Expired, info.Counts.Revoked))
	line("journal", fmt.Sprintf("%d lines, %d bytes, head %.16s", info.Journal.Lines, info.Journal.Bytes, info.Journal.Head))
	line("rotation", rotationWords(info.Rotation))
	fmt.Fprintln(s.Out)
	writeCAs(s, info)
	tellFindings(s, info.Findings)
}

func writeCAs(s Streams, info ca.Info) {
	now := time.Now()
	t := newTable(s.Out, "CA", "SUBJECT", "KEY", "VALID", "USE", "NEXT CRL", "FINGERPRINT")
	for _, c := range info.CAs {
		var use []string
		if c.Trusted {
			use = append(use, "trusted")
		}
		if c.Issuing {
			use = append(use, "issuing")
		}
		if c.RevokedAt != nil {
			use = append(use, "revoked")
		}
		next := ""
		if c.List != nil {
			next = c.List.NextUpdate.UTC().Format("2006-01-02 15:04Z")
		}
		t.row(c.ID, c.Subject, c.KeyType, validity(c.NotBefore, c.NotAfter, now), strings.Join(use, ", "), next, c.Fingerprint)
	}
	t.flush()
}

func constraintWords(c ca.Constraints) string {
	var out []string
	for word, names := range map[string][]string{"only ": append(append([]string{}, c.PermittedDNS...), c.PermittedIP...), "never ": append(append([]string{}, c.ExcludedDNS...), c.ExcludedIP...)} {
		if len(names) > 0 {
			out = append(out, word+strings.Join(names, ", "))
		}
	}
	if len(out) == 2 && strings.HasPrefix(out[0], "never") {
		out[0], out[1] = out[1], out[0]
	}
	return strings.Join(out, "; ")
}

// newCAOCSP serves an authority without a gateway.
func newCAOCSP(s Streams) *cobra.Command {
	var at authorityFlags
	var listen string
	cmd := &cobra.Command{
		Use:   "ocsp",
		Short: "Serve OCSP, revocation lists and CA certificates over HTTP, without a gateway",
		Long: `Answers GET and POST /ocsp/…, /crl/… and /ca/… for every authority of the folder until it is ended, and keeps lists and answers fresh. hakone run
--ca-dir does the same beside its listeners.`,
		Example: "  hakone ca ocsp --listen 127.0.0.1:8888",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, _, err := at.store()
			if err != nil {
				return err
			}
			opts, err := at.options(s)
			if err != nil {
				return err
			}
			return serveAuthority(cmd.Context(), s, store, opts, listen)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8888", "HOST:PORT to serve")
	at.register(cmd)
	cmd.Flags().StringVar(&at.folder, "config", "", "folder of the Secret manifests for --secret")
	return cmd
}

func serveAuthority(ctx context.Context, s Streams, store ca.Store, opts ca.Options, address string) error {
	service, err := ca.NewService(ctx, store, opts)
	if err != nil {
		return authorityFailure("the authority cannot be opened", err)
	}
	if len(service.Names()) == 0 {
		return &Failure{What: fmt.Sprintf("there is no authority in %s", store), Fix: "make one with hakone ca init, or correct --ca-dir", Exit: ExitUsage}
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return &Failure{What: fmt.Sprintf("%s cannot be served", address), Cause: err.Error(), Fix: "give a free address with --listen", Exit: ExitUsage}
	}
	srv := &http.Server{Handler: service, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fresh := make(chan error, 1)
	go func() { fresh <- service.Run(ctx) }()
	stop := context.AfterFunc(ctx, func() {
		end, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		if srv.Shutdown(end) != nil {
			srv.Close()
		}
	})
	defer stop()
	fmt.Fprintf(s.Err, "serving %s of %s on http://%s\n", strings.Join(service.Names(), ", "), store, ln.Addr())
	err = srv.Serve(ln)
	cancel()
	<-fresh
	if err != nil && err != http.ErrServerClosed {
		return &Failure{What: "serving ended", Cause: err.Error(), Fix: "start it again", Exit: ExitFailed}
	}
	return nil
}

// caCRL carries the flags of "hakone ca crl".
type caCRL struct {
	at      authorityFlags
	id, out string
	form    string
	life    string
	publish bool
	output  string
	object  string // of -o configmap
}

func newCACRL(s Streams) *cobra.Command {
	c := &caCRL{}
	cmd := &cobra.Command{
		Use:   "crl",
		Short: "Print or write the revocation list",
		Long: `Prints the newest revocation list; it is made anew where it is due, or with --publish in any case, with the next number. A list holds
what the CA has revoked; each CA has its own, and --ca all prints those of all CAs that are trusted or still have valid certificates. A list
lives as long as hakone ca init --crl-lifetime says; --lifetime makes one that lives longer or shorter, as for a machine that is offline for a month.`,
		Example: "  hakone ca crl > ca.crl\n  hakone ca crl --publish --form der --out ca.crl\n  hakone ca crl --lifetime 30d > month.crl\n  hakone ca crl -o configmap --config-map partners-ca > partners-ca.yaml",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context(), s) },
	}
	f := cmd.Flags()
	f.StringVar(&c.id, "ca", "", "which CA, as issuer-1 (default: the one that issues); all: of every CA")
	f.BoolVar(&c.publish, "publish", false, "make a new list even if the last one is not due")
	f.StringVar(&c.life, "lifetime", "", "make a new list that lives so long (1h to 1y), this once")
	f.StringVar(&c.form, "form", "pem", "pem or der")
	f.StringVar(&c.out, "out", "", "file to write (default: standard output)")
	f.StringVarP(&c.output, "output", "o", "list", "list, or configmap: the lists of all CAs with the trust bundle in one ConfigMap, for caRefs")
	f.StringVar(&c.object, "config-map", "", "with -o configmap: NAME or NAMESPACE/NAME (default: default/hakone-ca-AUTHORITY)")
	c.at.registerAll(cmd)
	return cmd
}

func (c *caCRL) run(ctx context.Context, s Streams) error {
	if c.form != "pem" && c.form != "der" {
		return usage("--form %q is neither pem nor der", c.form)
	}
	if err := checkFormat(c.output, "list", "configmap"); err != nil {
		return err
	}
	if c.output == "configmap" && (c.id != "" || c.out != "" || c.publish || c.life != "" || c.form != "pem") {
		return usage("-o configmap holds the newest lists of all CAs; it does not go with --ca, --form, --out, --publish or --lifetime")
	}
	var life time.Duration
	if c.life != "" {
		var err error
		if life, err = parseSpan(c.life); err != nil {
			return usage("--lifetime %q is no time such as 30d or 12h", c.life)
		}
		c.publish = true
	}
	a, err := c.at.open(ctx, s)
	if err != nil {
		return err
	}
	if c.output == "configmap" {
		return trustConfigMap(ctx, s, a, &c.at, c.object)
	}
	var data []byte
	if c.id == "all" {
		if c.form != "pem" || c.publish {
			return usage("--ca all goes with --form pem, and not with --publish or --lifetime")
		}
		if data, err = a.CRLs(ctx); err != nil {
			return authorityFailure("the lists cannot be made", err)
		}
	} else {
		list, err := a.CRL(ctx, c.id, c.publish, life)
		if err != nil {
			return authorityFailure("the list cannot be made", err)
		}
		data = list.DER
		if c.form == "pem" {
			data = enroll.ListPEM(list.DER)
		}
		fmt.Fprintf(s.Err, "list %d of %s: %d revoked, next update %s\n", list.Number, list.CA, list.Entries, list.NextUpdate.UTC().Format(time.RFC3339))
	}
	if c.out == "" {
		_, err = s.Out.Write(data)
		return err
	}
	if err := enroll.WriteFiles(true, enroll.File{Path: c.out, Data: data}); err != nil {
		return authorityFailure("the list cannot be written", err)
	}
	return nil
}

package cli

import (
	"context"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/enroll"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/source/file"
)

// newEgressCA is the group of commands about the CA that Hakone intercepts with.
func newEgressCA(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Make the CA that a ForwardProxy intercepts with, and hand it to workloads",
		Long: `The interception CA stands below the authority of hakone ca, so that what workloads trust (the authority's root) stays when the interception CA is
changed. Its name constraints keep it to the destinations outside that are listed: clients refuse whatever else it would sign.`,
		RunE: group("egress ca", "create or configmap"),
	}
	cmd.AddCommand(newEgressCACreate(s), newEgressCAConfigMap(s))
	return cmd
}

// egressCA carries the flags of "hakone egress ca create".
type egressCA struct {
	s               Streams
	at              authorityFlags
	folder          folderFlags
	d               delivery
	permit, exclude []string
	hosts           []string
	forward         string
	anyHost         bool
	cn, life, key   string
}

func newEgressCACreate(s Streams) *cobra.Command {
	e := &egressCA{s: s, d: delivery{s: s}}
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an interception CA that may sign for the listed destinations alone",
		Long: `Issues a CA below the authority (hakone ca init), with name constraints: --permit, and with --hosts-from the destinations that a folder of manifests
knows: what ForwardProxies know by ServiceEntries, and hosts of UpstreamProxies. A domain permits all names below it; addresses are permitted one by one
or as networks, and no others. The Secret goes to interception.caRef. To change the CA, create the next one and replace the Secret: workloads that trust
the authority's root notice nothing.`,
		Example: `  hakone egress ca create --permit example.com --permit api.example.org --secret-name egress/interception-ca > interception-ca.yaml
  hakone egress ca create --hosts-from ./manifests --secret-name egress/interception-ca > interception-ca.yaml
  hakone egress ca create --any-host -o pem --out interception-ca`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&e.permit, "permit", nil, "domain, address or network that it may sign for; may be repeated")
	f.StringSliceVar(&e.exclude, "exclude", nil, "domain or network that it may not sign for, below a permitted one; may be repeated")
	f.StringArrayVar(&e.hosts, "hosts-from", nil, "folder of manifests whose known destinations it may sign for; may be repeated")
	f.StringVar(&e.forward, "forward-proxy", "", "with --hosts-from: only what this ForwardProxy knows (NAMESPACE/NAME)")
	f.BoolVar(&e.anyHost, "any-host", false, "no constraints: whoever has its key can be any server to whoever trusts it")
	f.StringVar(&e.cn, "cn", "Hakone interception CA", "common name")
	f.StringVar(&e.life, "for", "1y", "how long it is valid: 1y, 90d")
	f.StringVar(&e.key, "key-type", string(ca.ECDSAP256), "kind of the key: "+kinds()+"; RSA costs a millisecond for each new destination")
	e.d.register(cmd)
	f.Lookup("output").DefValue = "secret"
	_ = f.Set("output", "secret") // as if it were asked for: to standard output unless --out says otherwise
	e.folder.register(cmd)
	e.at.registerAll(cmd)
	return cmd
}

func (e *egressCA) run(ctx context.Context) error {
	r := ca.Request{Profile: ca.Intermediate, Subject: pkix.Name{CommonName: e.cn}}
	var err error
	if r.Validity, err = validityFlag(e.life, 0); err != nil {
		return err
	}
	if r.Key, err = parseKeyKind(e.key); err != nil {
		return err
	}
	if r.Constraints, err = e.constraints(ctx); err != nil {
		return err
	}
	p, err := e.d.prepare("interception-ca", false)
	if err != nil {
		return err
	}
	a, err := e.at.open(ctx, e.s)
	if err != nil {
		return err
	}
	i, found, err := a.Issue(ctx, r)
	if err != nil {
		return refused(e.s, "no interception CA was made", found, err)
	}
	if err := handOver(ctx, e.s, a, &e.d, p, i, found); err != nil {
		return err
	}
	fmt.Fprintf(e.s.Err, "it may sign: %s\nnext: name the Secret in interception.caRef of the ForwardProxy · for workloads: hakone egress ca configmap%s\n",
		firstOf(constraintWords(r.Constraints), "for every name"), e.at.words())
	return nil
}

// constraints gathers what the CA may sign for. A CA that is to sign for some names must not sign for any
// address, so addresses are excluded where none is permitted (RFC 5280 section 4.2.1.10 constrains only
// the kinds of names that are mentioned).
func (e *egressCA) constraints(ctx context.Context) (ca.Constraints, error) {
	if e.anyHost {
		if len(e.permit)+len(e.hosts) > 0 {
			return ca.Constraints{}, usage("--any-host goes with neither --permit nor --hosts-from")
		}
		return constraintsOf(nil, e.exclude), nil
	}
	names := slices.Clone(e.permit)
	if len(e.hosts) > 0 {
		known, err := e.known(ctx)
		if err != nil {
			return ca.Constraints{}, err
		}
		names = append(names, known...)
	}
	var c ca.Constraints
	for i, n := range names {
		if addr, err := netip.ParseAddr(n); err == nil {
			names[i] = netip.PrefixFrom(addr, addr.BitLen()).String()
		}
	}
	c = constraintsOf(smallest(names), e.exclude)
	switch {
	case len(c.PermittedDNS) == 0:
		return c, &Failure{What: "there is no domain that the CA may sign for", Fix: "give --permit DOMAIN or --hosts-from DIR; --any-host makes one without constraints", Exit: ExitUsage}
	case len(c.PermittedIP) == 0:
		c.ExcludedIP = append(c.ExcludedIP, "0.0.0.0/0", "::/0")
	}
	return c, nil
}

// smallest drops repeats, and domains below others.
func smallest(names []string) []string {
	for i, n := range names {
		names[i] = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(n)), "*.")
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return slices.ContainsFunc(names, func(other string) bool { return strings.HasSuffix(n, "."+other) })
	})
}

// known returns the destinations that a folder of manifests knows.
func (e *egressCA) known(ctx context.Context) ([]string, error) {
	settings, err := e.folder.settings()
	if err != nil {
		return nil, err
	}
	set, _, err := file.New(e.hosts, slog.New(slog.DiscardHandler)).Load(ctx)
	if err != nil {
		return nil, &Failure{What: "the folder cannot be read", Code: diag.FileUnreadable, Cause: err.Error(), Fix: "check path and permissions", Exit: ExitUsage}
	}
	s := control.Snapshot(set, settings)
	var out []string
	take := func(p hostname.Pattern, what string) {
		if p.IsAny() {
			fmt.Fprintf(e.s.Err, "%s is for every host, which constraints cannot say: left out\n", what)
			return
		}
		out = append(out, p.String())
	}
	found := false
	for _, f := range s.Config.Forwards {
		if e.forward != "" && f.Name != e.forward {
			continue
		}
		found = true
		for _, k := range f.Known {
			take(k.Host, "a host that ForwardProxy "+f.Name+" knows")
		}
	}
	if e.forward != "" && !found {
		return nil, &Failure{What: "there is no ForwardProxy " + e.forward + " in the folder", Fix: "it has " + firstOf(strings.Join(forwardNames(s), ", "), "none"), Exit: ExitUsage}
	}
	for _, p := range s.Config.Proxies {
		for _, h := range p.Hosts {
			take(h, "hosts of UpstreamProxy "+p.Name)
		}
	}
	return out, nil
}

func forwardNames(s *ir.Snapshot) []string {
	var out []string
	for _, f := range s.Config.Forwards {
		out = append(out, f.Name)
	}
	return out
}

// newEgressCAConfigMap hands the trust bundle to workloads.
func newEgressCAConfigMap(s Streams) *cobra.Command {
	var at authorityFlags
	var name string
	var add []string
	cmd := &cobra.Command{
		Use:   "configmap",
		Short: "Print the ConfigMap with which workloads trust the interception CA",
		Long: `Prints the authority's trust bundle as a ConfigMap with the entry ca.crt: during hakone ca rotate the old and the new root side by side. Programs that
replace their roots by a file (SSL_CERT_FILE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE) need the public roots in it too: --add /etc/ssl/certs/ca-certificates.crt.
A CA that was made elsewhere is handed out by --add alone, with --only-added.`,
		Example: `  hakone egress ca configmap --config-map shop/egress-ca > egress-ca.yaml
  hakone egress ca configmap --config-map shop/egress-ca --add /etc/ssl/certs/ca-certificates.crt | kubectl apply -f -`,
		Args: cobra.NoArgs,
	}
	var only bool
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		object, err := enroll.ParseObjectName(firstOf(name, "hakone-egress-ca"), enroll.DefaultNamespace)
		if err != nil {
			return authorityFailure("--config-map cannot be used", err)
		}
		var bundle []byte
		if !only {
			a, err := at.open(cmd.Context(), s)
			if err != nil {
				return err
			}
			if bundle, err = a.Bundle(cmd.Context()); err != nil {
				return authorityFailure("the trust bundle cannot be made", err)
			}
		} else if len(add) == 0 {
			return usage("--only-added needs --add FILE")
		}
		all, err := addCAs(bundle, add)
		if err != nil {
			return err
		}
		_, err = s.Out.Write(enroll.TrustConfigMap(object, all, nil))
		return err
	}
	f := cmd.Flags()
	f.StringVar(&name, "config-map", "", "NAME or NAMESPACE/NAME (default: default/hakone-egress-ca)")
	f.StringArrayVar(&add, "add", nil, "PEM file of CAs to add, such as the system's roots or the former interception CA; may be repeated")
	f.BoolVar(&only, "only-added", false, "leave the authority out")
	at.registerAll(cmd)
	return cmd
}

// addCAs joins the CAs of files to a bundle, each once, in order. What is no CA is refused: whoever trusts the
// bundle would trust it as one.
func addCAs(bundle []byte, files []string) ([]byte, error) {
	seen := map[string]bool{}
	var out []byte
	take := func(data []byte, from string) error {
		b, _, err := secret.ParseBundle(data)
		if err != nil {
			return &Failure{What: from + " holds no CA", Cause: err.Error(), Fix: "give a PEM file of CA certificates", Exit: ExitUsage}
		}
		for _, c := range b.Certificates {
			if from != "" && !c.IsCA {
				return &Failure{What: fmt.Sprintf("%s holds %s, which is no CA", from, secret.Subject(c)), Fix: "give CA certificates alone", Exit: ExitUsage}
			}
			if print := secret.Fingerprint(c); !seen[print] {
				seen[print] = true
				out = append(out, enroll.ChainPEM(c)...)
			}
		}
		return nil
	}
	if len(bundle) > 0 {
		if err := take(bundle, ""); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, &Failure{What: "--add cannot be read", Cause: err.Error(), Fix: "correct the path", Exit: ExitUsage}
		}
		if err := take(data, f); err != nil {
			return nil, err
		}
	}
	return out, nil
}

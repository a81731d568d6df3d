package cli

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/cli/reach"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// policyTest carries the flags of "hakone policy test".
type policyTest struct {
	folders
	cert, output string
	port         int
	person       reach.Person
	headers      []string
	query        reach.Query
}

func newPolicyTest(s Streams) *cobra.Command {
	t := &policyTest{}
	cmd := &cobra.Command{
		Use:   "test --config DIR --host HOST --path PATH [--cert FILE | --subject NAME]",
		Short: "Say whether one client gets into a host and path, and why",
		Long: `Says whether a client is let in, which policy decided, and why. The client has the certificate of --cert (PEM, with its chain), one that
--subject and --san describe and that a CA of the configuration might have issued, or none. Revocation is looked up in the lists of the
configuration only. Exit code 0 means let in, 3 turned away.`,
		Example: `  hakone policy test --config ./manifests --host mtls_lb.mtls-test.net --path /test1 --cert client.crt
  hakone policy test --config ./manifests --host shop.example.com --path /admin --subject CN=vera,O=Example`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.run(cmd, s) },
	}
	cmd.Flags().StringVar(&t.query.Host, "host", "", "host that the client asks for")
	cmd.Flags().StringVar(&t.query.Path, "path", "/", "path that the client asks for, as it sends it")
	cmd.Flags().StringVar(&t.query.Method, "method", "GET", "method of the request")
	cmd.Flags().StringArrayVar(&t.headers, "header", nil, "header field of the request, as NAME: VALUE; may be repeated")
	cmd.Flags().IntVar(&t.port, "port", 0, "port as the configuration declares it (default: the one with TLS)")
	cmd.Flags().StringVar(&t.cert, "cert", "", "file with the client's certificate and its chain, PEM or DER")
	cmd.Flags().StringVar(&t.person.Subject, "subject", "", "subject of an imagined certificate, as CN=vera,O=Example")
	cmd.Flags().StringArrayVar(&t.person.Names, "san", nil, "subject alternative name of it: dns:NAME, uri:URI, email:ADDRESS or ip:ADDRESS; may be repeated")
	cmd.Flags().StringVar(&t.person.Issuer, "issuer", "", "common name of the CA that would have issued it (default: any)")
	cmd.Flags().StringVarP(&t.output, "output", "o", "text", "text, json or yaml")
	t.register(cmd)
	return cmd
}

func (t *policyTest) run(cmd *cobra.Command, s Streams) error {
	if err := checkFormat(t.output, "text", "json", "yaml"); err != nil {
		return err
	}
	imagined := t.person.Subject != "" || len(t.person.Names) > 0 || t.person.Issuer != ""
	switch {
	case t.query.Host == "":
		return usage("--host is needed")
	case t.cert != "" && imagined:
		return usage("--cert stands beside --subject, --san or --issuer; give one client")
	}
	for _, h := range t.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok || name == "" {
			return usage("--header %q is no NAME: VALUE", h)
		}
		t.query.Headers = append(t.query.Headers, [2]string{name, strings.TrimSpace(value)})
	}
	snapshot, ds, now, err := t.load(cmd)
	if err != nil {
		return err
	}
	if ds = aboutPolicies(ds); len(ds) > 0 {
		writeDiagnostics(s.Err, ds)
	}
	a, who, err := t.ask(snapshot, now, imagined)
	if err != nil {
		return err
	}
	if t.output == "text" {
		tellAnswer(s, a, who)
	} else if err := writeAs(s.Out, t.output, map[string]any{"client": who, "host": t.query.Host, "answer": a}); err != nil {
		return err
	}
	if a.Outcome != reach.Allow && a.Outcome != reach.Redirect {
		return silent(ExitFindings)
	}
	return nil
}

// ask returns the answer, and who got it in words.
func (t *policyTest) ask(snapshot *ir.Snapshot, now time.Time, imagined bool) (reach.Answer, string, error) {
	world, who := reach.New(snapshot, now), "a client without a certificate"
	listener, err := t.listener(world)
	if err != nil {
		return reach.Answer{}, "", err
	}
	q := t.query
	switch {
	case t.cert != "":
		if q.Presented, err = readChain(t.cert); err != nil {
			return reach.Answer{}, "", err
		}
		who = fmt.Sprintf("the client %s (issued by %s)", q.Presented[0].Subject, q.Presented[0].Issuer)
	case imagined:
		world, clients, err := reach.Imagine(snapshot, now, t.person)
		if err != nil {
			return reach.Answer{}, "", usage("%s", err)
		}
		var last reach.Answer
		for _, c := range clients {
			q.Presented = c.Presented
			last = world.Ask(listener, q)
			who = fmt.Sprintf("a client %s (as issued by %s)", c.Presented[0].Subject, c.Issuer)
			if last.Outcome == reach.Allow || last.Outcome == reach.Redirect {
				return last, who, nil
			}
		}
		if len(clients) > 1 {
			who = fmt.Sprintf("a client %s (as issued by any of the %d CAs)", t.person.Subject, len(clients))
		}
		return last, who, nil
	}
	return world.Ask(listener, q), who, nil
}

// listener finds the listener that the client comes to.
func (t *policyTest) listener(world *reach.World) (string, error) {
	ports := world.Ports(strings.ToLower(t.query.Host))
	var known []string
	for _, l := range ports {
		if t.port == 0 || int(l.Port) == t.port {
			return l.Name, nil
		}
		known = append(known, fmt.Sprint(l.Port))
	}
	f := &Failure{What: "no listener serves host " + t.query.Host, Code: diag.NoHost, Fix: "correct --host, or look at hakone policy reach --all", Exit: ExitUsage}
	if len(known) > 0 {
		f.What, f.Fix = fmt.Sprintf("host %s is not served on port %d", t.query.Host, t.port), "use --port "+strings.Join(known, " or ")
	}
	return "", f
}

// readChain reads certificates, PEM or DER.
func readChain(file string) ([]*x509.Certificate, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, &Failure{What: "the certificate cannot be read", Cause: err.Error(), Fix: "correct --cert", Exit: ExitUsage}
	}
	var out []*x509.Certificate
	bad := func(err error) error {
		return &Failure{What: file + " holds no usable certificate", Code: diag.CertUnparsable, Cause: err.Error(), Fix: "hakone cert inspect " + file + " says what it is", Exit: ExitUsage}
	}
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, bad(err)
		}
		out = append(out, c)
	}
	if len(out) > 0 {
		return out, nil
	}
	c, err := x509.ParseCertificate(b)
	if err != nil {
		return nil, bad(err)
	}
	return []*x509.Certificate{c}, nil
}

// tellAnswer says in three lines what became of a request: the outcome, who decided, and why.
func tellAnswer(s Streams, a reach.Answer, who string) {
	outcome := map[reach.Outcome]string{reach.Allow: "allow", reach.Redirect: "allow", reach.Deny: "deny", reach.Refuse: "refuse", reach.NotServed: "not served"}[a.Outcome]
	where := "listener " + a.Listener
	if a.Chain != "" {
		where += ", " + a.Chain
	}
	if a.Target != "" {
		outcome = "redirect to " + a.Target
	}
	fmt.Fprintf(s.Out, "%s: %s at %s\n", outcome, who, where)
	policy := a.Policy
	if a.Display != "" {
		policy += fmt.Sprintf(" (%s)", a.Display)
	}
	switch {
	case a.Handshake && policy != "":
		fmt.Fprintf(s.Out, "  decided by: policy %s, in the handshake\n", policy)
	case a.Handshake:
		fmt.Fprintln(s.Out, "  decided by: the listener's TLS settings, in the handshake")
	case policy != "":
		fmt.Fprintf(s.Out, "  decided by: policy %s\n", policy)
	default:
		fmt.Fprintln(s.Out, "  decided by: no policy covers this host and path")
	}
	fmt.Fprintf(s.Out, "  because: %s\n", because(a))
}

func because(a reach.Answer) string {
	why := a.Detail
	if e, ok := diag.Lookup(a.Code); ok {
		why = strings.TrimSuffix(fmt.Sprintf("%s %s: %s", e.Code, e.Title, a.Detail), ": ")
	}
	switch {
	case a.Verdict == "audit":
		why = "the policy only watches (mode Audit); it would say " + why
	case why != "":
	case a.Verdict == "allow":
		why = "the policy lets the client in"
		if len(a.Upstreams) > 0 {
			why += ", to " + strings.Join(a.Upstreams, ", ")
		}
	case a.Target != "":
		why = "everybody is redirected to " + a.Target + " there, and nothing else is served"
	default:
		why = "everybody is let in there"
		if len(a.Upstreams) > 0 {
			why += ", to " + strings.Join(a.Upstreams, ", ")
		}
	}
	if !a.Asked && a.TLS {
		why += "; the handshake asks nobody for a certificate"
	}
	return why
}

package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/enroll"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// certExport carries the flags of "hakone cert export".
type certExport struct {
	at                authorityFlags
	d                 delivery
	fromCert, fromKey string
	fromCA            string
}

func newCertExport(s Streams) *cobra.Command {
	c := &certExport{d: delivery{s: s}}
	cmd := &cobra.Command{
		Use:   "export [SERIAL|FINGERPRINT]",
		Short: "Write a certificate in another form: PEM, PKCS #12, Kubernetes Secret, JSON",
		Long: `Takes a certificate and key from files (--from-cert, --from-key), or what the authority has issued, without its key, which it does not keep. The chain is
put in order. PKCS #12 uses AES-256, or with --legacy triple DES for importers that know no better.`,
		Example: `  hakone cert export --from-cert a.crt --from-key a.key -o pkcs12 --password-file pw --out a
  hakone cert export --from-cert a.crt --from-key a.key -o secret --secret-name istio-system/a
  hakone cert export 5a3f… > a.crt`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, s, args) },
	}
	f := cmd.Flags()
	f.StringVar(&c.fromCert, "from-cert", "", "certificate file to read, with its chain")
	f.StringVar(&c.fromKey, "from-key", "", "key file to read")
	f.StringVar(&c.fromCA, "from-ca", "", "file of CAs to put beside it as ca.crt")
	c.d.register(cmd)
	c.at.registerAll(cmd)
	return cmd
}

func (c *certExport) run(cmd *cobra.Command, s Streams, args []string) error {
	if (len(args) == 1) == (c.fromCert != "") {
		return usage("hakone cert export takes either a serial number or fingerprint, or --from-cert")
	}
	x := parcel{}
	name := ""
	if len(args) == 1 {
		a, err := c.at.open(cmd.Context(), s)
		if err != nil {
			return err
		}
		ref, err := reference(s, args[0])
		if err != nil {
			return err
		}
		i, err := a.Get(cmd.Context(), ref)
		if err != nil {
			return authorityFailure("the certificate cannot be found", err)
		}
		if x.ca, err = a.Bundle(cmd.Context()); err != nil {
			return authorityFailure("the trust bundle cannot be made", err)
		}
		x.chain, x.entry, name = i.ChainPEM(), &i.Entry, nameOfEntry(i.Entry)
	} else {
		pair, err := c.files(s, &x)
		if err != nil {
			return err
		}
		name = firstOf(firstOf(strings.Join(pair.Leaf.DNSNames[:min(1, len(pair.Leaf.DNSNames))], ""), pair.Leaf.Subject.CommonName), "certificate")
	}
	p, err := c.d.prepare(name, x.key.Len() == 0)
	if err != nil {
		return err
	}
	return c.d.deliver(cmd.Context(), p, x)
}

// files reads certificate, key and CAs.
func (c *certExport) files(s Streams, x *parcel) (*secret.KeyPair, error) {
	read := func(flag, path string) ([]byte, error) {
		b, err := readInput(path, s.In)
		if err != nil {
			return nil, &Failure{What: fmt.Sprintf("the file of --%s cannot be read", flag), Cause: err.Error(), Fix: "correct the path", Exit: ExitUsage}
		}
		return b, nil
	}
	if c.fromKey == "" {
		return nil, usage("--from-cert needs --from-key")
	}
	cert, err := read("from-cert", c.fromCert)
	if err != nil {
		return nil, err
	}
	key, err := read("from-key", c.fromKey)
	if err != nil {
		return nil, err
	}
	pair, found, err := secret.ParseKeyPair(cert, key)
	if err != nil {
		return nil, authorityFailure("the certificate cannot be exported", err)
	}
	tellFindings(s, found)
	if c.fromCA != "" {
		if x.ca, err = read("from-ca", c.fromCA); err != nil {
			return nil, err
		}
		if _, _, err := secret.ParseBundle(x.ca); err != nil {
			return nil, &Failure{What: "the file of --from-ca holds no CA", Code: diag.CAInvalid, Cause: err.Error(), Fix: "point it at PEM certificates", Exit: ExitUsage}
		}
	}
	return pair, exported(pair, x)
}

// exported fills a parcel from a pair, with the chain in order and the key as PKCS #8.
func exported(pair *secret.KeyPair, x *parcel) error {
	key, err := enroll.KeyPEM(pair)
	if err != nil {
		return authorityFailure("the certificate cannot be exported", err)
	}
	x.key, x.chain = key, append(enroll.ChainPEM(pair.Leaf), enroll.ChainPEM(pair.Issuers...)...)
	return nil
}

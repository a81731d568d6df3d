package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/enroll"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// delivery says where a certificate with its key goes: files, or standard output.
type delivery struct {
	s          Streams
	base       string
	cert, key  string
	format     string
	secretName string
	password   string
	legacy     bool
	force      bool
	flags      *cobra.Command
}

func (d *delivery) register(cmd *cobra.Command) {
	d.flags = cmd
	f := cmd.Flags()
	f.StringVar(&d.base, "out", "", "path of the files without their ends: BASE.crt and BASE.key, BASE.p12, BASE.yaml (default: the first name)")
	f.StringVar(&d.cert, "cert", "", "certificate file to write, with its chain")
	f.StringVar(&d.key, "key", "", "key file to write, mode 0600")
	f.StringVarP(&d.format, "output", "o", "pem", "pem, secret (Kubernetes, kubernetes.io/tls), pkcs12 or json; without --out, --cert and --key -o writes to standard output")
	f.StringVar(&d.secretName, "secret-name", "", "NAMESPACE/NAME of the Secret (default: default/ and the first name)")
	f.StringVar(&d.password, "password-file", "", "file with the password of the PKCS #12 container, - for standard input")
	f.BoolVar(&d.legacy, "legacy", false, "write PKCS #12 with triple DES and SHA-1, for importers that know no better")
	f.BoolVar(&d.force, "force", false, "write over a private key that is there")
}

// plan is a delivery once the certificate's name is known.
type plan struct {
	stdout    bool
	cert, key string // pem
	container string // p12 or yaml
	object    enroll.ObjectName
	password  secret.Bytes
	certOnly  bool
}

// prepare refuses what cannot be delivered, before anything is issued.
func (d *delivery) prepare(name string, certOnly bool) (*plan, error) {
	if err := checkFormat(d.format, "pem", "secret", "pkcs12", "json"); err != nil {
		return nil, err
	}
	named := d.base != "" || d.cert != "" || d.key != ""
	p := &plan{certOnly: certOnly, stdout: !named && (d.flags.Flags().Changed("output") || certOnly)}
	base := d.base
	if base == "" {
		base = enroll.NameFor(name)
		if d.format == "pem" && name != "" {
			base = strings.ReplaceAll(strings.ReplaceAll(name, "*", "any"), "/", "-")
		}
	}
	if d.format != "pem" && (d.cert != "" || d.key != "") {
		return nil, usage("--cert and --key go with -o pem; name the file of -o %s with --out", d.format)
	}
	var err error
	switch d.format {
	case "pem":
		p.cert, p.key = base+".crt", base+".key"
		if d.cert != "" {
			p.cert = d.cert
			if d.base == "" && d.key == "" {
				p.key = strings.TrimSuffix(d.cert, filepath.Ext(d.cert)) + ".key"
			}
		}
		if d.key != "" {
			p.key = d.key
			if d.base == "" && d.cert == "" {
				p.cert = strings.TrimSuffix(d.key, filepath.Ext(d.key)) + ".crt"
			}
		}
	case "secret":
		p.container = base + ".yaml"
		if p.object, err = enroll.ParseObjectName(firstOf(d.secretName, enroll.NameFor(filepath.Base(base))), "default"); err != nil {
			return nil, authorityFailure("--secret-name cannot be used", err)
		}
	case "pkcs12":
		p.container = base + ".p12"
		if d.password == "" {
			return nil, &Failure{What: "a PKCS #12 container needs a password", Code: diag.PKCS12Password, Fix: "give it with --password-file FILE (- for standard input)", Exit: ExitUsage}
		}
		if p.password, err = readPassword(d.password, d.s.In); err != nil {
			return nil, err
		}
		if p.password.Len() == 0 {
			return nil, &Failure{What: "the password of the PKCS #12 container is empty", Code: diag.PKCS12Password, Fix: "put it into the first line of --password-file", Exit: ExitUsage}
		}
	case "json":
		p.container = base + ".json"
	}
	if certOnly && (d.format == "pkcs12" || d.format == "secret") {
		return nil, usage("-o %s needs the key, which is not here; use pem or json", d.format)
	}
	if p.stdout {
		return p, nil
	}
	if err := enroll.CheckFiles(d.force, p.files(nil, nil, nil)...); err != nil {
		return nil, authorityFailure("the certificate cannot be written", err)
	}
	return p, nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// files are what a plan writes.
func (p *plan) files(cert, key, container []byte) []enroll.File {
	switch {
	case p.container != "":
		return []enroll.File{{Path: p.container, Data: container, Private: !p.certOnly}}
	case p.certOnly:
		return []enroll.File{{Path: p.cert, Data: cert}}
	}
	return []enroll.File{{Path: p.cert, Data: cert}, {Path: p.key, Data: key, Private: true}}
}

// parcel is what is delivered.
type parcel struct {
	chain []byte       // PEM
	key   secret.Bytes // PEM; empty: there is none
	ca    []byte       // PEM of the trust bundle; may be empty
	entry *ca.Entry
}

// deliver writes a parcel. What is written is said on stderr.
func (d *delivery) deliver(_ context.Context, p *plan, x parcel) error {
	var container []byte
	switch d.format {
	case "secret":
		container = enroll.SecretYAML(p.object, x.chain, x.key, x.ca)
	case "pkcs12":
		pair, _, err := secret.ParseKeyPair(x.chain, x.key.Expose())
		if err != nil {
			return authorityFailure("the certificate cannot be exported", err)
		}
		if container, err = enroll.PKCS12(pair, p.password, d.legacy); err != nil {
			return authorityFailure("the certificate cannot be exported", err)
		}
	case "json":
		var b strings.Builder
		if err := writeAs(&b, "json", struct {
			*ca.Entry
			Certificate string `json:"certificate"`
			Key         string `json:"private_key,omitempty"`
			CA          string `json:"ca,omitempty"`
		}{x.entry, string(x.chain), string(x.key.Expose()), string(x.ca)}); err != nil {
			return err
		}
		container = []byte(b.String())
	}
	if p.stdout {
		out := container
		if d.format == "pem" {
			out = append(append([]byte{}, x.chain...), x.key.Expose()...)
		}
		if _, err := d.s.Out.Write(out); err != nil {
			return &Failure{What: "the output cannot be written", Cause: err.Error(), Exit: ExitFailed}
		}
		return nil
	}
	files := p.files(x.chain, x.key.Expose(), container)
	if err := enroll.WriteFiles(d.force, files...); err != nil {
		return authorityFailure("the certificate was issued, but cannot be written", err)
	}
	for _, f := range files {
		fmt.Fprintf(d.s.Err, "wrote %s\n", f.Path)
	}
	return nil
}

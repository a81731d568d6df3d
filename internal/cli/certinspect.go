package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/inspect"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/source/file"
)

// inspection carries the flags of "hakone cert inspect".
type inspection struct {
	s        Streams
	output   string
	failOn   string
	config   []string
	hosts    []string
	cas      string
	password string
	client   bool
	repair   bool
	set      *resource.Set
}

func newCertInspect(s Streams) *cobra.Command {
	i := &inspection{s: s}
	cmd := &cobra.Command{
		Use:   "inspect [FILE|URL|NAMESPACE/NAME|-]...",
		Short: "Say what any certificate, key or container is, and what is wrong with it",
		Long: `Reads certificates, requests, keys, chains, PKCS #12 and PKCS #7 containers, revocation lists and OCSP responses, as PEM or DER, alone or in a
Secret, in YAML or JSON; broken ones too: literal \n, base64 of base64, UTF-16, wrong labels, truncated. What is given is judged together, so that a key
finds its certificate. A URL (https://HOST[:PORT][?sni=NAME]) is a server to shake hands with; NAMESPACE/NAME a Secret or ConfigMap of --config.
Exit code 3 means findings at or above --fail-on.`,
		Example: `  hakone cert inspect client.crt client.key
  hakone cert inspect https://localhost:8443?sni=mtls_lb.mtls-test.net --ca ca.crt
  hakone cert inspect istio-system/httpbin-credential --config ./manifests
  kubectl get secret -o yaml x | hakone cert inspect -
  hakone cert inspect --repair broken.pem > whole.pem`,
		RunE: func(cmd *cobra.Command, args []string) error { return i.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.StringVarP(&i.output, "output", "o", "table", "table, json or yaml")
	f.StringVar(&i.failOn, "fail-on", "warning", "exit 3 on findings of this severity or worse: error, warning or info")
	f.StringSliceVar(&i.config, "config", nil, "folders in which NAMESPACE/NAME is looked up")
	f.StringSliceVar(&i.hosts, "host", nil, "hosts that the certificate is to serve")
	f.StringVar(&i.cas, "ca", "", "file of CAs that are trusted beside the machine's; the chain must lead to one of them")
	f.StringVar(&i.password, "password-file", "", "file with the password of PKCS #12 containers, - for standard input")
	f.BoolVar(&i.client, "client", false, "judge the certificate as a client's")
	f.BoolVar(&i.repair, "repair", false, "print what is usable as plain PEM, keys included, instead of the report")
	return cmd
}

func (i *inspection) run(ctx context.Context, args []string) error {
	if err := checkFormat(i.output, "table", "json", "yaml"); err != nil {
		return err
	}
	var limit diag.Severity
	if err := limit.UnmarshalText([]byte(i.failOn)); err != nil {
		return usage("--fail-on %q is none of error, warning, info", i.failOn)
	}
	opts, err := i.options()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{"-"}
	}
	rep, sessions, err := i.read(ctx, args, opts)
	if err != nil {
		return err
	}
	switch {
	case i.repair:
		if _, err := i.s.Out.Write(rep.PEM()); err != nil {
			return &Failure{What: "the output cannot be written", Cause: err.Error(), Exit: ExitFailed}
		}
		writeFindings(i.s.Err, rep.Findings)
	case i.output == "table":
		for _, item := range rep.Items {
			writeItem(i.s.Out, item)
		}
		writeSessions(i.s.Out, sessions)
		writeFindings(i.s.Out, rep.Findings)
	default:
		out := struct {
			*inspect.Report
			Sessions map[string]inspect.Session `json:"sessions,omitempty"`
		}{rep, sessions}
		if err := writeAs(i.s.Out, i.output, out); err != nil {
			return err
		}
	}
	if worst, any := diag.Worst(rep.Findings); any && worst >= limit {
		return silent(ExitFindings)
	}
	return nil
}

// options turns the flags into how to judge.
func (i *inspection) options() (inspect.Options, error) {
	opts := inspect.Options{Now: time.Now(), Client: i.client}
	opts.System, _ = x509.SystemCertPool() // nil is fine: then chains are judged without the machine's roots
	for _, h := range i.hosts {
		p, err := hostname.Parse(h)
		if err != nil {
			return opts, usage("--host: %v", err)
		}
		opts.Hosts = append(opts.Hosts, p)
	}
	if i.cas != "" {
		b, err := os.ReadFile(i.cas)
		if err != nil {
			return opts, &Failure{What: "the file of --ca cannot be read", Cause: err.Error(), Fix: "correct the path", Exit: ExitUsage}
		}
		bundle, _, err := secret.ParseBundle(b)
		if err != nil {
			return opts, &Failure{What: "the file of --ca holds no CA", Code: diag.CAInvalid, Cause: err.Error(), Fix: "point it at PEM certificates", Exit: ExitUsage}
		}
		opts.CAs = bundle
	}
	if i.password != "" {
		p, err := readPassword(i.password, i.s.In)
		if err != nil {
			return opts, err
		}
		opts.Password = &p
	}
	return opts, nil
}

// readPassword reads a password from the first line of a file, or of standard input for "-".
func readPassword(path string, in io.Reader) (secret.Bytes, error) {
	b, err := readInput(path, in)
	if err != nil {
		return secret.Bytes{}, &Failure{What: "the password cannot be read", Cause: err.Error(), Fix: "correct --password-file", Exit: ExitUsage}
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return secret.NewBytes([]byte(strings.TrimSuffix(line, "\r"))), nil
}

// readInput reads a file or, for "-", standard input, and one byte more than may be, so that the excess
// is noticed.
func readInput(path string, in io.Reader) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(io.LimitReader(in, inspect.MaxInput+1))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.IsDir() {
		return nil, errors.New(path + " is a folder")
	}
	return io.ReadAll(io.LimitReader(f, inspect.MaxInput+1))
}

// read looks at all arguments: files together, each server by itself.
func (i *inspection) read(ctx context.Context, args []string, opts inspect.Options) (*inspect.Report, map[string]inspect.Session, error) {
	var inputs []inspect.Input
	total := &inspect.Report{Items: []*inspect.Item{}, Findings: []diag.Diagnostic{}}
	sessions := map[string]inspect.Session{}
	for _, a := range args {
		if strings.Contains(a, "://") {
			e, err := inspect.ParseEndpoint(a)
			if err != nil {
				return nil, nil, usage("%v", err)
			}
			rep, session := inspect.Remote(ctx, a, e, opts)
			total.Items = append(total.Items, rep.Items...)
			total.Findings = append(total.Findings, rep.Findings...)
			if session.Version != "" {
				sessions[a] = session
			}
			continue
		}
		b, err := readInput(a, i.s.In)
		if err == nil {
			inputs = append(inputs, inspect.Input{Name: a, Data: b})
			continue
		}
		namespace, name, isRef := strings.Cut(a, "/")
		if !errors.Is(err, fs.ErrNotExist) || !isRef || strings.Contains(name, "/") || len(i.config) == 0 {
			return nil, nil, &Failure{What: fmt.Sprintf("%s cannot be read", a), Cause: err.Error(), Fix: "give a file, https://HOST:PORT, - for standard input, or NAMESPACE/NAME with --config DIR", Exit: ExitUsage}
		}
		entries, err := i.lookup(ctx, namespace, name)
		if err != nil {
			return nil, nil, err
		}
		inputs = append(inputs, entries...)
	}
	if len(inputs) > 0 {
		rep := inspect.Read(inputs, opts)
		total.Items = append(total.Items, rep.Items...)
		total.Findings = append(total.Findings, rep.Findings...)
	}
	return total, sessions, nil
}

// lookup takes the entries of a Secret or ConfigMap out of the folders of --config.
func (i *inspection) lookup(ctx context.Context, namespace, name string) ([]inspect.Input, error) {
	if i.set == nil {
		set, _, err := file.New(i.config, slog.New(slog.DiscardHandler)).Load(ctx)
		if err != nil {
			return nil, &Failure{What: "the folder cannot be read", Code: diag.FileUnreadable, Cause: err.Error(), Fix: "check path and permissions", Exit: ExitUsage}
		}
		i.set = set
	}
	var out []inspect.Input
	at := namespace + "/" + name
	if s := i.set.Secret(namespace, name); s != nil {
		for _, k := range sortedKeys(s.Data) {
			out = append(out, inspect.Input{Name: "Secret " + at, Entry: k, Data: s.Data[k]})
		}
	} else if m := i.set.ConfigMap(namespace, name); m != nil {
		for _, k := range sortedKeys(m.Data) {
			out = append(out, inspect.Input{Name: "ConfigMap " + at, Entry: k, Data: []byte(m.Data[k])})
		}
	}
	if len(out) == 0 {
		return nil, &Failure{What: fmt.Sprintf("there is no file %s, and no Secret or ConfigMap of that name with anything in it", at), Code: diag.SecretNotFound,
			Fix: "correct the name, or --config", Exit: ExitUsage}
	}
	return out, nil
}

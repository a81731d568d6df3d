package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/enroll"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/source/file"
)

// originEnroll carries the flags of "hakone origin enroll".
type originEnroll struct {
	s             Streams
	at            authorityFlags
	plan          enroll.Plan
	out, edge     string
	keyType       string
	life, pullFor string
	force         bool
	print         string
}

func newOriginEnroll(s Streams) *cobra.Command {
	e := &originEnroll{s: s}
	cmd := &cobra.Command{
		Use:   "enroll NAME --host HOST",
		Short: "Give an origin its certificate, and the edge one that only this origin accepts",
		Long: `Has the authority issue the origin's server certificate, and an authority of the origin's own (pull-NAME, made beside it) the edge's client
certificate: the origin trusts that one alone, so no other client, edge or origin gets in with what it has. Writes for the origin a folder with certificate, key, the CA of
the edge and configuration for nginx, Node.js, Go and Caddy; for the edge an OriginPool with its Secret and CA, and OriginPull for each --edge-host, into the configuration
folder's managed files (--config) or beside the origin's files (edge.yaml).`,
		Example: `  hakone origin enroll shop --host shop-origin.example.com --address 192.0.2.10 --edge-host shop.example.com --config ./manifests
  hakone origin enroll shop --host shop-origin.example.com --out ./shop --print nginx`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e.plan.Name = args[0]
			return e.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&e.plan.Hosts, "host", nil, "names of the origin's certificate; the first is what the edge verifies")
	f.StringSliceVar(&e.plan.Addresses, "address", nil, "where the origin is: HOST or HOST:PORT; may be repeated (default: the first --host, port 443)")
	f.StringSliceVar(&e.plan.EdgeHosts, "edge-host", nil, "hosts at the edge for which this certificate goes above their zone's origin pull")
	f.StringVar(&e.plan.Namespace, "namespace", enroll.DefaultNamespace, "namespace of the edge's objects")
	f.StringVar(&e.out, "out", "", "folder for the origin's files (default: ./NAME)")
	f.StringVar(&e.plan.Dir, "path", "", "where the files will be on the origin, for the configuration (default: the folder as it is here)")
	f.StringVar(&e.edge, "config", "", "configuration folder of the edge, in whose managed files the objects are written")
	f.StringVar(&e.keyType, "key-type", "ecdsa-p256", "kind of the origin's key: "+kinds())
	f.StringVar(&e.life, "for", "15y", "how long the origin's certificate is valid")
	f.StringVar(&e.pullFor, "pull-for", "1y", "how long the edge's certificate is valid")
	f.BoolVar(&e.force, "force", false, "write over a private key that is there")
	f.StringVar(&e.print, "print", "", "also print the configuration for nginx, node, go or caddy")
	e.at.register(cmd)
	return cmd
}

func (e *originEnroll) run(ctx context.Context) error {
	if err := e.prepare(); err != nil {
		return err
	}
	e.at.folder = e.edge
	store, name, err := e.at.store()
	if err != nil {
		return err
	}
	opts, err := e.at.options(e.s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(e.out, 0o755); err != nil {
		return &Failure{What: "the folder for the origin cannot be made", Cause: err.Error(), Fix: "correct --out", Exit: ExitUsage}
	}
	edgeFile := enroll.File{Path: filepath.Join(e.out, "edge.yaml"), Private: true}
	planned := e.plan.PlannedFiles(e.out)
	if e.edge == "" {
		planned = append(planned, edgeFile)
	}
	defer os.Remove(e.out) // only if nothing came to stand in it
	if err := enroll.CheckFiles(e.force, planned...); err != nil {
		return authorityFailure("the origin cannot be enrolled", err)
	}
	done, err := enroll.Origin(ctx, store, name, e.plan, opts)
	if err != nil {
		return refused(e.s, "the origin cannot be enrolled", nil, err)
	}
	tellFindings(e.s, done.Findings)
	objects, err := done.EdgeObjects(time.Now())
	if err != nil {
		return authorityFailure("the origin cannot be enrolled", err)
	}
	files := done.OriginFiles(e.out)
	if e.edge == "" {
		for _, o := range objects {
			edgeFile.Data = append(append(edgeFile.Data, "---\n"...), o.YAML...)
		}
		files = append(files, edgeFile)
	}
	if err := enroll.WriteFiles(e.force, files...); err != nil {
		return authorityFailure("the certificates were issued, but cannot be written", err)
	}
	if e.edge != "" {
		if err := writeObjects(e.edge, objects); err != nil {
			return err
		}
	}
	e.tell(done, files)
	return nil
}

// prepare reads the flags.
func (e *originEnroll) prepare() error {
	var err error
	if e.plan.Key, err = parseKeyKind(e.keyType); err != nil {
		return err
	}
	if e.plan.Validity, err = validityFlag(e.life, 0); err != nil {
		return err
	}
	if e.plan.PullFor, err = parseSpan(e.pullFor); err != nil {
		return usage("--pull-for %q is no time such as 1y, 90d or 12h", e.pullFor)
	}
	if e.out == "" {
		e.out = enroll.NameFor(e.plan.Name)
	}
	if e.plan.Dir == "" {
		if e.plan.Dir, err = filepath.Abs(e.out); err != nil {
			return &Failure{What: "the folder for the origin cannot be named", Cause: err.Error(), Fix: "correct --out", Exit: ExitUsage}
		}
	}
	if err := e.plan.Check(); err != nil {
		return authorityFailure("the origin cannot be enrolled", err)
	}
	if e.edge != "" {
		if st, err := os.Stat(e.edge); err != nil || !st.IsDir() {
			return usage("--config %s is no folder", e.edge)
		}
	}
	for _, s := range e.plan.Snippets() {
		if e.print == "" || e.print == s.Server {
			return nil
		}
	}
	return usage("--print %q is none of nginx, node, go, caddy", e.print)
}

// writeObjects puts the edge's objects into the managed files of a folder.
func writeObjects(dir string, objects []enroll.Object) error {
	var docs []file.Document
	for _, o := range objects {
		docs = append(docs, file.Document{Key: resource.Key{Group: o.Group, Kind: o.Kind, Namespace: o.Name.Namespace, Name: o.Name.Name}, YAML: o.YAML})
	}
	if err := file.Replace(dir, docs); err != nil {
		return &Failure{What: "the certificates were issued, but the edge's objects cannot be written", Code: diag.ReadOnlyFolder, Cause: err.Error(), Fix: "make the folder writable and say --force, or leave --config out and apply edge.yaml by other means", Exit: ExitFailed}
	}
	return nil
}

// tell says what was made, and what to do with it.
func (e *originEnroll) tell(done *enroll.Enrolment, files []enroll.File) {
	fmt.Fprintf(e.s.Out, "origin %s enrolled\n  server certificate  %s, %s, valid until %s\n  edge's certificate  %s, issued by %s for this origin alone, valid until %s\n", e.plan.Name,
		done.Server.Entry.Serial, strings.Join(e.plan.Hosts, ", "), done.Server.Entry.NotAfter.UTC().Format(time.DateOnly),
		done.Client.Entry.Serial, enroll.PullAuthority(e.plan.Name), done.Client.Entry.NotAfter.UTC().Format(time.DateOnly))
	for _, f := range files {
		fmt.Fprintf(e.s.Err, "wrote %s\n", f.Path)
	}
	if e.edge != "" {
		fmt.Fprintf(e.s.Err, "wrote %s, %s\n", filepath.Join(e.edge, file.ManagedFile), filepath.Join(e.edge, file.ManagedSecrets))
	}
	fmt.Fprintf(e.s.Err, "next: bring %s.crt, %s.key, edge-ca.crt and one of nginx.conf, index.js, main.go, Caddyfile to the origin\n", e.plan.Name, e.plan.Name)
	fmt.Fprintf(e.s.Err, "      put the pool in an EdgeHost (or HTTPRoute, VirtualService) of namespace %s: poolRef: {name: %s}\n", e.plan.Namespace, e.plan.Name)
	for _, s := range e.plan.Snippets() {
		if s.Server == e.print {
			fmt.Fprint(e.s.Out, "\n"+s.Text)
		}
	}
}

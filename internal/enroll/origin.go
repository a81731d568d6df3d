package enroll

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// Plan says how an origin is enrolled.
type Plan struct {
	Name      string   // of the pool and everything that belongs to it, as Kubernetes allows
	Namespace string   // of the edge's objects
	Hosts     []string // names of the origin's certificate; the first is the one that the edge verifies
	Addresses []string // HOST or HOST:PORT of the origin's servers; empty: the hosts
	EdgeHosts []string // hosts at the edge whose origin pull certificate this is, above their zone's

	Key      ca.KeyKind    // of the origin's key; empty: ECDSAP256
	Validity time.Duration // of the origin's certificate; 0: 15 years
	PullFor  time.Duration // of the edge's client certificate; 0: a year
	Dir      string        // where the origin's files will be, for the snippets
}

// Enrolment is what an origin and its edge are given.
type Enrolment struct {
	Plan     Plan
	Server   *ca.Issued   // the origin's certificate, with its key
	Client   *ca.Issued   // the edge's, with its key
	OriginCA []byte       // PEM: what the edge verifies the origin against
	EdgeCA   []byte       // PEM: what the origin verifies the edge against, and nobody else
	Findings []ca.Finding // beside what was issued

	pair *secret.KeyPair
}

// PullAuthority is the name of the authority that issues client certificates for one origin only. Every
// origin has its own: what another origin sees, and loses, opens no door here.
func PullAuthority(name string) string { return "pull-" + name }

// Check completes a plan and says what is wrong with it. The error is an *Error.
func (p *Plan) Check() error {
	if _, err := ParseObjectName(p.Namespace+"/"+p.Name, ""); err != nil || strings.Contains(p.Name, ".") || len(p.Name) > 50 {
		return fail(diag.EnrolmentInvalid, "Use at most 50 lower-case letters, digits and hyphens.", "%q in namespace %q cannot be the name of an origin", p.Name, p.Namespace)
	}
	if len(p.Hosts) == 0 {
		return fail(diag.EnrolmentInvalid, "Give --host NAME: the edge verifies it in the origin's certificate.", "the origin has no host name")
	}
	for _, h := range append(append([]string{}, p.Hosts...), p.EdgeHosts...) {
		if _, err := hostname.Parse(h); err != nil || h == "*" {
			return fail(diag.EnrolmentInvalid, "Give a DNS name or an IP address.", "%q is no host name", h)
		}
	}
	if strings.HasPrefix(p.Hosts[0], "*.") {
		return fail(diag.EnrolmentInvalid, "Give the name that the edge verifies first, then the wildcard.", "the first host %q is a wildcard", p.Hosts[0])
	}
	if len(p.Addresses) == 0 {
		p.Addresses = p.Hosts[:1]
	}
	for _, a := range p.Addresses {
		if _, _, err := splitAddress(a); err != nil {
			return failWith(err, diag.EnrolmentInvalid, "Write HOST, or HOST:PORT.", "%q is no address of an origin", a)
		}
	}
	return nil
}

func splitAddress(a string) (host string, port int, err error) {
	if net.ParseIP(a) != nil || !strings.Contains(a, ":") {
		host, port = a, 443
	} else {
		h, text, err := net.SplitHostPort(a)
		if err != nil {
			return "", 0, err
		}
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fmt.Errorf("%q is no port", text)
		}
		host, port = h, int(n)
	}
	p, err := hostname.Parse(host)
	if err != nil || !p.IsExact() {
		return "", 0, errors.New("it is neither a host name nor an IP address")
	}
	return host, port, nil
}

// Origin enrols an origin: it has the authority issue the origin's certificate, and an authority of the
// origin's own, made in the same store where there is none yet, the edge's. Nothing is written apart from
// the journals. The error is an *Error or a *ca.Error.
func Origin(ctx context.Context, store ca.Store, authority string, p Plan, o ca.Options) (*Enrolment, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	main, err := ca.Open(ctx, store, authority, o)
	if err != nil {
		return nil, err
	}
	pull, err := pullAuthority(ctx, store, p.Name, o)
	if err != nil {
		return nil, err
	}
	e := &Enrolment{Plan: p}
	var found []ca.Finding
	if e.Server, found, err = main.Issue(ctx, ca.Request{Profile: ca.Origin, Names: p.Hosts, Validity: p.Validity, Key: p.Key}); err != nil {
		return nil, err
	}
	e.Findings = append(e.Findings, found...)
	if e.Client, found, err = pull.Issue(ctx, ca.Request{Profile: ca.Client, Subject: pkix.Name{CommonName: "edge of " + p.Name}, Validity: p.PullFor}); err != nil {
		return nil, err
	}
	e.Findings = append(e.Findings, found...)
	if e.OriginCA, err = main.BundlePEM(); err != nil {
		return nil, err
	}
	if e.EdgeCA, err = pull.BundlePEM(); err != nil {
		return nil, err
	}
	if e.pair, _, err = secret.ParseKeyPair(e.Client.ChainPEM(), e.Client.Key.Expose()); err != nil {
		return nil, err
	}
	return e, nil
}

// pullAuthority opens the authority of one origin, or makes it: a root that issues for the edge only.
func pullAuthority(ctx context.Context, store ca.Store, name string, o ca.Options) (*ca.Authority, error) {
	a, err := ca.Open(ctx, store, PullAuthority(name), o)
	var missing *ca.Error
	if !errors.As(err, &missing) || missing.Code != diag.AuthorityNotFound {
		return a, err
	}
	a, _, err = ca.Create(ctx, store, PullAuthority(name), ca.Setup{Subject: pkix.Name{CommonName: "Origin pull of " + name}, RootOnly: true}, o)
	return a, err
}

// OriginFiles are what the origin gets, in a folder: its certificate and key, the CA of the edge, and the
// snippets.
func (e *Enrolment) OriginFiles(dir string) []File {
	name := e.Plan.Name
	files := []File{
		{Path: filepath.Join(dir, name+".crt"), Data: e.Server.ChainPEM()},
		{Path: filepath.Join(dir, name+".key"), Data: e.Server.Key.Expose(), Private: true},
		{Path: filepath.Join(dir, "edge-ca.crt"), Data: e.EdgeCA},
	}
	for _, s := range e.Plan.Snippets() {
		files = append(files, File{Path: filepath.Join(dir, s.File), Data: []byte(s.Text)})
	}
	return files
}

// PlannedFiles are OriginFiles without their content, to be checked before anything is issued.
func (p *Plan) PlannedFiles(dir string) []File {
	files := []File{{Path: filepath.Join(dir, p.Name+".crt")}, {Path: filepath.Join(dir, p.Name+".key"), Private: true}, {Path: filepath.Join(dir, "edge-ca.crt")}}
	for _, s := range p.Snippets() {
		files = append(files, File{Path: filepath.Join(dir, s.File)})
	}
	return files
}

// Object is a manifest that the edge gets. Its group is that of the kind: "" for core kinds.
type Object struct {
	Group, Kind string
	Name        ObjectName
	YAML        []byte
}

// EdgeObjects are what the edge gets: the client certificate, the CA of the origin, the pool, and origin
// pull for the hosts named.
func (e *Enrolment) EdgeObjects(now time.Time) ([]Object, error) {
	p := e.Plan
	named := func(suffix string) ObjectName { return ObjectName{p.Namespace, p.Name + suffix} }
	out := []Object{
		{"", "Secret", named("-pull"), SecretYAML(named("-pull"), e.Client.ChainPEM(), e.Client.Key, nil)},
		{"", "ConfigMap", named("-origin-ca"), configMap(named("-origin-ca"), e.OriginCA)},
		{"hakone.dev", "OriginPool", named(""), p.pool()},
	}
	for _, h := range p.EdgeHosts {
		pattern, err := hostname.Parse(h)
		if err != nil {
			return nil, fail(diag.EnrolmentInvalid, "Give a DNS name.", "%q is no host name", h)
		}
		name := ObjectName{p.Namespace, PullName(pattern)}
		out = append(out, Object{"hakone.dev", "OriginPull", name, PullObject(PullSetting{Name: name, Pattern: pattern, Display: "of " + p.Name, Credential: ObjectName{Name: p.Name + "-pull"}, Enabled: true, Uploaded: now})})
	}
	return out, nil
}

func (p *Plan) pool() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "apiVersion: hakone.dev/v1alpha1\nkind: OriginPool\nmetadata:\n  name: %s\n  namespace: %s\nspec:\n  origins:\n", p.Name, p.Namespace)
	for n, a := range p.Addresses {
		host, port, _ := splitAddress(a) // Check has read it
		fmt.Fprintf(&b, "  - {name: %s-%d, address: %q, port: %d}\n", p.Name, n+1, host, port)
	}
	fmt.Fprintf(&b, "  tls:\n    verifyName: %q\n    caRef: {kind: ConfigMap, name: %s-origin-ca, key: ca.crt}\n    certificateRef: {kind: Secret, name: %s-pull}\n", p.Hosts[0], p.Name, p.Name)
	return b.Bytes()
}

func configMap(name ObjectName, pem []byte) []byte {
	return fmt.Appendf(nil, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  namespace: %s\ndata:\n  ca.crt: |\n    %s\n", name.Name, name.Namespace,
		strings.ReplaceAll(strings.TrimSpace(string(pem)), "\n", "\n    "))
}

// Accepts reports whether an origin that was given this enrolment lets a client certificate in.
func (e *Enrolment) Accepts(chain []*x509.Certificate, now time.Time) error {
	b, _, err := secret.ParseBundle(e.EdgeCA)
	if err != nil {
		return err
	}
	inter := x509.NewCertPool()
	for _, c := range chain[1:] {
		inter.AddCert(c)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{Roots: b.Pool(), Intermediates: inter, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

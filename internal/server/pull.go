package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/enroll"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/source/file"
)

// Pulls keeps the origin pull settings of a configuration folder. The process uses it, and commands where
// none runs.
type Pulls struct {
	Dir       string // where the managed files are
	Namespace string // of what is written
	Set       *resource.Set
	Deployed  bool // a process serves the set
	Now       time.Time
}

// OpenPulls reads folders; the first is written to.
func OpenPulls(ctx context.Context, folders []string, namespace string) (*Pulls, error) {
	set, _, err := file.New(folders, slog.New(slog.DiscardHandler)).Load(ctx)
	if err != nil {
		return nil, err
	}
	return &Pulls{Dir: folders[0], Namespace: namespace, Set: set, Now: time.Now()}, nil
}

// List returns every setting, a row a host or zone, ordered by that.
func (p *Pulls) List() []admin.Pull {
	out := []admin.Pull{}
	for _, o := range p.Set.OriginPulls() {
		for _, h := range o.Spec.Hosts {
			if pattern, err := hostname.Parse(h); err == nil {
				out = append(out, p.row(o, pattern))
			}
		}
	}
	slices.SortFunc(out, func(a, b admin.Pull) int {
		return strings.Compare(a.Zone+"/"+a.Hostname+"/"+a.Object, b.Zone+"/"+b.Hostname+"/"+b.Object)
	})
	return out
}

func (p *Pulls) row(o *resource.OriginPull, pattern hostname.Pattern) admin.Pull {
	scope := enroll.ScopeOf(pattern)
	r := admin.Pull{Zone: scope.Zone, Hostname: scope.Host, Enabled: o.Spec.Enabled == nil || *o.Spec.Enabled, Object: o.Namespace + "/" + o.Name, Status: "active"}
	if t, err := time.Parse(time.RFC3339, o.Annotations[enroll.AnnotationUploaded]); err == nil {
		r.UploadedOn = &t
	}
	ref := o.Spec.CertificateRef
	if ref == nil {
		if r.Enabled {
			r.Status, r.Detail = "missing", "the setting has no certificate"
		}
		return r
	}
	namespace := ref.Namespace
	if namespace == "" {
		namespace = o.Namespace
	}
	s := p.Set.Secret(namespace, ref.Name)
	if s == nil {
		r.Status, r.Detail = "missing", fmt.Sprintf("there is no Secret %s/%s", namespace, ref.Name)
		return r
	}
	pair, err := pairOf(s)
	if err != nil {
		r.Status, r.Detail = "invalid", err.Error()
		return r
	}
	leaf := pair.Leaf
	r.ID, r.Subject, r.Issuer, r.Serial = pair.Fingerprint[:32], secret.Subject(leaf), secret.Issuer(leaf), leaf.SerialNumber.Text(16)
	r.Signature, r.ExpiresOn = leaf.SignatureAlgorithm.String(), &leaf.NotAfter
	r.Certificate = string(enroll.ChainPEM(leaf)) + string(enroll.ChainPEM(pair.Issuers...))
	switch {
	case p.Now.After(leaf.NotAfter):
		r.Status = "expired"
	case !p.Deployed:
		r.Status = "pending_deployment"
	}
	return r
}

func pairOf(s *resource.Secret) (*secret.KeyPair, error) {
	data := make(map[string][]byte, len(s.Data))
	for k, v := range s.Data {
		data[k] = v
	}
	m, _, err := secret.FromData(data)
	if err != nil {
		return nil, err
	}
	pair, _, err := m.KeyPair()
	return pair, err
}

// find returns the setting of exactly this pattern, or nil: the managed one before others.
func (p *Pulls) find(pattern hostname.Pattern) *resource.OriginPull {
	var found *resource.OriginPull
	for _, o := range p.Set.OriginPulls() {
		if !slices.ContainsFunc(o.Spec.Hosts, func(h string) bool { q, err := hostname.Parse(h); return err == nil && q == pattern }) {
			continue
		}
		if found == nil || o.Namespace == p.Namespace && o.Name == enroll.PullName(pattern) {
			found = o
		}
	}
	return found
}

// keys are those of a setting's objects: of the one that is there, or of a new one.
func (p *Pulls) keys(pattern hostname.Pattern, old *resource.OriginPull) (pull, credential resource.Key) {
	name := enroll.PullName(pattern)
	pull = resource.Key{Group: resource.GroupHakone, Kind: resource.KindOriginPull, Namespace: p.Namespace, Name: name}
	if old != nil {
		pull = old.Key
	}
	return pull, resource.Key{Group: resource.GroupCore, Kind: resource.KindSecret, Namespace: pull.Namespace, Name: name}
}

// Upload writes the certificate of a zone or host, in place of the one before. A new setting is off unless
// enable says otherwise; one that is there stays as it is. The error is a *admin.Problem.
func (p *Pulls) Upload(u admin.PullUpload) (*admin.PullChanged, error) {
	pattern, err := enroll.Scope{Zone: u.Zone, Host: u.Host}.Pattern()
	if err != nil {
		return nil, problemOfEnrolment(err)
	}
	pair, found, err := enroll.ParseUpload(u.Body)
	if err != nil {
		return nil, problemOfEnrolment(err)
	}
	setting := enroll.PullSetting{Pattern: pattern, Enabled: u.Enable, Uploaded: p.Now}
	old := p.find(pattern)
	if old != nil {
		if err := p.ours(old, pattern); err != nil {
			return nil, err
		}
		setting.Enabled = u.Enable || old.Spec.Enabled == nil || *old.Spec.Enabled
		setting.Display, setting.Labels, setting.Annotations = old.Spec.DisplayName, old.Labels, old.Annotations
	}
	key, err := enroll.KeyPEM(pair)
	if err != nil {
		return nil, err
	}
	pullKey, secretKey := p.keys(pattern, old)
	setting.Name, setting.Credential = objectName(pullKey), objectName(secretKey)
	chain := append(enroll.ChainPEM(pair.Leaf), enroll.ChainPEM(pair.Issuers...)...)
	docs := []file.Document{{Key: secretKey, YAML: enroll.SecretYAML(setting.Credential, chain, key, nil)},
		{Key: pullKey, YAML: enroll.PullObject(setting)}}
	out := &admin.PullChanged{}
	for _, f := range append(found, enroll.PullFindings(pair, p.Now)...) {
		out.Findings = append(out.Findings, fmt.Sprintf("%s %s  %s — fix: %s", f.Severity, f.Code, f.Message, f.Fix))
	}
	return out, p.write(out, docs)
}

// Switch turns the setting of a zone or host on or off. A host without a setting of its own is turned off
// by one that presents nothing, so that its zone's does not hold; turning it on again removes that.
func (p *Pulls) Switch(s admin.PullSwitch) (*admin.PullChanged, error) {
	pattern, err := enroll.Scope{Zone: s.Zone, Host: s.Host}.Pattern()
	if err != nil {
		return nil, problemOfEnrolment(err)
	}
	old, out := p.find(pattern), &admin.PullChanged{}
	pullKey, _ := p.keys(pattern, old)
	setting := enroll.PullSetting{Name: objectName(pullKey), Pattern: pattern, Enabled: s.Enabled}
	missing := &admin.Problem{Status: http.StatusNotFound, Code: diag.PullNotFound, Title: fmt.Sprintf("nothing was uploaded for %s", words(pattern)),
		Fix: "hakone origin pull ls lists what there is; upload a certificate with hakone origin pull upload"}
	if old == nil {
		if s.Enabled || !pattern.IsExact() {
			return nil, missing
		}
		return out, p.write(out, []file.Document{{Key: pullKey, YAML: enroll.PullObject(setting)}})
	}
	if err := p.ours(old, pattern); err != nil {
		return nil, err
	}
	if old.Spec.CertificateRef == nil {
		if s.Enabled {
			return out, p.write(out, nil, pullKey)
		}
		out.Pull = p.row(old, pattern)
		return out, nil
	}
	setting.Uploaded, _ = time.Parse(time.RFC3339, old.Annotations[enroll.AnnotationUploaded]) // zero where it is not said
	setting.Display, setting.Labels, setting.Annotations = old.Spec.DisplayName, old.Labels, old.Annotations
	setting.Credential = enroll.ObjectName{Namespace: old.Spec.CertificateRef.Namespace, Name: old.Spec.CertificateRef.Name}
	return out, p.write(out, []file.Document{{Key: pullKey, YAML: enroll.PullObject(setting)}})
}

func objectName(k resource.Key) enroll.ObjectName {
	return enroll.ObjectName{Namespace: k.Namespace, Name: k.Name}
}

// ours refuses to change what somebody else has written.
func (p *Pulls) ours(o *resource.OriginPull, pattern hostname.Pattern) error {
	if filepath.Base(o.Place.File) == file.ManagedFile && len(o.Spec.Hosts) == 1 {
		return nil
	}
	return &admin.Problem{Status: http.StatusConflict, Code: diag.DuplicateObject, Title: fmt.Sprintf("%s is set by OriginPull %s/%s in %s, which is not ours to change", words(pattern), o.Namespace, o.Name, o.Position()),
		Fix: "set spec.enabled or spec.certificateRef there, or remove it"}
}

func words(p hostname.Pattern) string {
	if s := enroll.ScopeOf(p); s.Zone != "" {
		return "zone " + s.Zone
	}
	return "host " + p.String()
}

func (p *Pulls) write(out *admin.PullChanged, docs []file.Document, gone ...resource.Key) error {
	if err := file.Replace(p.Dir, docs, gone...); err != nil {
		problem := &admin.Problem{Status: http.StatusConflict, Code: diag.ReadOnlyFolder, Title: fmt.Sprintf("the managed files were not written: %v", err), Fix: "make the folder writable, or apply OriginPull and Secret by other means"}
		for _, d := range docs {
			if d.Key.Kind != resource.KindSecret {
				problem.Object = string(d.YAML)
			}
		}
		return problem
	}
	seen := map[string]bool{}
	for _, d := range docs {
		name := file.ManagedFile
		if d.Key.Kind == resource.KindSecret {
			name = file.ManagedSecrets
		}
		if !seen[name] {
			seen[name] = true
			out.Files = append(out.Files, filepath.Join(p.Dir, name))
		}
	}
	if len(docs) == 0 {
		out.Files = []string{filepath.Join(p.Dir, file.ManagedFile)}
	}
	return nil
}

// problemOfEnrolment makes the API's error of one that a person can mend.
func problemOfEnrolment(err error) error {
	var e *enroll.Error
	if !errors.As(err, &e) {
		return err
	}
	return &admin.Problem{Status: http.StatusBadRequest, Code: e.Code, Title: e.Error(), Fix: e.Fix}
}

// pulls are the settings as this process last read them.
func (p *process) pulls() (*Pulls, error) {
	st := p.loop.State()
	if st.Set == nil {
		return nil, &admin.Problem{Status: http.StatusServiceUnavailable, Title: "nothing has been read yet", Fix: "wait until hakone status shows listeners"}
	}
	return &Pulls{Dir: p.cfg.Folders[0], Namespace: enroll.DefaultNamespace, Set: st.Set, Deployed: st.Generation != nil, Now: time.Now()}, nil
}

// maxPullBody bounds the request of an upload: base64 makes four bytes of three, and there are names.
const maxPullBody = enroll.MaxUpload/3*4 + 8<<10

// pullEndpoints serve origin pull settings. Bodies of uploads hold a key.
func (p *process) pullEndpoints() []admin.Endpoint {
	return []admin.Endpoint{
		{Method: http.MethodGet, Pattern: admin.PullPath, Role: "viewer", Handler: func(w http.ResponseWriter, _ *http.Request) {
			pulls, err := p.pulls()
			if err != nil {
				answer(w, nil, err)
				return
			}
			answer(w, pulls.List(), nil)
		}},
		{Method: http.MethodPost, Pattern: admin.PullPath, Role: "operator", Secret: true, MaxBody: maxPullBody, Handler: changePull(p, func(pulls *Pulls, u admin.PullUpload) (*admin.PullChanged, string, string, error) {
			out, err := pulls.Upload(u)
			return out, u.Zone, u.Host, err
		})},
		{Method: http.MethodPost, Pattern: admin.PullPath + "/enabled", Role: "operator", Handler: changePull(p, func(pulls *Pulls, s admin.PullSwitch) (*admin.PullChanged, string, string, error) {
			out, err := pulls.Switch(s)
			return out, s.Zone, s.Host, err
		})},
	}
}

// changePull decodes a change, makes it, and answers when it is applied.
func changePull[T any](p *process, change func(*Pulls, T) (*admin.PullChanged, string, string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body T
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if dec.Decode(&body) != nil { // its words may quote what was sent
			answer(w, nil, &admin.Problem{Status: http.StatusBadRequest, Title: "the body is no change of origin pull", Fix: "Use the command of the same release as the running process."})
			return
		}
		p.writing.Lock()
		defer p.writing.Unlock()
		pulls, err := p.pulls()
		if err != nil {
			answer(w, nil, err)
			return
		}
		out, zone, host, err := change(pulls, body)
		if err != nil {
			answer(w, nil, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), reloadWithin)
		defer cancel()
		if err := p.source.ReloadNow(ctx); err != nil {
			answer(w, nil, &admin.Problem{Status: http.StatusInternalServerError, Title: fmt.Sprintf("the change was written, but not read again: %v", err), Fix: "look at the log of hakone run"})
			return
		}
		if pulls, err = p.pulls(); err == nil {
			out.Pull = pulls.Of(zone, host, out.Pull)
		}
		answer(w, out, err)
	}
}

// Of returns the row of a zone or host, or otherwise if there is none.
func (p *Pulls) Of(zone, host string, otherwise admin.Pull) admin.Pull {
	pattern, err := enroll.Scope{Zone: zone, Host: host}.Pattern()
	if err != nil {
		return otherwise
	}
	if o := p.find(pattern); o != nil {
		return p.row(o, pattern)
	}
	return otherwise
}

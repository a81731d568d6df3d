package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/source/file"
	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// SetTLSVersion writes a TLSPolicy into the first folder and returns when it has been evaluated and, if
// it changes anything, applied. Without a version it removes the policy of exactly that scope; where
// there is none nothing is written. Before is the version that the managed policy of that scope had, ""
// if there was none. A folder that cannot be written is refused with the object to apply.
func (p *process) SetTLSVersion(ctx context.Context, change admin.TLSChange) (admin.TLSChanged, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	policy, err := p.policyOf(change)
	if err != nil {
		return admin.TLSChanged{}, err
	}
	dir, key := p.cfg.Folders[0], file.PolicyKey(policy)
	done := admin.TLSChanged{File: filepath.Join(dir, file.ManagedFile)}
	old, err := file.Managed(dir, key)
	if err != nil {
		return admin.TLSChanged{}, p.unwritable(err, policy)
	}
	if old != nil {
		done.Before = string(old.Spec.MinVersion)
	}
	switch {
	case change.MinVersion != "":
		err = file.WriteManaged(dir, policy)
	case old != nil:
		policy.Spec = *old.Spec
		err = file.RemoveManaged(dir, key)
	default:
		done.File, done.Status = "", p.Status()
		return done, nil
	}
	if err != nil {
		return admin.TLSChanged{}, p.unwritable(err, policy)
	}
	text, err := file.Render(policy)
	if err != nil {
		return admin.TLSChanged{}, err
	}
	done.Object = string(text)
	ctx, cancel := context.WithTimeout(ctx, reloadWithin)
	defer cancel()
	if err := p.source.ReloadNow(ctx); err != nil {
		return admin.TLSChanged{}, &admin.Problem{Status: http.StatusInternalServerError, Object: done.Object,
			Title: fmt.Sprintf("%s was written, but not read again: %v", done.File, err), Fix: "look at the log of hakone run"}
	}
	done.Status = p.Status()
	return done, nil
}

// reloadWithin bounds how long a command waits for a reload.
const reloadWithin = 20 * time.Second

// unwritable is the answer where the managed file cannot be read or written; it shows what to apply by
// other means.
func (p *process) unwritable(err error, policy *v1alpha1.TLSPolicy) error {
	problem := &admin.Problem{Status: http.StatusConflict, Code: diag.ReadOnlyFolder,
		Title: fmt.Sprintf("the folder %s cannot be written: %v", p.cfg.Folders[0], err),
		Fix:   "apply the object printed by other means (kubectl, GitOps)"}
	if !errors.Is(err, file.ErrReadOnly) {
		problem.Title = fmt.Sprintf("the managed file in %s was not written: %v", p.cfg.Folders[0], err)
	}
	if policy.Spec.MinVersion == "" {
		problem.Fix = fmt.Sprintf("remove TLSPolicy %s/%s by other means (kubectl, GitOps)", policy.Namespace, policy.Name)
	}
	if text, err := file.Render(policy); err == nil {
		problem.Object = string(text)
	}
	return problem
}

// policyOf makes the TLSPolicy of a change, without a floor if the change has none. Its name follows from its scope, so that a later change of
// the same scope replaces it.
func (p *process) policyOf(change admin.TLSChange) (*v1alpha1.TLSPolicy, error) {
	bad := func(format string, args ...any) error {
		return &admin.Problem{Status: http.StatusBadRequest, Code: diag.TLSFloorInvalid, Title: fmt.Sprintf(format, args...), Fix: "see hakone tls-version set --help"}
	}
	version, ok := tlsname.ParseVersion(change.MinVersion)
	if !ok && change.MinVersion != "" {
		return nil, bad("%q is no TLS version", change.MinVersion)
	}
	if p.loop.State().Generation == nil {
		return nil, &admin.Problem{Status: http.StatusServiceUnavailable, Title: "nothing has been applied yet", Fix: "wait until hakone status shows listeners"}
	}
	policy := &v1alpha1.TLSPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "hakone.dev/v1alpha1", Kind: "TLSPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.cfg.Settings.Namespace},
	}
	if ok {
		policy.Spec.MinVersion = v1alpha1.TLSVersion(tlsname.Version(version))
	}
	name := []string{"tls-minimum"}
	if change.Listener != "" {
		parts := strings.SplitN(change.Listener, "/", 3)
		if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
			return nil, bad("listener %q is no NAMESPACE/GATEWAY or NAMESPACE/GATEWAY/LISTENER", change.Listener)
		}
		policy.Spec.TargetRef = &v1alpha1.TLSPolicyTarget{Kind: "Gateway", Namespace: parts[0], Name: parts[1]}
		if len(parts) == 3 {
			policy.Spec.TargetRef.SectionName = parts[2]
		}
		name = append(name, parts...)
	}
	if change.Host != "" {
		pattern, err := hostname.Parse(change.Host)
		if err != nil {
			return nil, bad("%v", err)
		}
		policy.Spec.Hosts = []string{pattern.String()}
		name = append(name, "host", pattern.String())
	}
	policy.Name = policyName(name)
	return policy, nil
}

package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/source/file"
	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// SetTLSVersion writes a TLSPolicy into the first folder and waits until it is applied. A folder that
// cannot be written is refused with the object to apply.
func (p *process) SetTLSVersion(ctx context.Context, change admin.TLSChange) (admin.TLSChanged, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	policy, err := p.policyOf(change)
	if err != nil {
		return admin.TLSChanged{}, err
	}
	text, err := file.Render(policy)
	if err != nil {
		return admin.TLSChanged{}, err
	}
	done := admin.TLSChanged{Object: string(text)}
	epoch := p.loop.State().Generation.Epoch
	done.File = filepath.Join(p.cfg.Folders[0], file.ManagedFile)
	if err := file.WriteManaged(p.cfg.Folders[0], policy); err != nil {
		problem := &admin.Problem{Status: http.StatusConflict, Code: diag.ReadOnlyFolder, Object: string(text),
			Title: fmt.Sprintf("the folder %s cannot be written: %v", p.cfg.Folders[0], err),
			Fix:   "apply the object printed by other means (kubectl, GitOps)"}
		if !errors.Is(err, file.ErrReadOnly) {
			problem.Title = fmt.Sprintf("the managed file in %s was not written: %v", p.cfg.Folders[0], err)
		}
		return admin.TLSChanged{}, problem
	}
	p.source.Reload()
	p.waitApplied(ctx, epoch)
	done.Status = p.Status()
	return done, nil
}

// policyOf makes the TLSPolicy of a change. Its name follows from its scope, so that a later change of
// the same scope replaces it.
func (p *process) policyOf(change admin.TLSChange) (*v1alpha1.TLSPolicy, error) {
	bad := func(format string, args ...any) error {
		return &admin.Problem{Status: http.StatusBadRequest, Code: diag.TLSFloorInvalid, Title: fmt.Sprintf(format, args...), Fix: "see hakone tls-version set --help"}
	}
	version, ok := tlsname.ParseVersion(change.MinVersion)
	if !ok {
		return nil, bad("%q is no TLS version", change.MinVersion)
	}
	if p.loop.State().Generation == nil {
		return nil, &admin.Problem{Status: http.StatusServiceUnavailable, Title: "nothing has been applied yet", Fix: "wait until hakone status shows listeners"}
	}
	policy := &v1alpha1.TLSPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "hakone.dev/v1alpha1", Kind: "TLSPolicy"},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.cfg.Settings.Namespace},
		Spec:       v1alpha1.TLSPolicySpec{MinVersion: v1alpha1.TLSVersion(tlsname.Version(version))},
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

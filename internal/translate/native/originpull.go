package native

import (
	"fmt"
	"slices"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// pull reads an OriginPull. One without a usable certificate stands for hosts whose requests are
// refused: an origin that asks for no certificate must not be reached without one by mistake.
func (t *translator) pull(p *resource.OriginPull) {
	spec := p.Spec
	out := translate.Pull{Origin: ir.Origin{Object: p.Object(), Field: "spec"}, Order: p.Rank}
	for i, h := range spec.Hosts {
		pattern, err := hostname.Parse(h)
		field := fmt.Sprintf("spec.hosts[%d]", i)
		switch {
		case err != nil:
			t.report(&p.Meta, diag.OriginPullInvalid, field, err.Error()+"; this host is left out", `Write a DNS name, or "*." and a DNS name for a zone.`)
			continue
		case pattern.IsAny():
			t.report(&p.Meta, diag.OriginPullInvalid, field, `host "*" is no zone; it is left out`, `Write "*." and the zone's name; certificateRef of the pool's tls holds for every host.`)
			continue
		}
		out.Hosts = append(out.Hosts, pattern)
	}
	slices.SortFunc(out.Hosts, hostname.Compare)
	out.Hosts = slices.Compact(out.Hosts)
	if len(out.Hosts) == 0 {
		return
	}
	switch on := spec.Enabled == nil || *spec.Enabled; {
	case on && spec.CertificateRef == nil:
		const message = "no certificate is named, so requests of these hosts to pools with TLS are refused"
		t.report(&p.Meta, diag.OriginPullInvalid, "spec.certificateRef", message, "Name the Secret with certificate and key, or set enabled: false to present none.")
		out.Certificate = ir.SecretRef("none:" + p.Namespace + "/" + p.Name)
		t.out.Secrets[out.Certificate] = &ir.Credential{Origin: ir.Origin{Object: p.Object(), Field: "spec.certificateRef"}, Code: diag.CredentialMissing, Detail: p.Object().String() + " names no certificate"}
	case on:
		out.Certificate = t.certificate(&p.Meta, spec.CertificateRef, "spec.certificateRef")
	}
	t.out.Pulls = append(t.out.Pulls, out)
}

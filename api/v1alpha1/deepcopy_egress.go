package v1alpha1

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
)

// DeepCopyInto copies p into out; the two share nothing afterwards.
func (p *UpstreamProxy) DeepCopyInto(out *UpstreamProxy) {
	out.TypeMeta = p.TypeMeta
	p.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	p.Spec.DeepCopyInto(&out.Spec)
	p.Status.DeepCopyInto(&out.Status)
}

// DeepCopy returns a copy that shares nothing with p; nil for nil.
func (p *UpstreamProxy) DeepCopy() *UpstreamProxy { return copyOf(p, (*UpstreamProxy).DeepCopyInto) }

// DeepCopyObject implements runtime.Object.
func (p *UpstreamProxy) DeepCopyObject() runtime.Object {
	if p == nil {
		return nil
	}
	return p.DeepCopy()
}

// DeepCopyInto copies l into out; the two share nothing afterwards.
func (l *UpstreamProxyList) DeepCopyInto(out *UpstreamProxyList) {
	out.TypeMeta = l.TypeMeta
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = copyEach(l.Items, (*UpstreamProxy).DeepCopyInto)
}

// DeepCopy returns a copy that shares nothing with l; nil for nil.
func (l *UpstreamProxyList) DeepCopy() *UpstreamProxyList {
	return copyOf(l, (*UpstreamProxyList).DeepCopyInto)
}

// DeepCopyObject implements runtime.Object.
func (l *UpstreamProxyList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	return l.DeepCopy()
}

// DeepCopyInto copies p into out; the two share nothing afterwards.
func (p *ForwardProxy) DeepCopyInto(out *ForwardProxy) {
	out.TypeMeta = p.TypeMeta
	p.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	p.Spec.DeepCopyInto(&out.Spec)
	p.Status.DeepCopyInto(&out.Status)
}

// DeepCopy returns a copy that shares nothing with p; nil for nil.
func (p *ForwardProxy) DeepCopy() *ForwardProxy { return copyOf(p, (*ForwardProxy).DeepCopyInto) }

// DeepCopyObject implements runtime.Object.
func (p *ForwardProxy) DeepCopyObject() runtime.Object {
	if p == nil {
		return nil
	}
	return p.DeepCopy()
}

// DeepCopyInto copies l into out; the two share nothing afterwards.
func (l *ForwardProxyList) DeepCopyInto(out *ForwardProxyList) {
	out.TypeMeta = l.TypeMeta
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = copyEach(l.Items, (*ForwardProxy).DeepCopyInto)
}

// DeepCopy returns a copy that shares nothing with l; nil for nil.
func (l *ForwardProxyList) DeepCopy() *ForwardProxyList {
	return copyOf(l, (*ForwardProxyList).DeepCopyInto)
}

// DeepCopyObject implements runtime.Object.
func (l *ForwardProxyList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	return l.DeepCopy()
}

// DeepCopyInto copies p into out; the two share nothing afterwards.
func (p *CachePolicy) DeepCopyInto(out *CachePolicy) {
	out.TypeMeta = p.TypeMeta
	p.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	p.Spec.DeepCopyInto(&out.Spec)
	p.Status.DeepCopyInto(&out.Status)
}

// DeepCopy returns a copy that shares nothing with p; nil for nil.
func (p *CachePolicy) DeepCopy() *CachePolicy { return copyOf(p, (*CachePolicy).DeepCopyInto) }

// DeepCopyObject implements runtime.Object.
func (p *CachePolicy) DeepCopyObject() runtime.Object {
	if p == nil {
		return nil
	}
	return p.DeepCopy()
}

// DeepCopyInto copies l into out; the two share nothing afterwards.
func (l *CachePolicyList) DeepCopyInto(out *CachePolicyList) {
	out.TypeMeta = l.TypeMeta
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	out.Items = copyEach(l.Items, (*CachePolicy).DeepCopyInto)
}

// DeepCopy returns a copy that shares nothing with l; nil for nil.
func (l *CachePolicyList) DeepCopy() *CachePolicyList {
	return copyOf(l, (*CachePolicyList).DeepCopyInto)
}

// DeepCopyObject implements runtime.Object.
func (l *CachePolicyList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	return l.DeepCopy()
}

// DeepCopyInto copies u into out; the two share nothing afterwards.
func (u *UpstreamProxySpec) DeepCopyInto(out *UpstreamProxySpec) {
	*out = *u
	out.URLs = slices.Clone(u.URLs)
	out.TLS = copyOf(u.TLS, (*ProxyHopTLS).DeepCopyInto)
	out.CredentialsRef = clone(u.CredentialsRef)
	out.Interception = clone(u.Interception)
	out.Hosts = slices.Clone(u.Hosts)
	out.Except = slices.Clone(u.Except)
	out.Probe = clone(u.Probe)
	out.Headers = slices.Clone(u.Headers)
}

// DeepCopyInto copies p into out; the two share nothing afterwards.
func (p *ProxyHopTLS) DeepCopyInto(out *ProxyHopTLS) {
	*out = *p
	out.CARef = clone(p.CARef)
	out.CertificateRef = clone(p.CertificateRef)
}

// DeepCopyInto copies f into out; the two share nothing afterwards.
func (f *ForwardProxySpec) DeepCopyInto(out *ForwardProxySpec) {
	*out = *f
	out.Listeners = copyEach(f.Listeners, (*ForwardListener).DeepCopyInto)
	out.ACLs = copyEach(f.ACLs, (*ACL).DeepCopyInto)
	out.Access = copyEach(f.Access, (*AccessRule).DeepCopyInto)
	out.Interception = copyOf(f.Interception, (*Interception).DeepCopyInto)
	out.Upstream = copyOf(f.Upstream, (*ForwardUpstream).DeepCopyInto)
	out.Proxies = copyEach(f.Proxies, (*ProxyRule).DeepCopyInto)
	out.Direct = copyEach(f.Direct, (*AccessRule).DeepCopyInto)
	out.Authentication = copyOf(f.Authentication, (*ProxyAuthentication).DeepCopyInto)
	out.Cache = copyOf(f.Cache, (*Cache).DeepCopyInto)
	out.Rewrite = copyOf(f.Rewrite, (*ForwardRewrite).DeepCopyInto)
	out.Headers = copyOf(f.Headers, (*ForwardHeaders).DeepCopyInto)
	out.Pages = clone(f.Pages)
}

// DeepCopyInto copies f into out; the two share nothing afterwards.
func (f *ForwardListener) DeepCopyInto(out *ForwardListener) {
	*out = *f
	out.Intercept = clone(f.Intercept)
	out.CertificateRef = clone(f.CertificateRef)
	out.ClientCARef = clone(f.ClientCARef)
	out.OriginateTLS = clone(f.OriginateTLS)
}

// DeepCopyInto copies a into out; the two share nothing afterwards.
func (a *ACL) DeepCopyInto(out *ACL) {
	*out = *a
	out.Values = slices.Clone(a.Values)
	out.Options = slices.Clone(a.Options)
}

// DeepCopyInto copies a into out; the two share nothing afterwards.
func (a *AccessRule) DeepCopyInto(out *AccessRule) {
	*out = *a
	out.ACLs = slices.Clone(a.ACLs)
}

// DeepCopyInto copies i into out; the two share nothing afterwards.
func (i *Interception) DeepCopyInto(out *Interception) {
	*out = *i
	out.Rules = copyEach(i.Rules, (*InterceptionRule).DeepCopyInto)
	out.CertificateErrors = copyEach(i.CertificateErrors, (*AccessRule).DeepCopyInto)
	out.Sign = copyEach(i.Sign, (*SignRule).DeepCopyInto)
	out.Adapt = copyEach(i.Adapt, (*AdaptRule).DeepCopyInto)
	out.CipherSuites = slices.Clone(i.CipherSuites)
}

// DeepCopyInto copies i into out; the two share nothing afterwards.
func (i *InterceptionRule) DeepCopyInto(out *InterceptionRule) {
	*out = *i
	out.ACLs = slices.Clone(i.ACLs)
}

// DeepCopyInto copies s into out; the two share nothing afterwards.
func (s *SignRule) DeepCopyInto(out *SignRule) {
	*out = *s
	out.ACLs = slices.Clone(s.ACLs)
}

// DeepCopyInto copies a into out; the two share nothing afterwards.
func (a *AdaptRule) DeepCopyInto(out *AdaptRule) {
	*out = *a
	out.ACLs = slices.Clone(a.ACLs)
}

// DeepCopyInto copies f into out; the two share nothing afterwards.
func (f *ForwardUpstream) DeepCopyInto(out *ForwardUpstream) {
	*out = *f
	out.CARef = clone(f.CARef)
	out.SystemRoots = clone(f.SystemRoots)
	out.CipherSuites = slices.Clone(f.CipherSuites)
	out.CertificateRef = clone(f.CertificateRef)
	out.Revocation = copyOf(f.Revocation, (*Revocation).DeepCopyInto)
}

// DeepCopyInto copies p into out; the two share nothing afterwards.
func (p *ProxyRule) DeepCopyInto(out *ProxyRule) {
	*out = *p
	out.ProxyRefs = slices.Clone(p.ProxyRefs)
	out.ACLs = slices.Clone(p.ACLs)
}

// DeepCopyInto copies p into out; the two share nothing afterwards.
func (p *ProxyAuthentication) DeepCopyInto(out *ProxyAuthentication) {
	*out = *p
	out.HtpasswdRef = clone(p.HtpasswdRef)
}

// DeepCopyInto copies f into out; the two share nothing afterwards.
func (f *ForwardRewrite) DeepCopyInto(out *ForwardRewrite) {
	*out = *f
	out.Location = clone(f.Location)
	out.Cookies = clone(f.Cookies)
	out.HSTS = clone(f.HSTS)
}

// DeepCopyInto copies f into out; the two share nothing afterwards.
func (f *ForwardHeaders) DeepCopyInto(out *ForwardHeaders) {
	*out = *f
	out.Via = clone(f.Via)
	out.Remove = slices.Clone(f.Remove)
}

// DeepCopyInto copies c into out; the two share nothing afterwards.
func (c *Cache) DeepCopyInto(out *Cache) {
	*out = *c
	out.Refresh = copyEach(c.Refresh, (*RefreshPattern).DeepCopyInto)
	out.Rules = copyEach(c.Rules, (*AccessRule).DeepCopyInto)
	out.PurgeFrom = slices.Clone(c.PurgeFrom)
}

// DeepCopyInto copies r into out; the two share nothing afterwards.
func (r *RefreshPattern) DeepCopyInto(out *RefreshPattern) {
	*out = *r
	out.Options = slices.Clone(r.Options)
}

// DeepCopyInto copies c into out; the two share nothing afterwards.
func (c *CachePolicySpec) DeepCopyInto(out *CachePolicySpec) {
	*out = *c
	out.TargetRefs = slices.Clone(c.TargetRefs)
	c.Cache.DeepCopyInto(&out.Cache)
}

package native

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// Defaults of a ForwardProxy.
const (
	defaultPasswordOK = 2 * time.Hour
	defaultTrustHost  = "hakone.internal"
)

// forwardBuilder makes the ir.Forward of one ForwardProxy, and its listeners. Whatever decides who may do
// what and cannot be used as written closes it.
type forwardBuilder struct {
	*translator
	m   *resource.Meta
	s   *v1alpha1.ForwardProxySpec
	out *ir.Forward
}

func (t *translator) forwardProxy(f *resource.ForwardProxy) {
	b := &forwardBuilder{translator: t, m: &f.Meta, s: f.Spec, out: &ir.Forward{
		Name: f.Namespace + "/" + f.Name, Origin: ir.Origin{Object: f.Object(), Field: "spec"},
		Hostname: cmp.Or(f.Spec.VisibleHostname, f.Name), KnownOnly: f.Spec.OutboundTrafficPolicy == "RegistryOnly",
	}}
	b.acls()
	b.out.Access = b.access("spec.access", b.s.Access)
	b.interception()
	b.upstream()
	b.proxies()
	b.out.Direct = b.access("spec.direct", b.s.Direct)
	b.authentication()
	if b.s.Cache != nil {
		b.out.Cache = b.cache(b.m, "spec.cache", b.s.Cache)
		b.out.Cache.Rules = b.access("spec.cache.rules", b.s.Cache.Rules)
	}
	b.answers()
	b.listeners(f.Rank)
	if b.out.Fault != nil {
		b.report(b.m, diag.ForwardProxyInvalid, "spec", "the forward proxy refuses everything: "+b.out.Fault.Detail, "Mend what is reported beside it.")
	}
	t.out.Forwards = append(t.out.Forwards, translate.Forward{Forward: b.out, Order: f.Rank, Silent: f.Spec.OutboundTrafficPolicy == ""})
}

// close makes the forward proxy refuse everything. The first reason stays.
func (b *forwardBuilder) close(code diag.Code, detail string) {
	if b.out.Fault == nil {
		b.out.Fault = &ir.Fault{Code: code, Detail: detail}
	}
}

// listeners makes the ports.
func (b *forwardBuilder) listeners(rank int) {
	seen := map[string]bool{}
	open := b.open()
	for i := range b.s.Listeners {
		l, field := &b.s.Listeners[i], fmt.Sprintf("spec.listeners[%d]", i)
		if seen[l.Name] {
			b.report(b.m, diag.BadValue, field+".name", fmt.Sprintf("the name %q is another listener's already; this one is left out", l.Name), "Give every listener its own name.")
			continue
		}
		seen[l.Name] = true
		from := ir.Origin{Object: b.m.Object(), Field: field}
		out := &translate.Listener{Family: translate.Native, Gateway: b.m.Object(), Section: l.Name, Order: rank, Bind: l.Bind, Port: uint16(l.Port),
			Forward: b.listener(l, field),
			Chain:   &ir.Chain{Name: b.out.Name + "/" + l.Name, Origin: from, Hosts: []hostname.Pattern{hostname.Any()}, VirtualHosts: []*ir.VirtualHost{}}}
		b.security(l, field, out)
		b.translator.out.Listeners = append(b.translator.out.Listeners, out)
		if out.Refused != "" || open && out.TLS && out.Chain.TLS.ClientAuth.Mode == ir.ClientAuthRequire || isLoopback(l.Bind) {
			continue
		}
		if b.s.Authentication != nil && out.Forward.Mode == ir.ForwardExplicit && !out.TLS {
			b.report(b.m, diag.LoginInClear, field, fmt.Sprintf("clients send their passwords to port %d in the clear", l.Port), "Name a certificate in certificateRef, and give clients https://HOST:PORT as their proxy.")
		}
		if open {
			b.report(b.m, diag.ForwardProxyOpen, field, fmt.Sprintf("everybody who reaches port %d may use the proxy", l.Port), "Add access rules: Allow for an ACL of type src with your networks, then Deny for all. Or set bind: 127.0.0.1.")
		}
	}
}

// open reports whether the rules let anybody in.
func (b *forwardBuilder) open() bool {
	if b.s.Authentication != nil || b.out.KnownOnly && len(b.s.Access) == 0 {
		return false
	}
	last := "deny" // whose opposite holds where nothing matches
	for _, r := range b.out.Access {
		if last = r.Action; everything(r.ACLs) {
			return r.Action == "allow"
		}
		if r.Action == "deny" && slices.ContainsFunc(r.ACLs, b.asksWho) {
			return false // such as deny !localnet
		}
	}
	return last == "deny"
}

// asksWho reports whether an ACL is about who the client is.
func (b *forwardBuilder) asksWho(name string) bool {
	name = strings.TrimPrefix(name, "!")
	if name == "localhost" {
		return true
	}
	return slices.ContainsFunc(b.out.ACLs, func(a ir.ACL) bool {
		return a.Name == name && slices.Contains([]string{"src", "srcdomain", "srcdom_regex", "proxy_auth", "proxy_auth_regex", "user_cert", "ca_cert"}, a.Type)
	})
}

// everything reports whether a rule's ACLs match whatever is asked.
func everything(acls []string) bool {
	return !slices.ContainsFunc(acls, func(name string) bool { return name != "all" })
}

// listener reads how connections come to a port.
func (b *forwardBuilder) listener(l *v1alpha1.ForwardListener, field string) *ir.ForwardListener {
	out := &ir.ForwardListener{Policy: b.out.Name, Section: l.Name, ProxyProtocol: l.ProxyProtocol, Intercept: b.out.Interception != nil && (l.Intercept == nil || *l.Intercept)}
	switch l.Mode {
	case "Transparent":
		out.Mode = ir.ForwardTransparent
	case "TProxy":
		out.Mode = ir.ForwardTProxy
	case "Gateway":
		out.Mode = ir.ForwardGateway
	default:
		out.Mode = ir.ForwardExplicit
	}
	if l.Intercept != nil && *l.Intercept && b.out.Interception == nil {
		b.report(b.m, diag.FieldWithoutEffect, field+".intercept", "the forward proxy has no interception, so TLS is spliced", "Add spec.interception with a caRef.")
	}
	if out.Mode == ir.ForwardGateway {
		out.OriginateTLS = l.OriginateTLS == nil || *l.OriginateTLS
		out.OriginatePort = uint16(l.OriginatePort)
		switch {
		case out.OriginatePort != 0:
		case out.OriginateTLS:
			out.OriginatePort = 443
		default:
			out.OriginatePort = 80
		}
		return out
	}
	for _, x := range []struct {
		name string
		set  bool
	}{{"originatePort", l.OriginatePort != 0}, {"originateTLS", l.OriginateTLS != nil}} {
		if x.set {
			b.report(b.m, diag.FieldWithoutEffect, field+"."+x.name, x.name+" is looked at by mode Gateway alone, whose clients do not name the destination's scheme and port", "Remove it, or set mode: Gateway.")
		}
	}
	return out
}

// security reads TLS between clients and the proxy itself. What asks for certificates and cannot is not
// served.
func (b *forwardBuilder) security(l *v1alpha1.ForwardListener, field string, out *translate.Listener) {
	if out.Forward.Mode != ir.ForwardExplicit {
		for _, x := range []struct {
			name string
			ref  *v1alpha1.ObjectReference
		}{{"certificateRef", l.CertificateRef}, {"clientCARef", l.ClientCARef}} {
			if x.ref != nil {
				b.report(b.m, diag.FieldWithoutEffect, field+"."+x.name, x.name+" is about TLS with the proxy itself, which mode Proxy alone has", "Remove it; leaves for destinations are signed by interception.caRef.")
			}
		}
		return
	}
	if l.CertificateRef == nil {
		if l.ClientCARef != nil {
			b.report(b.m, diag.ForwardProxyInvalid, field+".clientCARef", "clients cannot show certificates to a port without TLS; the port is not served", "Add certificateRef, or remove clientCARef.")
			out.Refused = "clientCARef needs certificateRef"
		}
		return
	}
	from := ir.Origin{Object: b.m.Object(), Field: field + ".certificateRef"}
	out.TLS = true
	out.Chain.TLS = &ir.TLS{Origin: from, ALPN: []string{"http/1.1", "http/1.0"}, Certificates: []ir.SecretRef{b.certificate(b.m, l.CertificateRef, from.Field)},
		ClientAuth: ir.ClientAuth{Mode: ir.ClientAuthNone, Origin: from}}
	if l.ClientCARef == nil {
		return
	}
	trust, _ := b.trustOf(b.m, l.ClientCARef, field+".clientCARef") // one that cannot be used refuses every client
	out.Chain.TLS.ClientAuth = ir.ClientAuth{Mode: ir.ClientAuthRequire, Trust: trust, Origin: ir.Origin{Object: b.m.Object(), Field: field + ".clientCARef"}}
}

// upstream reads how destinations are spoken to.
func (b *forwardBuilder) upstream() {
	s := b.s.Upstream
	if s == nil {
		s = &v1alpha1.ForwardUpstream{}
	}
	const field = "spec.upstream"
	b.out.Loopback = s.AllowLoopback
	b.out.Template = ir.Upstream{Name: "forward:" + b.out.Name, Origin: ir.Origin{Object: b.m.Object(), Field: field}, Protocol: ir.UpstreamAuto, Balancing: ir.RoundRobin,
		Pool: ir.Pool{ConnectTimeout: b.duration(b.m, diag.ForwardProxyInvalid, field+".connectTimeout", s.ConnectTimeout, time.Millisecond, defaultProxyConnect)},
		TLS: &ir.UpstreamTLS{Origin: ir.Origin{Object: b.m.Object(), Field: field}, HostSNI: true, InsecureSkipVerify: s.InsecureSkipVerify,
			MinVersion: b.version(b.m, field+".minVersion", s.MinVersion, "destinations", 0x0303), MaxVersion: b.version(b.m, field+".maxVersion", s.MaxVersion, "destinations", 0x0304)}}
	if s.Protocol == "http1" {
		b.out.Template.Protocol = ir.UpstreamHTTP1
	}
	up := b.out.Template.TLS
	if up.MaxVersion < up.MinVersion {
		b.report(b.m, diag.TLSFloorInvalid, field+".maxVersion", "the ceiling is below the floor; it is raised to it", "Raise maxVersion, or lower minVersion.")
		up.MaxVersion = up.MinVersion
	}
	b.suites(field+".cipherSuites", s.CipherSuites, &up.MinVersion, &up.MaxVersion, &up.CipherSuites)
	if s.CertificateRef != nil {
		up.Certificate = b.certificate(b.m, s.CertificateRef, field+".certificateRef")
	}
	system := s.SystemRoots == nil || *s.SystemRoots
	if s.InsecureSkipVerify {
		b.report(b.m, diag.VerificationOff, field+".insecureSkipVerify", "any certificate of any destination is accepted, even an attacker's", "Remove insecureSkipVerify, and name missing CAs in caRef.")
		if s.CARef != nil || s.SystemRoots != nil || s.Revocation != nil {
			b.report(b.m, diag.FieldWithoutEffect, field+".insecureSkipVerify", "insecureSkipVerify accepts any certificate, so caRef, systemRoots and revocation do nothing", "Remove insecureSkipVerify.")
		}
		return
	}
	up.Revocation = b.revocation(b.m, field+".revocation", s.Revocation)
	switch {
	case s.CARef != nil:
		trust, ok := b.trustOf(b.m, s.CARef, field+".caRef")
		up.Trust, up.System = trust, system
		if !ok && !system {
			b.close(diag.ForwardProxyInvalid, "the only CAs that destinations are verified against (upstream.caRef) cannot be used")
		}
	case !system:
		const message = "systemRoots: false leaves no CA to verify destinations against"
		b.report(b.m, diag.ForwardProxyInvalid, field+".systemRoots", message, "Name CAs in caRef, or remove systemRoots.")
		b.close(diag.ForwardProxyInvalid, message)
	}
}

// suites reads suites of TLS 1.2. If none can be offered, 1.3 alone is spoken.
func (b *forwardBuilder) suites(field string, names []string, least, most *uint16, out *[]uint16) {
	if len(names) == 0 {
		return
	}
	ids, ok := b.translator.out.CipherSuites(b.m.Object(), field, names)
	if *out = ids; !ok {
		b.report(b.m, diag.TLSSettingIneffective, field, "none of the suites can be offered, so TLS 1.2 and below cannot be negotiated: TLS 1.3 alone is spoken", "Name a suite such as ECDHE-RSA-AES128-GCM-SHA256.")
		*least, *most = 0x0304, 0x0304
	}
}

// proxies reads which UpstreamProxies destinations go through.
func (b *forwardBuilder) proxies() {
	for i, r := range b.s.Proxies {
		field := fmt.Sprintf("spec.proxies[%d]", i)
		via := ir.ForwardVia{ACLs: b.names(field, r.ACLs)}
		for j, ref := range r.ProxyRefs {
			name := b.m.Namespace + "/" + ref.Name
			if b.translator.out.Proxies[name] == nil {
				message, fix := b.absentProxy(ref.Name)
				b.report(b.m, diag.UpstreamProxyNotFound, fmt.Sprintf("%s.proxyRefs[%d].name", field, j), message, fix)
				continue
			}
			if !slices.Contains(via.Proxies, name) {
				via.Proxies = append(via.Proxies, name)
			}
		}
		if len(via.Proxies) == 0 { // refused rather than sent directly
			name := b.out.Name + "/proxies-" + fmt.Sprint(i)
			b.translator.out.Proxies[name] = &ir.Proxy{Name: name, Origin: ir.Origin{Object: b.m.Object(), Field: field},
				Fault: &ir.Fault{Code: diag.UpstreamProxyNotFound, Detail: "none of the UpstreamProxies that the rule names exists"}}
			via.Proxies = []string{name}
		}
		b.out.Proxies = append(b.out.Proxies, via)
	}
}

// absentProxy says that there is no UpstreamProxy of a name, and what to do about it.
func (b *forwardBuilder) absentProxy(name string) (message, fix string) {
	key := resource.Key{Group: resource.GroupHakone, Kind: resource.KindUpstreamProxy, Namespace: b.m.Namespace, Name: name}
	if stands := b.set.Unaccepted(key); stands != "" {
		return fmt.Sprintf("UpstreamProxy %s/%s %s", b.m.Namespace, name, stands), "Mend what is reported there."
	}
	message, fix = fmt.Sprintf("there is no UpstreamProxy %s/%s", b.m.Namespace, name), "Create it, or correct the name."
	var names []string
	for _, p := range b.set.UpstreamProxies() {
		if p.Namespace == b.m.Namespace {
			names = append(names, p.Name)
		} else if p.Name == name {
			fix = fmt.Sprintf("One of this name is in namespace %s; a ForwardProxy names those of its own.", p.Namespace)
		}
	}
	if near := translate.Nearest(name, names); near != "" {
		fix = fmt.Sprintf("Did you mean %s?", near)
	}
	return message, fix
}

// answers reads what becomes of header fields, and what refused clients see.
func (b *forwardBuilder) answers() {
	yes := func(p *bool) bool { return p == nil || *p }
	rewrite := b.s.Rewrite
	if rewrite == nil {
		rewrite = &v1alpha1.ForwardRewrite{}
	}
	b.out.RewriteLocation, b.out.RewriteCookies, b.out.RewriteHSTS = yes(rewrite.Location), yes(rewrite.Cookies), yes(rewrite.HSTS)
	headers := b.s.Headers
	if headers == nil {
		headers = &v1alpha1.ForwardHeaders{}
	}
	b.out.Via, b.out.ForwardedFor = yes(headers.Via), cmp.Or(headers.ForwardedFor, "on")
	for i, name := range headers.Remove {
		switch key := http.CanonicalHeaderKey(name); key {
		case "Host", "Content-Length", "Transfer-Encoding", "Connection":
			b.report(b.m, diag.ForwardProxyInvalid, fmt.Sprintf("spec.headers.remove[%d]", i), fmt.Sprintf("a request cannot be without %s; it is left", key), "Remove it from the list.")
		default:
			b.out.Remove = append(b.out.Remove, strings.ToLower(name))
		}
	}
	slices.Sort(b.out.Remove)
	b.out.Remove = slices.Compact(b.out.Remove)
	b.out.TrustHost = defaultTrustHost
	if p := b.s.Pages; p != nil {
		b.out.Page, b.out.Contact, b.out.TrustHost = p.HTML, p.Contact, strings.ToLower(cmp.Or(p.TrustHost, defaultTrustHost))
		b.placeholders(p.HTML)
	}
}

// placeholders tells of those that are not known.
func (b *forwardBuilder) placeholders(html string) {
	known := []string{"code", "reason", "detail", "host", "id", "contact"}
	for _, after := range strings.Split(html, "{{")[1:] {
		name, _, closed := strings.Cut(after, "}}")
		if name = strings.TrimSpace(name); !closed || len(name) > 32 || slices.Contains(known, name) {
			continue
		}
		fix := "Use {{code}}, {{reason}}, {{detail}}, {{host}}, {{id}} or {{contact}}."
		if near := translate.Nearest(name, known); near != "" {
			fix = "Did you mean {{" + near + "}}?"
		}
		b.reportAs(diag.Warning, b.m, diag.ForwardProxyInvalid, "spec.pages.html", fmt.Sprintf("{{%s}} is no placeholder; it stays as it is", name), fix)
	}
}

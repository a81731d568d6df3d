package native

import (
	"cmp"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/secret"
)

const keyUsageCertSign = x509.KeyUsageCertSign

// Defaults of an UpstreamProxy.
const (
	defaultProxyConnect  = 10 * time.Second
	defaultProbeInterval = 30 * time.Second
	defaultProbeTimeout  = 5 * time.Second
	defaultProxyPort     = 3128
	defaultProbeDown     = 2
)

// proxyBuilder makes the ir.Proxy of one UpstreamProxy.
type proxyBuilder struct {
	*translator
	m   *resource.Meta
	s   *v1alpha1.UpstreamProxySpec
	out *ir.Proxy
}

// upstreamProxy translates one UpstreamProxy. One that cannot be used as written closes what it serves:
// nothing is sent around it.
func (t *translator) upstreamProxy(p *resource.UpstreamProxy) {
	b := &proxyBuilder{translator: t, m: &p.Meta, s: p.Spec, out: &ir.Proxy{
		Name: p.Namespace + "/" + p.Name, Origin: ir.Origin{Object: p.Object(), Field: "spec"}, Direct: p.Spec.Fallback == "direct",
		ConnectTimeout: t.duration(&p.Meta, diag.UpstreamProxyInvalid, "spec.connectTimeout", p.Spec.ConnectTimeout, time.Millisecond, defaultProxyConnect),
	}}
	b.addresses()
	b.hop()
	b.login()
	b.interception()
	b.hosts()
	b.probe()
	b.headers()
	if b.out.Direct {
		b.report(b.m, diag.ProxyFallbackDirect, "spec.fallback", "while no address of the proxy is healthy, destinations are reached directly", "Remove fallback to refuse instead.")
	}
	if b.out.Fault != nil {
		b.report(b.m, diag.UpstreamProxyBroken, "spec", "everything that goes through the proxy is refused: "+b.out.Fault.Detail, "Mend what is reported beside it.")
	}
	t.out.Proxies[b.out.Name], t.out.ProxyAges[b.out.Name] = b.out, p.Rank
}

// close makes the proxy refuse. The first reason stays.
func (b *proxyBuilder) close(detail string) {
	if b.out.Fault == nil {
		b.out.Fault = &ir.Fault{Code: diag.UpstreamProxyBroken, Detail: detail}
	}
}

// addresses reads the URLs.
func (b *proxyBuilder) addresses() {
	for i, text := range b.s.URLs {
		field := fmt.Sprintf("spec.urls[%d]", i)
		a, fault := proxyAddress(text)
		if fault != "" {
			b.report(b.m, diag.UpstreamProxyInvalid, field, fault+"; it is left out", "Write http://HOST:PORT or https://HOST:PORT.")
			continue
		}
		if slices.Contains(b.out.Addresses, a) {
			b.reportAs(diag.Warning, b.m, diag.UpstreamProxyInvalid, field, "the address stands there twice; it is tried once", "Remove one of the two.")
			continue
		}
		b.out.Addresses = append(b.out.Addresses, a)
	}
	if len(b.out.Addresses) == 0 {
		b.close("none of its urls can be used")
	}
}

// proxyAddress reads a proxy's URL, or says what is wrong with it; never with the password of one.
func proxyAddress(text string) (ir.ProxyAddress, string) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return ir.ProxyAddress{}, "the URL cannot be read"
	case u.User != nil:
		return ir.ProxyAddress{}, "the URL holds a user; credentials belong into credentialsRef"
	case u.Scheme != "http" && u.Scheme != "https":
		return ir.ProxyAddress{}, fmt.Sprintf("%q is neither http nor https", u.Scheme)
	}
	out := ir.ProxyAddress{TLS: u.Scheme == "https", Port: defaultProxyPort}
	if out.TLS {
		out.Port = 443
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return out, fmt.Sprintf("%q is no port", p)
		}
		out.Port = uint16(n)
	}
	host, fault := address(u.Hostname())
	out.Host = host
	return out, fault
}

// hop reads how TLS is spoken to the proxy itself.
func (b *proxyBuilder) hop() {
	s := b.s.TLS
	if !slices.ContainsFunc(b.out.Addresses, func(a ir.ProxyAddress) bool { return a.TLS }) {
		if s != nil {
			b.report(b.m, diag.FieldWithoutEffect, "spec.tls", "no URL is https, so no TLS is spoken to the proxy itself; what it intercepts is verified by interception.caRef", "Write https in urls, or remove tls.")
		}
		return
	}
	b.out.TLS = &ir.UpstreamTLS{Origin: ir.Origin{Object: b.m.Object(), Field: "spec.tls"}, HostSNI: true, MinVersion: tls.VersionTLS12}
	if s == nil {
		return
	}
	if s.ServerName != "" {
		name, fault := address(s.ServerName)
		if fault != "" {
			b.report(b.m, diag.UpstreamProxyInvalid, "spec.tls.serverName", fault, "Write the name in the proxy's certificate.")
			b.close("tls.serverName cannot be used")
		}
		b.out.TLS.HostSNI, b.out.TLS.SNI, b.out.TLS.VerifyName = false, name, name
	}
	if s.CertificateRef != nil {
		b.out.TLS.Certificate = b.certificate(b.m, s.CertificateRef, "spec.tls.certificateRef")
	}
	trust, ok := b.trustOf(b.m, s.CARef, "spec.tls.caRef")
	if b.out.TLS.Trust = trust; !ok {
		b.close("the CA of its own certificate (tls.caRef) cannot be used")
	}
}

// login finds user name and password.
func (b *proxyBuilder) login() {
	if b.s.CredentialsRef == nil {
		return
	}
	const field = "spec.credentialsRef"
	b.out.Login = b.loginOf(b.m, b.s.CredentialsRef.Name, field)
	for _, a := range b.out.Addresses {
		if !a.TLS && !isLoopback(a.Host) {
			b.report(b.m, diag.LoginInClear, field, fmt.Sprintf("user name and password go to http://%s in the clear", net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))), "Use an https URL if the proxy has one.")
			break
		}
	}
}

// loginOf reads the entries username and password of a Secret of the object's namespace.
func (t *translator) loginOf(m *resource.Meta, name, field string) ir.SecretRef {
	ref := ir.SecretRef(m.Namespace + "/" + name)
	if t.out.Logins[ref] != nil {
		return ref
	}
	login := &ir.Login{Origin: ir.Origin{Object: m.Object(), Field: field}}
	t.out.Logins[ref] = login
	fail := func(message, fix string) ir.SecretRef {
		t.report(m, diag.ProxyLoginInvalid, field, message, fix)
		login.Fault = &ir.Fault{Code: diag.ProxyLoginInvalid, Detail: message}
		return ref
	}
	s := t.set.Secret(m.Namespace, name)
	if s == nil {
		message, fix := t.noSecret(m.Namespace, name)
		return fail(message, fix+fmt.Sprintf(": kubectl create -n %s secret generic %s --type=kubernetes.io/basic-auth --from-literal=username=USER --from-literal=password=PASSWORD (for a folder with --dry-run=client -o yaml).", m.Namespace, name))
	}
	login.Origin = ir.Origin{Object: s.Object()}
	user, password := line(s.Data[corev1.BasicAuthUsernameKey]), line(s.Data[corev1.BasicAuthPasswordKey])
	_, has := s.Data[corev1.BasicAuthPasswordKey]
	switch {
	case len(user) == 0 || !has:
		return fail(fmt.Sprintf("%s lacks the entry username or password", s.Object()), "Put both there.")
	case strings.ContainsRune(string(user), ':'):
		return fail(fmt.Sprintf("the user name in %s holds a colon, which Basic authentication cannot send (RFC 7617)", s.Object()), "Use another user.")
	case hasControl(user) || hasControl(password):
		return fail(fmt.Sprintf("user name or password in %s holds a control character", s.Object()), "Put one line of text there.")
	}
	login.User, login.Password, login.Digest = string(user), secret.NewBytes(password), digestOf(user, password)
	return ref
}

// noSecret says that a Secret is not there, and how to begin to mend that.
func (t *translator) noSecret(namespace, name string) (message, fix string) {
	if stands := t.set.Unaccepted(resource.Key{Kind: resource.KindSecret, Namespace: namespace, Name: name}); stands != "" {
		return fmt.Sprintf("Secret %s/%s %s", namespace, name, stands), "Mend what is reported there, or create it"
	}
	return fmt.Sprintf("there is no Secret %s/%s", namespace, name), "Create it"
}

// line returns an entry without the line's end that files have. The result is a copy.
func line(v []byte) []byte {
	return slices.Clone([]byte(strings.TrimSuffix(strings.TrimSuffix(string(v), "\n"), "\r")))
}

func hasControl(v []byte) bool {
	return slices.ContainsFunc(v, func(c byte) bool { return c < ' ' || c == 0x7f })
}

// digestOf tells passwords apart in a dump and is slow to guess by.
func digestOf(user, password []byte) string {
	const rounds = 20_000
	key, err := pbkdf2.Key(sha256.New, string(password), append([]byte("hakone login\x00"), user...), rounds, 8)
	if err != nil {
		return ""
	}
	return hex.EncodeToString(key)
}

// interception reads what is expected of TLS behind the proxy.
func (b *proxyBuilder) interception() {
	s := b.s.Interception
	if s == nil {
		return
	}
	const field = "spec.interception.caRef"
	trust, ok := b.trustOf(b.m, &s.CARef, field)
	b.out.Interception, b.out.Either = trust, s.Expect == "Sometimes"
	if !ok {
		b.close("the CA that it intercepts with cannot be used")
		return
	}
	b.anchors(b.m, trust, field)
}

// hosts reads which destinations go through the proxy by themselves.
func (b *proxyBuilder) hosts() {
	b.out.Hosts = b.patterns(b.m, diag.UpstreamProxyInvalid, "spec.hosts", b.s.Hosts)
	for i, e := range b.s.Except {
		if p := prefix(e); p != "" {
			b.out.ExceptNets = append(b.out.ExceptNets, p)
			continue
		}
		p, err := hostname.Parse(e)
		if err != nil {
			b.report(b.m, diag.UpstreamProxyInvalid, fmt.Sprintf("spec.except[%d]", i), err.Error()+"; it is left out", "Write a host name, an address or a network.")
			continue
		}
		b.out.Except = append(b.out.Except, p)
	}
	slices.SortFunc(b.out.Except, hostname.Compare)
	slices.Sort(b.out.ExceptNets)
	b.out.Except, b.out.ExceptNets = slices.Compact(b.out.Except), slices.Compact(b.out.ExceptNets)
	if len(b.out.Hosts) == 0 && len(b.s.Except) > 0 {
		b.report(b.m, diag.FieldWithoutEffect, "spec.except", "except narrows hosts, and there are none", `Add hosts such as "*", or remove except.`)
	}
	for _, e := range b.out.Except {
		if len(b.out.Hosts) > 0 && !slices.ContainsFunc(b.out.Hosts, func(h hostname.Pattern) bool { _, meets := hostname.Intersect(h, e); return meets }) {
			b.report(b.m, diag.FieldWithoutEffect, "spec.except", fmt.Sprintf("%q is covered by none of hosts, so it is no exception", e), "Remove it.")
		}
	}
}

// probe reads how the proxy is asked how it is.
func (b *proxyBuilder) probe() {
	s := b.s.Probe
	if s == nil {
		return
	}
	host, port, err := net.SplitHostPort(s.Target)
	n, bad := strconv.ParseUint(port, 10, 16)
	name, fault := address(host)
	if err != nil || bad != nil || n == 0 || fault != "" {
		b.report(b.m, diag.UpstreamProxyInvalid, "spec.probe.target", fmt.Sprintf("%q is no destination with a port; the proxy is not probed", s.Target), "Write HOST:PORT, such as www.example.com:443.")
		return
	}
	b.out.Probe = &ir.ProxyProbe{Host: name, Port: uint16(n),
		Interval: b.duration(b.m, diag.UpstreamProxyInvalid, "spec.probe.interval", s.Interval, time.Second, defaultProbeInterval),
		Timeout:  b.duration(b.m, diag.UpstreamProxyInvalid, "spec.probe.timeout", s.Timeout, time.Millisecond, defaultProbeTimeout),
		Up:       cmp.Or(int(s.HealthyThreshold), 1), Down: cmp.Or(int(s.UnhealthyThreshold), defaultProbeDown)}
}

// headers reads what is sent with CONNECT. Values are not shown.
func (b *proxyBuilder) headers() {
	for i, h := range b.s.Headers {
		field := fmt.Sprintf("spec.headers[%d].name", i)
		switch textproto.CanonicalMIMEHeaderKey(h.Name) {
		case "Proxy-Authorization":
			b.report(b.m, diag.UpstreamProxyInvalid, field, "credentials belong into a Secret; the field is left out", "Name the Secret in credentialsRef.")
		case "Host", "Connection", "Content-Length", "Transfer-Encoding", "Keep-Alive", "Te", "Trailer", "Upgrade", "Proxy-Connection":
			b.report(b.m, diag.UpstreamProxyInvalid, field, fmt.Sprintf("%s belongs to the connection; it is left out", h.Name), "Remove it.")
		default:
			b.out.Headers = append(b.out.Headers, ir.NameValue{Name: h.Name, Value: h.Value})
		}
	}
}

// unreadProxies closes what UpstreamProxies serve that were not accepted and have no earlier version.
func (t *translator) unreadProxies() {
	for i, x := range t.set.Broken() {
		if x.Group != resource.GroupHakone || x.Kind != resource.KindUpstreamProxy {
			continue
		}
		p := &ir.Proxy{Name: x.Namespace + "/" + x.Name, Origin: ir.Origin{Object: x.Object(), Field: "spec"},
			Fault: &ir.Fault{Code: diag.UpstreamProxyBroken, Detail: "the UpstreamProxy " + t.set.Unaccepted(x.Key)}}
		for _, h := range x.Hosts {
			if pattern, err := hostname.Parse(h); err == nil {
				p.Hosts = append(p.Hosts, pattern)
			}
		}
		slices.SortFunc(p.Hosts, hostname.Compare)
		p.Hosts = slices.Compact(p.Hosts)
		t.out.Proxies[p.Name], t.out.ProxyAges[p.Name] = p, t.set.Len()+i
		d := diag.New(diag.UpstreamProxyBroken, x.Object(), "", fmt.Sprintf("the UpstreamProxy %s, so what it serves is refused", t.set.Unaccepted(x.Key)), "Mend what is reported about it.")
		d.Position = x.Position
		t.out.Diagnostics = append(t.out.Diagnostics, d)
	}
}

package squidconf

import (
	"net"
	"net/url"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
)

// outgoing reads tls_outgoing_options.
func outgoing(c *converter, words []string) {
	key := valueOf(words, "key")
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		if name == "cert" && key != "" {
			name, _ := c.keyPair(value, key)
			c.upstream().CertificateRef = &v1alpha1.ObjectReference{Name: name}
			c.honour("spec.upstream.certificateRef")
			continue
		}
		c.outgoingOption(name, value)
	}
}

// valueOf returns the value of the first word NAME=VALUE of some names; "" for none.
func valueOf(words []string, names ...string) string {
	for _, w := range words {
		for _, n := range names {
			if v, ok := strings.CutPrefix(w, n+"="); ok {
				return v
			}
		}
	}
	return ""
}

func oldOutgoing(name string) directive {
	return func(c *converter, words []string) { c.outgoingOption(name, strings.Join(words, ",")) }
}

func (c *converter) outgoingOption(name, value string) {
	u := c.upstream()
	switch name {
	case "cafile":
		u.CARef = &v1alpha1.ObjectReference{Kind: "ConfigMap", Name: c.bundle(value)}
		c.honour("spec.upstream.caRef")
	case "default-ca":
		if value == "off" {
			no := false
			u.SystemRoots = &no
		}
		c.honour("spec.upstream.systemRoots")
	case "min-version":
		u.MinVersion = value
		c.honour("spec.upstream.minVersion")
		if value == "1.0" || value == "1.1" {
			c.warn("Write min-version=1.2.", "TLS %s is spoken to destinations, which RFC 8996 forbids", value)
		}
	case "options":
		upper := strings.ToUpper(value)
		for _, v := range []struct{ option, max string }{{"NO_TLSV1_3", "1.2"}} {
			if strings.Contains(upper, v.option) {
				u.MaxVersion = v.max
			}
		}
		c.honour("TLS 1.2 and 1.3 are spoken unless min-version says otherwise")
	case "flags":
		if strings.Contains(value, "DONT_VERIFY_PEER") || strings.Contains(value, "DONT_VERIFY_DOMAIN") {
			u.InsecureSkipVerify = true
			c.honour("spec.upstream.insecureSkipVerify")
			c.warn("Remove the flag.", "%s: whoever sits between the proxy and a destination is believed", value)
		}
	case "cipher":
		c.noEffect("cipher=%s: suites with forward secrecy and AEAD are offered", value)
	case "cert":
		name, _ := c.keyPair(value, value)
		u.CertificateRef = &v1alpha1.ObjectReference{Name: name}
		c.honour("spec.upstream.certificateRef")
	case "key":
		c.note("the key of cert=")
	case "disable":
		c.refuse("Leave it out, and deny port 443 with http_access.", "TLS towards destinations cannot be switched off")
	case "capath", "crlfile":
		c.refuse("Give one file with cafile=; for revocation use spec.upstream.revocation.", "%s cannot be said here", name)
	default:
		c.refuse("Correct the option; squid -k parse shows whether Squid knows it.", "option %s is not known here", name)
	}
}

// cachePeer reads "cache_peer HOST parent PORT ICP-PORT [options]".
func cachePeer(c *converter, words []string) {
	if len(words) < 3 {
		c.refuse("Write cache_peer HOST parent PORT 0.", "the line is not complete")
		return
	}
	if words[1] != "parent" {
		c.noEffect("%s caches are not asked", words[1])
		return
	}
	p := &peer{}
	name, scheme := words[0], "http"
	var hop v1alpha1.ProxyHopTLS
	for _, w := range words[min(4, len(words)):] {
		option, value, _ := strings.Cut(w, "=")
		switch option {
		case "name":
			name = value
		case "tls", "ssl":
			scheme = "https"
		case "tls-cafile", "sslcafile":
			scheme = "https"
			hop.CARef = &v1alpha1.ObjectReference{Kind: "ConfigMap", Name: c.bundle(value)}
		case "tls-domain", "ssldomain":
			hop.ServerName = value
		case "tls-cert", "sslcert":
			key := valueOf(words, "tls-key", "sslkey")
			if key == "" {
				key = value
			}
			secret, _ := c.keyPair(value, key)
			hop.CertificateRef = &v1alpha1.ObjectReference{Name: secret}
		case "tls-key", "sslkey": // with tls-cert
		case "login":
			c.login(p, name, value)
		case "originserver", "forceddomain", "front-end-https":
			c.refuse("Use an EdgeHost or a Gateway for what is in front of your own servers.", "%s makes the peer an origin", w)
			return
		case "sslflags", "tls-flags":
			c.refuse("Leave the flag out.", "%s: the parent's own certificate is always verified", w)
			return
		case "default", "no-query", "no-digest", "no-netdb-exchange", "proxy-only", "weight", "round-robin", "weighted-round-robin", "carp", "sourcehash", "userhash", "connect-timeout", "connect-fail-limit", "max-conn", "standby", "no-tproxy", "allow-miss", "background-ping", "weighted", "ttl", "closest-only", "htcp", "basetime", "multicast-responder", "tls-min-version", "auth-no-keytab", "connection-auth":
			c.noEffect("%s: parents are tried in their order", option)
		default:
			c.refuse("Correct the option; squid -k parse shows whether Squid knows it.", "option %s is not known here", w)
			return
		}
	}
	if c.peers[name] != nil {
		c.refuse("Give the parents different names with name=.", "there is a parent %s already", name)
		return
	}
	object, _ := c.name("UpstreamProxy", objectName(name), name)
	p.object = v1alpha1.UpstreamProxy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "hakone.dev/v1alpha1", Kind: "UpstreamProxy"},
		ObjectMeta: metav1.ObjectMeta{Name: object, Namespace: c.opts.Namespace},
		Spec:       v1alpha1.UpstreamProxySpec{URLs: []string{scheme + "://" + net.JoinHostPort(words[0], words[2])}, CredentialsRef: p.object.Spec.CredentialsRef},
	}
	if hop != (v1alpha1.ProxyHopTLS{}) {
		p.object.Spec.TLS = &hop
	}
	c.peers[name] = p
	c.parents = append(c.parents, name)
	c.honour("UpstreamProxy %s", p.object.Name)
	c.note("if the parent intercepts TLS, set spec.interception.caRef of it")
}

// login reads login=user:password. What the client sent is never passed on.
func (c *converter) login(p *peer, name, value string) {
	user, password, ok := strings.Cut(value, ":")
	if !ok || user == "*" {
		c.refuse("Give the parent's own user and password: login=USER:PASSWORD.", "login=%s passes on what clients authenticate with, which Hakone does not do", value)
		return
	}
	secret, _ := c.name("Secret", objectName(name)+"-login", "login of "+name)
	c.write("Secret", secret, "kubernetes.io/basic-auth", map[string]string{"username": unescape(user), "password": unescape(password)})
	p.object.Spec.CredentialsRef = &v1alpha1.LocalReference{Name: secret}
	c.line.Text = strings.Replace(c.line.Text, value, user+":…", 1)
}

// unescape undoes %xx, as Squid does with logins.
func unescape(s string) string {
	if out, err := url.PathUnescape(s); err == nil {
		return out
	}
	return s
}

func cachePeerAccess(c *converter, words []string) {
	if len(words) < 2 || c.peers[words[0]] == nil {
		c.refuse("Define the peer before.", "there is no such parent here, so that nothing goes there")
		return
	}
	if c.rule(&c.peers[words[0]].rules, "Allow", words[1:]) {
		c.honour("spec.proxies")
	}
}

package backend

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	istio "istio.io/api/networking/v1alpha3"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// plainProxy reports whether a port is that of an HTTP proxy in plain text, as far as the configuration
// shows: an UpstreamProxy has its address, or a ServiceEntry names it like one and declares TCP.
func (r *Resolver) plainProxy(t target, p port) bool {
	if r.declaredProxy(t, p) != nil {
		return true
	}
	if t.internal() && len(t.entries) == 0 || len(t.entries) > 0 && p.protocol != "tcp" {
		return false
	}
	return proxyPort(p.number, proxyName(t.host) || len(t.entries) > 0 && proxyName(t.entries[0].Name))
}

// declaredProxy returns the UpstreamProxy with an http URL of the target's port, or nil.
func (r *Resolver) declaredProxy(t target, p port) *resource.UpstreamProxy {
	hosts := []string{t.host}
	for _, e := range t.entries {
		hosts = append(hosts, hostAddresses(e)...)
		for _, w := range e.Spec.Endpoints {
			hosts = append(hosts, w.GetAddress())
		}
	}
	for _, u := range r.set.UpstreamProxies() {
		for _, text := range u.Spec.URLs {
			at, err := url.Parse(text)
			if err != nil || at.Scheme != "http" {
				continue
			}
			number := at.Port()
			if number == "" {
				number = "3128"
			}
			if number == strconv.FormatUint(uint64(p.number), 10) && slices.Contains(hosts, strings.ToLower(at.Hostname())) {
				return u
			}
		}
	}
	return nil
}

// proxyName reports whether a word of a name says that it is a proxy's.
func proxyName(name string) bool {
	for _, word := range strings.FieldsFunc(strings.ToLower(name), func(c rune) bool { return c == '.' || c == '-' || c == '_' }) {
		switch strings.TrimRight(word, "0123456789") {
		case "proxy", "proxies", "squid", "webproxy", "httpproxy", "forwardproxy":
			return true
		}
	}
	return false
}

// proxyPort reports whether a port number is that of a proxy; named says that the name is one's too.
func proxyPort(number uint32, named bool) bool {
	switch number {
	case 3128, 8118:
		return true
	case 8080, 8000, 8888, 8123, 808, 800, 80, 8081, 9090:
		return named
	}
	return false
}

// LintEgress looks at ServiceEntries that name a proxy: whether TLS is begun with it where it speaks none,
// and what it can do at all as they stand. told has the hosts that more has been said about already. The
// translator of Istio's API calls it once.
func (r *Resolver) LintEgress(told map[string]bool) {
	for _, e := range r.set.ServiceEntries() {
		for _, h := range e.Spec.GetHosts() {
			t, err := r.locate(h, e.Namespace)
			if err != nil || t.wild.IsValid() || len(t.entries) == 0 || t.entries[0] != e {
				continue
			}
			r.lintProxy(e, t, told[h])
		}
	}
}

// lintProxy reports on the first port of an entry that is a proxy's.
func (r *Resolver) lintProxy(e *resource.ServiceEntry, t target, told bool) {
	for i, d := range declaredPorts(t) {
		p := port{number: d.number, name: d.name, known: true, protocol: d.protocol, entry: d.entry, target: d.target}
		if d.entry != e || !r.plainProxy(t, p) {
			continue
		}
		rule, _, _ := pick(r.lookup(t), p.number, "")
		switch {
		case rule.originates() && (rule.tls.GetMode() == istio.ClientTLSSettings_SIMPLE || rule.tls.GetMode() == istio.ClientTLSSettings_MUTUAL):
			r.tlsToProxy(t, p, rule)
		case !told && r.declaredProxy(t, p) == nil && rule.tunnel == nil && !r.tunnelled(t):
			fix := r.corrected(e.Namespace, t, p, "")
			r.report(diag.ProxyOnlyPassed, fromField(&e.Meta, "spec.ports[%d]", i),
				fmt.Sprintf("%s looks like an HTTP proxy and is declared as TCP: CONNECT and the TLS inside it pass unseen, so the certificate that the proxy shows is verified by the client alone", t.at(p)),
				fmt.Sprintf("Nothing to do if clients carry the proxy's CA. To verify it here, take this ServiceEntry away, put the proxy's CA as ConfigMap company-ca into the folder (kubectl create configmap company-ca -n %s --from-file=ca.crt=CA.pem --dry-run=client -o yaml > company-ca.yaml) and write:\n%s", e.Namespace, fix.UpstreamProxy()))
		}
		return
	}
}

// tunnelled reports whether a subset of the target's rules tunnels through it.
func (r *Resolver) tunnelled(t target) bool {
	return slices.ContainsFunc(r.lookup(t), func(h hostRule) bool {
		return slices.ContainsFunc(h.Spec.GetSubsets(), func(s *istio.Subset) bool { return s.GetTrafficPolicy().GetTunnel() != nil })
	})
}

// at names a port of the target.
func (t target) at(p port) string {
	return net.JoinHostPort(t.host, strconv.FormatUint(uint64(p.number), 10))
}

// tlsToProxy reports TLS that a rule begins with a proxy's plain port.
func (r *Resolver) tlsToProxy(t target, p port, rule policy) {
	ca := rule.tls.GetCaCertificates()
	if ca != "" { // without a route it is not read otherwise
		r.creds.TrustFiles(ca, "", below(rule.tlsFrom, "caCertificates"), below(rule.tlsFrom, "caCrl"))
	}
	if rule.tls.GetInsecureSkipVerify().GetValue() {
		r.report(diag.VerificationNotReached, below(rule.tlsFrom, "insecureSkipVerify"),
			fmt.Sprintf("%s answers the ClientHello with a plain HTTP 400, so no certificate is shown that could be verified or not", t.at(p)),
			"Remove insecureSkipVerify with the rest of tls; the finding about mode says what to write instead.")
	}
	fix := r.corrected(rule.tlsOwner.Namespace, t, p, ca)
	command := fmt.Sprintf("put the proxy's CA as ConfigMap company-ca into the folder (kubectl create configmap company-ca -n %s --from-file=ca.crt=CA.pem --dry-run=client -o yaml > company-ca.yaml)", rule.tlsOwner.Namespace)
	if !strings.Contains(fix.CA, "company-ca") {
		command = "keep the object that holds the proxy's CA"
	}
	r.report(diag.TLSToPlaintextProxy, below(rule.tlsFrom, "mode"),
		fmt.Sprintf("mode %s begins TLS with %s, a proxy whose port takes CONNECT in plain text: it reads the ClientHello as a request and answers 400. It is the wrong hop (the CA of an intercepting proxy signs the destination's certificate, inside the tunnel, not one of the proxy's own) and the wrong order (TLS begins after the proxy's 200 to CONNECT); the client's own TLS would be inside all the same",
			rule.tls.GetMode(), t.at(p)),
		fmt.Sprintf("Remove this DestinationRule and the ServiceEntry, %s, and write:\n%s", command, fix.UpstreamProxy()))
}

// proxyURL returns the URL of a proxy that a target stands for.
func proxyURL(t target, p port, rule policy) string {
	host, scheme := t.host, "http://"
	if rule.originates() && rule.tunnel != nil {
		scheme = "https://"
	}
	for _, e := range t.entries {
		if a := hostAddresses(e); len(a) > 0 {
			host = a[0]
			break
		}
		if len(e.Spec.Endpoints) > 0 {
			host = e.Spec.Endpoints[0].GetAddress()
			break
		}
	}
	return scheme + net.JoinHostPort(host, strconv.FormatUint(uint64(p.number), 10))
}

// corrected returns what is to be written instead. ca is the path under which a rule names the proxy's CA.
func (r *Resolver) corrected(namespace string, t target, p port, ca string) Corrected {
	return Corrected{Namespace: namespace, URL: proxyURL(t, p, policy{}), CA: r.caRef(namespace, ca), Plain: true}
}

// CorrectedFor is what to write for a proxy at a host and port instead of routes to it.
func (r *Resolver) CorrectedFor(namespace, url string) string {
	return Corrected{Namespace: namespace, URL: url, CA: r.caRef(namespace, ""), Plain: true}.UpstreamProxy()
}

// caRef finds the object of a namespace with an entry of the file's name, as kubectl's --from-file makes
// it; without one it names a ConfigMap to be made.
func (r *Resolver) caRef(namespace, file string) string {
	if entry := path.Base(file); file != "" {
		for _, s := range r.set.Secrets() {
			if _, ok := s.Data[entry]; ok && s.Namespace == namespace {
				return fmt.Sprintf("{kind: Secret, name: %s, key: %s}", s.Name, entry)
			}
		}
		for _, m := range r.set.ConfigMaps() {
			if _, ok := m.Data[entry]; ok && m.Namespace == namespace {
				return fmt.Sprintf("{kind: ConfigMap, name: %s, key: %s}", m.Name, entry)
			}
		}
	}
	return "{kind: ConfigMap, name: company-ca, key: ca.crt}"
}

// IsProxy reports whether a destination is a proxy's plain port, with its URL.
func (r *Resolver) IsProxy(host string, number uint32, namespace string) (string, bool) {
	t, err := r.locate(host, namespace)
	if err != nil {
		return "", false
	}
	for _, d := range declaredPorts(t) {
		p := port{number: d.number, protocol: d.protocol, entry: d.entry, target: d.target}
		if (number == 0 || d.number == number) && r.plainProxy(t, p) {
			return proxyURL(t, p, policy{}), true
		}
	}
	return "", false
}

// NamesProxy reports whether a port of an entry is a proxy's.
func (r *Resolver) NamesProxy(e *resource.ServiceEntry) bool {
	return slices.ContainsFunc(e.Spec.GetHosts(), func(h string) bool {
		_, ok := r.IsProxy(h, 0, e.Namespace)
		return ok
	})
}

// Originates reports whether a DestinationRule begins TLS towards a destination, and tunnels whether it
// makes it a way to somewhere else.
func (r *Resolver) Originates(d Destination, namespace string) (originates, tunnels bool) {
	t, err := r.locate(d.Host, namespace)
	if err != nil {
		return false, false
	}
	rule, _, _ := pick(r.lookup(t), d.Port, d.Subset)
	return rule.originates(), rule.tunnel != nil
}

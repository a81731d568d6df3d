package squidconf

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
)

// port reads "http_port [HOST:]PORT [mode] [options]" and https_port.
func port(secure bool) directive {
	return func(c *converter, words []string) {
		if len(words) == 0 {
			c.refuse("Write a port.", "the line has no port")
			return
		}
		host, number := "", words[0]
		if i := strings.LastIndex(number, ":"); i >= 0 {
			host, number = strings.Trim(number[:i], "[]"), number[i+1:]
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 || host != "" && net.ParseIP(host) == nil {
			c.refuse("Write PORT or ADDRESS:PORT, with an IP address.", "%s is no port to listen on here", words[0])
			return
		}
		l := v1alpha1.ForwardListener{Name: fmt.Sprintf("port-%d", n), Port: int32(n), Bind: host, Mode: "Proxy"}
		off := false
		l.Intercept = &off
		p := portOptions{c: c, listener: &l, secure: secure, called: words[0]}
		for _, w := range words[1:] {
			p.option(w)
		}
		if p.finish(); p.left {
			c.note("the port is left out")
			return
		}
		if c.taken[l.Name] {
			l.Name = c.unique(fmt.Sprintf("%s-%d", l.Name, len(c.spec().Listeners)+1), c.taken)
		}
		c.taken[l.Name] = true
		c.ports[p.called] = l.Name
		c.spec().Listeners = append(c.spec().Listeners, l)
		c.honour("spec.listeners[%d]", len(c.spec().Listeners)-1)
	}
}

// portOptions are the options of one port.
type portOptions struct {
	c         *converter
	listener  *v1alpha1.ForwardListener
	secure    bool
	bump      bool
	cert, key string
	clientCA  string
	oldest    string // TLS versions as options leave them open
	called    string // what myportname compares
	left      bool   // there is no such port here: opening it would open more than Squid does
}

func (p *portOptions) option(word string) {
	c := p.c
	name, value, _ := strings.Cut(word, "=")
	switch name {
	case "intercept", "transparent":
		p.listener.Mode = "Transparent"
	case "tproxy":
		p.listener.Mode = "TProxy"
	case "accel", "vhost", "vport", "defaultsite", "act-as-origin", "allow-direct":
		c.refuse("Use an EdgeHost or a Gateway for what is in front of your own servers, with a CachePolicy for its cache.", "%s: this is a reverse proxy's port", word)
		p.left = true
	case "ssl-bump":
		p.bump = true
		*p.listener.Intercept = true
	case "cert", "tls-cert":
		p.cert = value
	case "key", "tls-key":
		p.key = value
	case "clientca", "tls-cafile":
		p.clientCA = value
	case "dynamic_cert_mem_cache_size":
		size, err := parseSize(value)
		if err != nil {
			c.refuse("Write a size such as 4MB.", "%v", err)
			return
		}
		c.interception().MemoryBytes = size
		c.note("spec.interception.memoryBytes")
	case "options":
		p.versions(value)
	case "cipher":
		p.ciphers(value)
	case "name":
		if p.called = value; objectName(value) != "" {
			p.listener.Name = objectName(value)
		}
	case "require-proxy-header":
		p.listener.ProxyProtocol = true
	case "generate-host-certificates":
		if value == "off" {
			c.refuse("Leave the option out.", "one certificate for all hosts cannot be served")
		}
	case "tls-dh", "dhparams", "dh":
		c.noEffect("%s: key exchange is by elliptic curves and ML-KEM, so no parameters of Diffie-Hellman are needed", name)
	case "tcpkeepalive":
		c.noEffect("%s: probes are sent after 60 s", name)
	case "sslflags", "tls-flags":
		if strings.Contains(value, "NO_SESSION_REUSE") || strings.Contains(value, "VERIFY_CRL") {
			c.refuse("Leave the flag out, or keep Squid for this.", "%s cannot be said here", word)
			p.left = p.left || strings.Contains(value, "VERIFY_CRL")
		}
	case "disable-pmtu-discovery", "connection-auth", "protocol", "tls-min-version", "version", "sslcontext", "capath", "crlfile", "tls-default-ca", "no-vhost", "ignore-cc", "qos", "worker-queues", "sni":
		c.noEffect("%s", word)
	default:
		c.refuse("Correct the option; squid -k parse shows whether Squid knows it.", "option %s is not known here", word)
	}
}

// versions reads "NO_SSLv3,NO_TLSv1,..." (also ":" between) and names what stays open.
func (p *portOptions) versions(value string) {
	c := p.c
	closed := map[string]bool{}
	for _, o := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ':' || r == '|' }) {
		closed[strings.ToUpper(o)] = true
		switch strings.ToUpper(o) {
		case "SINGLE_DH_USE", "SINGLE_ECDH_USE":
			c.noEffect("%s is always so", o)
		case "NO_TICKET":
			c.noEffect("%s: tickets are bound to a policy and renewed daily", o)
		}
	}
	switch {
	case closed["NO_TLSV1_2"] && closed["NO_TLSV1_1"] && closed["NO_TLSV1"]:
		p.oldest = "1.3"
	case closed["NO_TLSV1_1"] && closed["NO_TLSV1"]:
		p.oldest = "1.2"
	case closed["NO_TLSV1"]:
		p.oldest = "1.1"
		c.warn("Write NO_TLSv1_1 too, or set spec.interception.minVersion to 1.2.", "options=%s leaves TLS 1.1 open, which RFC 8996 forbids", value)
	default:
		p.oldest = "1.0"
		c.warn("Write NO_TLSv1,NO_TLSv1_1, or set spec.interception.minVersion to 1.2.", "options=%s leaves TLS 1.0 and 1.1 open, which RFC 8996 forbids", value)
	}
}

// ciphers reads a list of OpenSSL. Single suites are taken over; classes are left to the program's own choice.
func (p *portOptions) ciphers(value string) {
	var suites []string
	for _, w := range strings.FieldsFunc(value, func(r rune) bool { return r == ':' || r == ',' }) {
		if strings.Contains(w, "-") && !strings.ContainsAny(w[:1], "!-+@") {
			suites = append(suites, w)
		}
	}
	if len(suites) == 0 {
		p.c.noEffect("cipher=%s names classes of OpenSSL; suites with forward secrecy and AEAD are served", value)
		return
	}
	p.c.interception().CipherSuites = suites
	p.c.note("spec.interception.cipherSuites")
}

func (p *portOptions) finish() {
	c := p.c
	switch {
	case p.cert == "" && p.bump:
		c.refuse("Write tls-cert= and tls-key=.", "a port with ssl-bump needs a CA")
		p.left = true
		return
	case p.cert == "":
		if p.secure && p.listener.Mode == "Proxy" {
			c.refuse("Write tls-cert= and tls-key=.", "https_port needs a certificate")
			p.left = true
		}
		return
	}
	key := p.key
	if key == "" {
		key = p.cert
	}
	if !p.bump && !p.secure {
		c.noEffect("%s: the port speaks no TLS", p.cert)
		return
	}
	name, _ := c.keyPair(p.cert, key)
	switch {
	case p.bump:
		i := c.interception()
		if i.CARef.Name != "" && i.CARef.Name != name {
			c.refuse("Use one CA, or one ForwardProxy for each.", "another port has the CA %s", i.CARef.Name)
			return
		}
		i.CARef = v1alpha1.ObjectReference{Name: name}
		if p.oldest != "" {
			i.MinVersion = p.oldest
		}
		c.note("spec.interception.caRef Secret %s", name)
	case p.secure:
		p.listener.CertificateRef = &v1alpha1.ObjectReference{Name: name}
	}
	if p.clientCA != "" && p.secure {
		p.listener.ClientCARef = &v1alpha1.ObjectReference{Kind: "ConfigMap", Name: c.bundle(p.clientCA)}
	}
}

// parseSize reads "20MB", "4 KB", "100 bytes" or a number of bytes.
func parseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	unit := strings.ToUpper(strings.TrimSpace(text[len(digits):]))
	n, err := strconv.ParseFloat(digits, 64)
	factor, ok := map[string]float64{"": 1, "B": 1, "BYTES": 1, "BYTE": 1, "KB": 1 << 10, "K": 1 << 10, "MB": 1 << 20, "M": 1 << 20, "GB": 1 << 30, "G": 1 << 30}[unit]
	if err != nil || !ok || n < 0 || n*factor > 1<<50 {
		return 0, fmt.Errorf("%q is no size", text)
	}
	return int64(n * factor), nil
}

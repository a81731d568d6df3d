package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/server"
)

// egress is the scene of the way out through a company's intercepting proxy.
type egress struct {
	plain, proxy int // ports of the gateway, besides the one for TLS
	company      int // of the company's proxy
}

// Egress is the scene of a destination behind a company's intercepting proxy, whose CA the gateway alone knows,
// and the three ways in which workloads come to the gateway. The company's proxy is a second gateway.
func Egress() Scene { return &egress{} }

const shop = "shop." + domain

func (e *egress) prepare(ctx context.Context, s *stage) error {
	var cas [4]*authority
	for i, name := range []string{"Hakone Demo CA", "Demo Company proxy", "Demo Public CA", "Demo Company proxy, replaced"} {
		var err error
		if cas[i], err = newAuthority(name); err != nil {
			return err
		}
	}
	mesh, company, public, replaced := cas[0], cas[1], cas[2], cas[3]
	var err error
	if s.ca, err = write(s.dir, "demo-ca.pem", mesh.pem); err != nil {
		return err
	}
	destination, err := startShop(ctx, public)
	if err != nil {
		return err
	}
	for port, want := range map[*int]int{&e.company: 8090, &e.plain: 8180, &e.proxy: 8128} {
		if *port, err = freePort(want); err != nil {
			return err
		}
	}
	if err := e.startCompany(ctx, s, company, public, destination); err != nil {
		return err
	}
	meshSecret, err := mesh.secret("mesh-ca")
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"egress.yaml":  egressManifest,
		"proxies.yaml": fmt.Sprintf(proxiesManifest, e.company),
		"cas.yaml":     meshSecret + bundleYAML("company-ca", company.pem) + bundleYAML("replaced-ca", replaced.pem),
	} {
		if _, err := write(folder(s.dir), name, []byte(text)); err != nil {
			return err
		}
	}
	s.ports = map[uint16]uint16{80: uint16(e.plain), 3128: uint16(e.proxy)}
	return nil
}

// startShop starts the destination.
func startShop(ctx context.Context, public *authority) (int, error) {
	var pairs []tls.Certificate
	for _, name := range []string{shop, "old." + domain} {
		cert, key, err := public.issue(name, false)
		if err != nil {
			return 0, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return 0, fmt.Errorf("load the destination's certificate: %w", err)
		}
		pairs = append(pairs, pair)
	}
	return start(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "<title>%s</title>\n", r.Host)
	}), &tls.Config{Certificates: pairs, MinVersion: tls.VersionTLS12})
}

// startCompany starts the company's proxy, which looks into TLS with a CA of its own.
func (e *egress) startCompany(ctx context.Context, s *stage, company, public *authority, destination int) error {
	dir := s.dir + "/company"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make the company's folder: %w", err)
	}
	secret, err := company.secret("company-ca")
	if err != nil {
		return err
	}
	if _, err := write(dir, "company.yaml", []byte(fmt.Sprintf(companyManifest, destination)+"---\n"+secret+bundleYAML("public-ca", public.pem))); err != nil {
		return err
	}
	cfg := s.opts.Base
	cfg.Folders, cfg.Address = []string{dir}, "127.0.0.1"
	cfg.PortMap = map[uint16]uint16{8080: uint16(e.company)}
	cfg.Admin = "off"
	cfg.AccessLog.Format = "off"
	cfg.DrainTimeout, cfg.SecretGrace = time.Second, secretGrace
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	ready, ended := make(chan struct{}), make(chan error, 1)
	cfg.Ready = func(admin.Status) { close(ready) }
	go func() { ended <- server.Run(ctx, cfg) }()
	select {
	case err := <-ended:
		return fmt.Errorf("the company's proxy: %w", err)
	case <-ready:
		return nil
	}
}

// secret is the authority's certificate and key as a Secret.
func (a *authority) secret(name string) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return "", fmt.Errorf("encode CA key: %w", err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: %s}\ndata:\n  tls.crt: %s\n  tls.key: %s\n---\n", name,
		base64.StdEncoding.EncodeToString(a.pem), base64.StdEncoding.EncodeToString(key)), nil
}

func bundleYAML(name string, certs []byte) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata:\n  bump.pem: |\n    %s\n---\n", name, strings.ReplaceAll(strings.TrimSpace(string(certs)), "\n", "\n    "))
}

func (e *egress) made(s *stage) []string {
	return []string{
		fmt.Sprintf("destination   https://%s, with a certificate of a public CA that nobody here but the company's proxy knows", shop),
		fmt.Sprintf("company       an intercepting proxy on 127.0.0.1:%d (a second gateway); its CA is known to the gateway alone", e.company),
		fmt.Sprintf("ways          A http://%s:%d   B https://%s:%d   C HTTPS_PROXY=127.0.0.1:%d", shop, e.plain, shop, s.port, e.proxy),
		fmt.Sprintf("manifests     %s (ForwardProxy, UpstreamProxy; edit them, they are read at once)", folder(s.dir)),
	}
}

func (e *egress) steps(*stage) []step {
	return []step{
		{host: shop, path: "/", plain: e.plain, status: 200, says: "200, way A: asked in the clear; the gateway tunnels through the company's proxy, speaks TLS and verifies it"},
		{host: shop, path: "/", status: 200, says: "200, way B: the gateway shows a certificate of the demo's CA"},
		{host: shop, path: "/", proxy: e.proxy, status: 200, says: "200, way C: the gateway is the proxy"},
		{host: "blocked." + domain, path: "/", plain: e.plain, status: 403, code: diag.ForwardDenied, says: "403: a rule denies the host"},
		{host: "old." + domain, path: "/", plain: e.plain, status: 502, code: diag.InterceptionUnknownCA, says: "502: this host's proxy intercepts with another CA than the one that was agreed"},
		{command: []string{"egress", "ls"}, wants: []string{shop, "corp"}, says: "the destinations: intercepted by whom, through which proxy"},
		{command: []string{"egress", "explain", "old." + domain}, wants: []string{"interception_unknown_ca"}, says: "and why one is refused"},
	}
}

const egressManifest = `# The way out for workloads, in three ways.
apiVersion: hakone.dev/v1alpha1
kind: ForwardProxy
metadata: {name: egress}
spec:
  listeners:
  - {name: way-a, port: 80, mode: Gateway}
  - {name: way-b, port: 443, mode: Gateway}
  - {name: way-c, port: 3128, mode: Proxy}
  acls:
  - {name: blocked, type: dstdomain, values: [blocked.localhost]}
  access:
  - {action: Deny, acls: [blocked]}
  - {action: Allow, acls: [all]}
  interception:
    caRef: {name: mesh-ca}
  upstream:
    allowLoopback: true # *.localhost is this machine
`

const proxiesManifest = `# The company's proxy, and the CA that it intercepts with, which is believed through it alone.
apiVersion: hakone.dev/v1alpha1
kind: UpstreamProxy
metadata: {name: corp}
spec:
  urls: ["http://127.0.0.1:%[1]d"]
  interception:
    caRef: {kind: ConfigMap, name: company-ca, key: bump.pem}
  hosts: ["*"]
---
# The same proxy with a CA that it does not use any more.
apiVersion: hakone.dev/v1alpha1
kind: UpstreamProxy
metadata: {name: outdated}
spec:
  urls: ["http://127.0.0.1:%[1]d"]
  interception:
    caRef: {kind: ConfigMap, name: replaced-ca, key: bump.pem}
  hosts: [old.localhost]
`

const companyManifest = `apiVersion: hakone.dev/v1alpha1
kind: ForwardProxy
metadata: {name: company}
spec:
  visibleHostname: company.localhost
  listeners:
  - {name: proxy, port: 8080, mode: Proxy}
  interception:
    caRef: {name: company-ca}
  upstream:
    caRef: {kind: ConfigMap, name: public-ca, key: bump.pem}
    allowLoopback: true
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shop}
spec:
  hosts: [shop.localhost, old.localhost]
  ports:
  - {number: 443, name: tls, protocol: TLS}
  resolution: STATIC
  location: MESH_EXTERNAL
  endpoints:
  - address: 127.0.0.1
    ports: {tls: %d}
`

package demo

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// edge is the scene of mutual TLS per path, and towards the origin.
type edge struct {
	alice, bob, carol, mallory [2]string
	origin                     int // its port
}

// Edge is the scene of a host with an underscore, paths for the clients of different CAs, an origin
// that accepts the edge alone, and logs that are pulled.
func Edge() Scene { return &edge{} }

// lb is the host of the scene.
const lb = "mtls_lb." + domain

func (e *edge) prepare(ctx context.Context, s *stage) error {
	var cas [5]*authority
	for i, name := range []string{"Hakone Demo CA", "Demo Staff", "Demo Partners", "Demo Staff", "Demo Origins"} {
		var err error
		if cas[i], err = newAuthority(name); err != nil {
			return err
		}
	}
	public, staff, partners, impostor, origins := cas[0], cas[1], cas[2], cas[3], cas[4]
	var err error
	if s.ca, err = write(s.dir, "demo-ca.pem", public.pem); err != nil {
		return err
	}
	for _, c := range []struct {
		files *[2]string
		ca    *authority
		name  string
	}{{&e.alice, staff, "alice"}, {&e.bob, partners, "bob"}, {&e.carol, staff, "carol"}, {&e.mallory, impostor, "mallory"}} {
		if *c.files, err = s.client(c.ca, c.name); err != nil {
			return err
		}
	}
	crl, err := staff.revoke(e.carol[0])
	if err != nil {
		return err
	}
	if err := e.startOrigin(ctx, origins); err != nil {
		return err
	}
	return e.write(folder(s.dir), public, staff, partners, origins, crl)
}

// startOrigin starts an origin that wants the edge's certificate.
func (e *edge) startOrigin(ctx context.Context, origins *authority) error {
	cert, key, err := origins.issue("mtls_bkend."+domain, false)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("load the origin's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(origins.cert)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	mux := http.NewServeMux()
	mux.HandleFunc("/test1", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"message":"Hello mtls"}`)
	})
	mux.HandleFunc("/", echo)
	e.origin, err = start(ctx, mux, config)
	return err
}

// write writes the manifests.
func (e *edge) write(dir string, public, staff, partners, origins *authority, crl []byte) error {
	cert, key, err := public.issue(lb, false)
	if err != nil {
		return err
	}
	pull, pullKey, err := origins.issue("edge", true)
	if err != nil {
		return err
	}
	secret := func(name string, cert, key []byte) string {
		return fmt.Sprintf("apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: %s}\ndata:\n  tls.crt: %s\n  tls.key: %s\n---\n", name,
			base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key))
	}
	bundle := func(name string, entries ...string) string {
		text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata:\n", name)
		for i := 0; i < len(entries); i += 2 {
			text += fmt.Sprintf("  %s: |\n    %s\n", entries[i], strings.ReplaceAll(strings.TrimSpace(entries[i+1]), "\n", "\n    "))
		}
		return text + "---\n"
	}
	for name, text := range map[string]string{
		"edge.yaml":   fmt.Sprintf(edgeManifest, e.origin),
		"policy.yaml": policyManifest,
		"secrets.yaml": secret("edge", cert, key) + secret("origin-pull", pull, pullKey) +
			bundle("staff-ca", "ca.crt", string(staff.pem), "ca.crl", string(crl)) + bundle("partners-ca", "ca.crt", string(partners.pem)) + bundle("origins-ca", "ca.crt", string(origins.pem)),
	} {
		if _, err := write(dir, name, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}

func (e *edge) made(s *stage) []string {
	return []string{
		"clients       alice and carol of Demo Staff (carol is revoked), bob of Demo Partners, mallory of another CA called Demo Staff",
		fmt.Sprintf("origin        https://127.0.0.1:%d, which accepts the edge's client certificate alone", e.origin),
		fmt.Sprintf("manifests     %s (EdgeHost, OriginPool, OriginPull, ClientCertificatePolicy; edit them, they are read at once)", folder(s.dir)),
	}
}

func (e *edge) steps(*stage) []step {
	return []step{
		{host: lb, path: "/", status: 200, says: "200: no policy covers this path"},
		{host: lb, path: "/test1", client: e.alice, status: 200, says: "200 with an identity cookie; the edge shows the origin its own certificate"},
		{host: lb, path: "/test1", status: 403, code: diag.ClientCertMissing, says: "403, and the page says why"},
		{host: lb, path: "/x/..//TEST1;a=b", status: 403, code: diag.ClientCertMissing, says: "403: other spellings of the path are the path"},
		{host: lb, path: "/test1", client: e.carol, status: 403, code: diag.ClientCertRevoked, says: "403: revoked"},
		{host: lb, path: "/test1", client: e.mallory, status: 403, code: diag.ClientCertUnknownCA, says: "403: another CA of the same name"},
		{host: lb, path: "/partners", client: e.alice, status: 403, code: diag.ClientCertUnknownCA, says: "403: this path is for another CA's clients"},
		{host: lb, path: "/partners", client: e.bob, status: 200, says: "200: on the same port and host"},
		{host: "mtls_bkend." + domain, path: "/test1", direct: e.origin, client: e.alice, says: "refused: the origin accepts the edge alone"},
		{command: []string{"origin", "ls"}, wants: []string{"mtls-pool", "mtls_origin", "healthy"}, says: "the origins and how they are"},
		{command: []string{"logs", "pull", "--fields", "ClientRequestURI,EdgeResponseStatus,MTLSVerdict,MTLSReason,RayID"}, wants: []string{`"client_cert_revoked"`, `"allow"`},
			says: "the requests, as Logpull gives them, with the reason"},
	}
}

// revoke returns a revocation list (PEM) with the certificate in a file.
func (a *authority) revoke(path string) ([]byte, error) {
	pair, err := tls.LoadX509KeyPair(path, strings.TrimSuffix(path, ".pem")+".key")
	if err != nil {
		return nil, fmt.Errorf("read the certificate to revoke: %w", err)
	}
	now := time.Now()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(life),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: pair.Leaf.SerialNumber, RevocationTime: now, ReasonCode: 1}},
	}, a.cert, a.key)
	if err != nil {
		return nil, fmt.Errorf("make revocation list: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), nil
}

const edgeManifest = `# A host as a CDN's console holds it, its origins, and the certificate that it shows them.
apiVersion: hakone.dev/v1alpha1
kind: EdgeHost
metadata: {name: mtls-lb}
spec:
  displayName: mtls_lb
  hosts: [mtls_lb.localhost]
  certificateRefs: [{name: edge}]
  http: "off"
  poolRef: {name: mtls-pool}
---
apiVersion: hakone.dev/v1alpha1
kind: OriginPool
metadata: {name: mtls-pool}
spec:
  displayName: mtls_pool
  origins:
  - {name: mtls_origin, address: 127.0.0.1, port: %d, verifyName: mtls_bkend.localhost}
  monitor: {type: https, path: /health, interval: 5s}
  tls:
    caRef: {kind: ConfigMap, name: origins-ca}
---
apiVersion: hakone.dev/v1alpha1
kind: OriginPull
metadata: {name: localhost}
spec:
  hosts: ["*.localhost"]
  certificateRef: {name: origin-pull}
`

const policyManifest = `# Two paths of one host, each for the clients of another CA.
apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: mtls-app}
spec:
  displayName: mtls_app
  hosts: [mtls_lb.localhost]
  paths: [/test1]
  trust: {caRefs: [{kind: ConfigMap, name: staff-ca}]}
  session: {}
---
apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata: {name: partners}
spec:
  hosts: [mtls_lb.localhost]
  paths: [/partners]
  trust: {caRefs: [{kind: ConfigMap, name: partners-ca}]}
`

//go:build linux

package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
)

// How the peers are set up for the edge. They ask every client for a certificate and decide by path, as
// Hakone does. OpenSSL's TLS 1.2 wants a certificate's curve among those of the key exchange. All three tell the upstream of it in Client-Cert: Hakone and HAProxy as RFC 9440 has it,
// nginx, which cannot, as URL-encoded PEM. The settings beside these are those of the other deployments.

const nginxEdge = `  server {
    listen 127.0.0.1:{{.Doors.ECDSA}} ssl http2{{if gt .Cores 1}} reuseport{{end}} backlog=4096;
    server_name {{.Host}};
    ssl_certificate {{.PKI.Server}};
    ssl_certificate_key {{.PKI.ServerKey}};
    location / { proxy_pass http://plain; }
  }
{{range $i, $port := .Guarded}}  server {
    listen 127.0.0.1:{{$port}} ssl http2{{if gt $.Cores 1}} reuseport{{end}} backlog=4096;
    server_name {{$.Host}};
    ssl_certificate {{$.PKI.Server}};
    ssl_certificate_key {{$.PKI.ServerKey}};
    ssl_client_certificate {{$.PKI.CA}};
    ssl_verify_client optional;
{{- if and $.List (eq $i 1)}}
    ssl_crl {{$.PKI.List}};
{{- end}}
    location / { proxy_pass http://plain; }
    location ~ ^/(in|head)(/|$) {
      if ($ssl_client_verify != SUCCESS) { return 403; }
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id;
      proxy_set_header Client-Cert $ssl_client_escaped_cert;
      proxy_pass http://plain;
    }
  }
{{end}}}
`

const haproxyEdge = `frontend ecdsa
  bind 127.0.0.1:{{.Doors.ECDSA}} ssl crt {{.Own}}/server.pem alpn h2,http/1.1 backlog 4096
{{template "rules" .}}
  default_backend plain
{{range $i, $port := .Guarded}}frontend guarded{{$i}}
  bind 127.0.0.1:{{$port}} ssl crt {{$.Own}}/server.pem alpn h2,http/1.1 ca-file {{$.PKI.CA}} verify optional{{if and $.List (eq $i 1)}} crl-file {{$.PKI.List}}{{end}} backlog 4096
{{template "rules" $}}
  acl inside path_beg /in/ /head
  http-request return status 403 content-type text/plain string "a client certificate is needed here" if inside !{ ssl_c_used }
  http-request set-header Client-Cert :%[ssl_c_der,base64]: if inside
  default_backend plain
{{end}}backend plain
  server up 127.0.0.1:{{.Plain}} pool-max-conn 512 pool-purge-delay 300s
`

// Guarded are the doors that a policy guards, the one with the list second.
func (c configData) Guarded() []int { return []int{c.Doors.MTLS, c.Doors.MTLSEnd} }

// nginxText and haproxyText are the configurations of one deployment: what they have in common, and then
// its doors.
func nginxText(s setup) string {
	if s.Stream {
		return nginxStreamText()
	}
	if s.Edge {
		common, _, _ := strings.Cut(nginxConf, "  server {\n")
		return strings.Replace(common, "ssl_ecdh_curve X25519;", "ssl_ecdh_curve X25519:prime256v1;", 1) + nginxEdge
	}
	return nginxConf
}

func haproxyText(s setup) string {
	if s.Stream {
		return haproxyStream
	}
	if s.Edge {
		common, _, _ := strings.Cut(haproxyConf, "frontend ecdsa\n")
		return strings.Replace(common, "bind-curves X25519\n", "bind-curves X25519:P-256\n", 1) + haproxyEdge
	}
	return haproxyConf
}

// hakoneEdge is the manifests of the same doors.
func hakoneEdge(c configData) (string, error) {
	var b strings.Builder
	for i, name := range []string{"ecdsa", "mtls", "", "mtlsend"} {
		if name != "" {
			fmt.Fprintf(&b, hakoneDoor, name, 443+i, "SIMPLE", "ecdsa", c.Host, name, c.Host, name, "plain")
		}
	}
	entry := func(kind, name, key, path string) error {
		text, err := os.ReadFile(path)
		if err == nil {
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: %s\nmetadata: {name: %s}\nbinaryData:\n  %s: %s\n", kind, name, key, base64.StdEncoding.EncodeToString(text))
		}
		return err
	}
	if err := entry("ConfigMap", "clients", "ca.crt", c.PKI.CA); err != nil {
		return "", err
	}
	lists := ""
	if c.List {
		if err := entry("ConfigMap", "list", "ca.crl", c.PKI.List); err != nil {
			return "", err
		}
		lists = ", crlRefs: [{kind: ConfigMap, name: list}]"
	}
	fmt.Fprintf(&b, hakonePolicy, "mtls", "")
	fmt.Fprintf(&b, hakonePolicy, "mtlsend", lists)
	return b.String(), nil
}

// hakonePolicy is a door's policy. Its arguments are the door's name and more of trust.
const hakonePolicy = `---
apiVersion: hakone.dev/v1alpha1
kind: ClientCertificatePolicy
metadata:
  name: %[1]s
spec:
  targetRefs: [{group: networking.istio.io, kind: Gateway, name: %[1]s}]
  paths: [/in, /head]
  trust: {caRefs: [{kind: ConfigMap, name: clients}]%[2]s}
  forward: [RFC9440]
`

//go:build linux

package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// hakoneArgs writes the manifests of the same four doors and returns the command line. Everything that
// is on by default stays on: metrics, deadlines, bounds, identity headers.
func hakoneArgs(c configData) ([]string, error) {
	folder := filepath.Join(c.Own, "manifests")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	var b strings.Builder
	secret := func(name, cert, key string) error {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: istio-system\ndata:\n", name)
		for _, f := range [][2]string{{"tls.crt", cert}, {"tls.key", key}, {"ca.crt", c.PKI.CA}} {
			text, err := os.ReadFile(f[1])
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "  %s: %s\n", f[0], base64.StdEncoding.EncodeToString(text))
		}
		return nil
	}
	for _, s := range [][3]string{{"ecdsa", c.PKI.Server, c.PKI.ServerKey}, {"rsa", c.PKI.RSA, c.PKI.RSAKey}, {"client", c.PKI.Client, c.PKI.ClientKey}} {
		if err := secret(s[0], s[1], s[2]); err != nil {
			return nil, err
		}
	}
	edge, err := "", error(nil)
	if c.Edge {
		if edge, err = hakoneEdge(c); err != nil {
			return nil, err
		}
	}
	b.WriteString(edge)
	for i, d := range []struct{ name, mode, credential, service string }{
		{"ecdsa", "SIMPLE", "ecdsa", "plain"}, {"mtls", "MUTUAL", "ecdsa", "plain"}, {"rsa", "SIMPLE", "rsa", "plain"}, {"mtlsend", "MUTUAL", "ecdsa", "tls"},
	} {
		if c.Edge || c.Stream || c.Forward {
			break
		}
		fmt.Fprintf(&b, hakoneDoor, d.name, 443+i, d.mode, d.credential, c.Host, d.name, c.Host, d.name, d.service)
	}
	if c.Stream {
		b.WriteString(hakoneStream)
	}
	fmt.Fprintf(&b, hakoneOrigin, c.Host)
	if err := os.WriteFile(filepath.Join(folder, "bench.yaml"), []byte(b.String()), 0o600); err != nil {
		return nil, err
	}
	var more []string
	if c.Forward {
		if more, err = hakoneEgress(c, folder); err != nil {
			return nil, err
		}
	}
	var ports []string
	for i, p := range c.Doors.all() {
		ports = append(ports, fmt.Sprintf("%d=%d", 443+i, p))
	}
	args := []string{c.Binary, "run", "--config", folder, "--address", "127.0.0.1", "--port-map", strings.Join(ports, ","),
		"--admin", "unix:" + filepath.Join(c.Own, "admin.sock"), "--max-connections-per-address", "-1",
		"--endpoint", fmt.Sprintf("plain.default:8000=127.0.0.1:%d", c.Plain), "--endpoint", fmt.Sprintf("tls.default:8000=127.0.0.1:%d", c.TLS)}
	args = append(args, more...)
	if c.AccessLog {
		return append(args, "--access-log", filepath.Join(c.Own, "access.log")), nil
	}
	return append(args, "--access-log-format", "off"), nil
}

// hakoneDoor is a door's Gateway and VirtualService. Its arguments are name, port, mode, credential,
// host, name, host, name, service.
const hakoneDoor = `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: %s
spec:
  selector:
    istio: ingressgateway
  servers:
  - port:
      number: %d
      name: https
      protocol: HTTPS
    tls:
      mode: %s
      credentialName: %s
    hosts:
    - "%s"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: %s
spec:
  hosts:
  - "%s"
  gateways:
  - %s
  http:
  - match:
    - uri:
        prefix: /
    timeout: 60s
    route:
    - destination:
        host: %s
        port:
          number: 8000
`

const hakoneOrigin = `---
apiVersion: v1
kind: Service
metadata:
  name: plain
spec:
  ports:
  - name: http
    port: 8000
---
apiVersion: v1
kind: Service
metadata:
  name: tls
spec:
  ports:
  - name: http
    port: 8000
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: tls
spec:
  host: tls
  trafficPolicy:
    tls:
      mode: MUTUAL
      credentialName: client
      sni: %[1]s
      subjectAltNames:
      - %[1]s
`

package file

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// manyHosts writes hosts with a Secret, a Gateway and a VirtualService each, 100 hosts to a file.
func manyHosts(b *testing.B, hosts int) string {
	b.Helper()
	dir := b.TempDir()
	pem := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("0123456789abcdef"), 75))
	var text bytes.Buffer
	for i := range hosts {
		fmt.Fprintf(&text, `---
apiVersion: v1
kind: Secret
metadata:
  name: h%[1]d
  namespace: istio-system
type: kubernetes.io/tls
data:
  tls.crt: %[2]s
  tls.key: %[2]s
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: h%[1]d
spec:
  selector:
    istio: ingressgateway
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    tls: {mode: SIMPLE, credentialName: h%[1]d}
    hosts: [h%[1]d.example.com]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: h%[1]d
spec:
  hosts: [h%[1]d.example.com]
  gateways: [h%[1]d]
  http:
  - match:
    - uri: {prefix: /status}
    route:
    - destination: {host: httpbin, port: {number: 8000}}
`, i, pem)
		if i%100 == 99 || i == hosts-1 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d.yaml", i)), text.Bytes(), 0o644); err != nil {
				b.Fatal(err)
			}
			text.Reset()
		}
	}
	return dir
}

// BenchmarkLoad10kHosts loads 30,000 objects afresh.
func BenchmarkLoad10kHosts(b *testing.B) {
	dir := manyHosts(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		set, ds, err := New([]string{dir}, quiet()).Load(b.Context())
		if err != nil || len(ds) != 0 || set.Len() != 30_000 {
			b.Fatal(err, len(ds))
		}
	}
}

// BenchmarkReload10kHosts loads them again after one document has changed.
func BenchmarkReload10kHosts(b *testing.B) {
	dir := manyHosts(b, 10_000)
	s := New([]string{dir}, quiet())
	if _, _, err := s.Load(b.Context()); err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		i++
		if err := os.WriteFile(filepath.Join(dir, "zz.yaml"), []byte(configMap(fmt.Sprintf("n%d", i))), 0o644); err != nil {
			b.Fatal(err)
		}
		if set, _, err := s.Load(b.Context()); err != nil || set.Len() != 30_001 {
			b.Fatal(err)
		}
	}
}

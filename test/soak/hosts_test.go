//go:build soak

package soak

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

// Bounds. They are several times what a machine of two cores needs.
const (
	hosts         = 10_000
	startBound    = 45 * time.Second
	changeBound   = 10 * time.Second
	perHostBound  = 96 << 10 // bytes resident
	perFile       = 100      // hosts whose Gateway and VirtualService share a file
	settle        = 15 * time.Second
	changesTimed  = 7
	brokenHost    = 4711
	handshakeWait = 3 * time.Second
)

func hostName(i int) string   { return fmt.Sprintf("h%05d.example.com", i) }
func secretFile(i int) string { return fmt.Sprintf("secret-%05d.yaml", i) }

// pair issues the certificate of a host; its serial number tells which one is served.
func pair(ca *testca.Pair, i int, serial int64) string {
	p := ca.Issue(testca.Spec{CommonName: hostName(i), DNS: []string{hostName(i)}, Serial: big.NewInt(serial)})
	return testca.SecretYAML("istio-system", fmt.Sprintf("cred-%05d", i), map[string][]byte{"tls.crt": p.ChainPEM(), "tls.key": p.KeyPEM()})
}

func routing(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: gw-%05[1]d
spec:
  selector:
    istio: ingressgateway
  servers:
  - port:
      number: 443
      name: https
      protocol: HTTPS
    tls:
      mode: SIMPLE
      credentialName: cred-%05[1]d
    hosts:
    - %[2]s
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: vs-%05[1]d
spec:
  hosts:
  - %[2]s
  gateways:
  - gw-%05[1]d
  http:
  - match:
    - uri:
        prefix: /status
    route:
    - destination:
        host: httpbin
        port:
          number: 8000
`, i, hostName(i))
	}
	return b.String()
}

const service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: httpbin\nspec:\n  ports:\n  - name: http\n    port: 8000\n"

// folder fills dir with n hosts. The one called brokenHost, if there are so many, has a key that is none.
func folder(t *testing.T, ca *testca.Pair, dir string, n int) {
	t.Helper()
	write := func(name, text string) {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("service.yaml", service)
	for i := range n {
		if i%perFile == 0 {
			write(fmt.Sprintf("hosts-%05d.yaml", i), routing(i, min(n, i+perFile)))
		}
		text := pair(ca, i, 1)
		if i == brokenHost {
			text = testca.SecretYAML("istio-system", fmt.Sprintf("cred-%05d", i), map[string][]byte{"tls.crt": []byte("no certificate"), "tls.key": []byte("no key")})
		}
		write(secretFile(i), text)
	}
}

// served returns the serial number of the certificate that a host presents now, checked against ca.
func served(ca *testca.Pair, addr, host string) (int64, error) {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: handshakeWait}, "tcp", addr, &tls.Config{ServerName: host, RootCAs: ca.Pool()})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

// await polls until a host presents the certificate with a serial number, and returns how long it took
// since begin.
func await(t *testing.T, ca *testca.Pair, g *gateway.Gateway, host string, serial int64, begin time.Time, bound time.Duration) time.Duration {
	t.Helper()
	var last error
	for time.Since(begin) < bound {
		got, err := served(ca, g.Addr(443), host)
		if err == nil && got == serial {
			return time.Since(begin)
		}
		last = err
		if g.Ended() {
			t.Fatalf("the gateway ended:\n%s", g.Stderr())
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not present certificate %d after %v: %v", host, serial, bound, last)
	return 0
}

// residentBytes returns the process's resident bytes.
func residentBytes(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

func start(t *testing.T, dir, backend string, args ...string) *gateway.Gateway {
	t.Helper()
	return gateway.Start(t, gateway.Options{Dir: dir, Ports: []int{443}, Unready: true, Endpoints: []string{"httpbin.default:8000=" + backend},
		Args: append([]string{"--access-log-format", "off"}, args...)})
}

func TestTenThousandHosts(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	backend := httpbin.Start(t)

	one := gateway.Folder(t)
	folder(t, ca, one, 1)
	g := start(t, one, backend)
	begin := time.Now()
	t.Logf("one host serves after %v", await(t, ca, g, hostName(0), 1, begin, startBound).Round(time.Millisecond))
	time.Sleep(3 * time.Second)
	idle := residentBytes(t, g.PID())
	t.Logf("one host: %.1f MB resident", float64(idle)/1e6)

	many := gateway.Folder(t)
	folder(t, ca, many, hosts)
	g = start(t, many, backend)
	begin = time.Now()
	ready := await(t, ca, g, hostName(hosts-1), 1, begin, startBound)
	t.Logf("%d hosts serve after %v", hosts, ready.Round(time.Millisecond))
	for i := 0; i < hosts; i += 97 {
		if i == brokenHost {
			continue
		}
		if serial, err := served(ca, g.Addr(443), hostName(i)); err != nil || serial != 1 {
			t.Fatalf("%s: certificate %d, %v", hostName(i), serial, err)
		}
	}
	if _, err := served(ca, g.Addr(443), hostName(brokenHost)); err == nil {
		t.Errorf("%s is served although its secret is broken", hostName(brokenHost))
	}
	time.Sleep(settle)
	perHost := (residentBytes(t, g.PID()) - idle) / (hosts - 1)
	t.Logf("%d hosts: %.1f MB resident, %.1f KiB per host", hosts, float64(residentBytes(t, g.PID()))/1e6, float64(perHost)/1024)
	if perHost > perHostBound {
		t.Errorf("%d bytes per host, more than %d", perHost, perHostBound)
	}
	changes(t, ca, g)
	t.Logf("afterwards: %.1f MB resident", float64(residentBytes(t, g.PID()))/1e6)
}

// changes rotates single certificates and measures the time from the rename of the file to a handshake
// with the new one; then it mends the broken host.
func changes(t *testing.T, ca *testca.Pair, g *gateway.Gateway) {
	var times []time.Duration
	for i := range changesTimed {
		host := (i*1999 + 5) % hosts
		text := pair(ca, host, int64(100+i))
		begin := time.Now()
		g.Write(secretFile(host), text)
		times = append(times, await(t, ca, g, hostName(host), int64(100+i), begin, changeBound))
		// Others are as they were.
		if serial, err := served(ca, g.Addr(443), hostName(host+1)); err != nil || serial != 1 {
			t.Fatalf("%s: certificate %d, %v", hostName(host+1), serial, err)
		}
	}
	slices.Sort(times)
	t.Logf("one certificate's change among %d hosts serves after %v (median), %v (longest)", hosts, times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
	begin := time.Now()
	g.Write(secretFile(brokenHost), pair(ca, brokenHost, 2))
	t.Logf("the broken host serves %v after it was mended", await(t, ca, g, hostName(brokenHost), 2, begin, changeBound).Round(time.Millisecond))
	begin = time.Now()
	text := base64.StdEncoding.EncodeToString([]byte("no key"))
	g.Write("unrelated.yaml", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: unrelated\n  namespace: istio-system\ndata:\n  tls.key: "+text+"\n")
	g.Write(secretFile(0), pair(ca, 0, 3))
	t.Logf("with an unrelated broken secret beside it a change serves after %v", await(t, ca, g, hostName(0), 3, begin, changeBound).Round(time.Millisecond))
}

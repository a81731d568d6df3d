//go:build soak

package soak

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

// Bounds of policies. They are several times what a machine of two cores needs.
const (
	listed       = 100_000 // entries of a revocation list
	manyClients  = 20_000
	clientGrowth = 64 << 20 // bytes resident that all but the first quarter of the clients may add
	workers      = 8
	group        = 40 // clients that a list names, and the other does not
	swaps        = 6
	swapBound    = 15 * time.Second
	policies     = 10_000
	perPolicy    = 64 << 10 // bytes resident
)

// guarded is a gateway with hosts whose path /in is open to clients of one CA.
type guarded struct {
	*testing.T
	g           *gateway.Gateway
	public, own *testca.Pair
	files       map[string]string
}

func newGuarded(t *testing.T, hosts ...string) *guarded {
	w := &guarded{T: t, public: testca.New(t, testca.Spec{CommonName: "Public"}), own: testca.New(t, testca.Spec{CommonName: "Clients"}), files: map[string]string{}}
	w.files["ca.yaml"] = binaryMap("ca", "ca.crt", w.own.CertPEM())
	w.files["edge.yaml"] = testca.SecretYAML("default", "edge", w.public.Issue(testca.Spec{DNS: hosts}).SecretData(testca.FormatTLS, nil, nil))
	host, port, err := net.SplitHostPort(httpbin.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	w.files["pool.yaml"] = fmt.Sprintf("apiVersion: hakone.dev/v1alpha1\nkind: OriginPool\nmetadata: {name: edge}\nspec:\n  origins: [{name: only, address: %s, port: %s}]\n", host, port)
	return w
}

func binaryMap(name, entry string, content []byte) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\nbinaryData:\n  %s: %s\n", name, entry, base64.StdEncoding.EncodeToString(content))
}

func edgeHost(name string, hosts ...string) string {
	return fmt.Sprintf("apiVersion: hakone.dev/v1alpha1\nkind: EdgeHost\nmetadata: {name: %s}\nspec:\n  hosts: [\"%s\"]\n  certificateRefs: [{name: edge}]\n  poolRef: {name: edge}\n", name, strings.Join(hosts, `", "`))
}

func policyFor(name, spec string) string {
	return fmt.Sprintf("apiVersion: hakone.dev/v1alpha1\nkind: ClientCertificatePolicy\nmetadata: {name: %s}\nspec: %s\n", name, spec)
}

func (w *guarded) start() {
	w.Helper()
	w.g = gateway.Start(w, gateway.Options{Files: w.files, Ports: []int{443}, Args: []string{"--access-log-format", "off"}})
}

// visitor is one connection of a client.
type visitor struct {
	*tls.Conn
	r    *bufio.Reader
	host string
}

func (w *guarded) visit(host string, cert *testca.Pair) (*visitor, error) {
	conf := &tls.Config{ServerName: host, RootCAs: w.public.Pool()}
	if cert != nil {
		conf.Certificates = []tls.Certificate{cert.TLS()}
	}
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", w.g.Addr(443), conf)
	if err != nil {
		return nil, err
	}
	return &visitor{c, bufio.NewReader(c), host}, nil
}

// ask requests the closed path and returns "200", or status and code of a refusal.
func (v *visitor) ask() (string, error) {
	_ = v.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(v, "GET /in/status HTTP/1.1\r\nHost: %s\r\nAccept: application/json\r\n\r\n", v.host); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(v.r, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode == http.StatusOK {
		return "200", nil
	}
	var page struct{ Code string }
	if err := json.Unmarshal(body, &page); err != nil {
		return "", fmt.Errorf("status %d: %w", resp.StatusCode, err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, page.Code), nil
}

func (w *guarded) once(host string, cert *testca.Pair) (string, error) {
	v, err := w.visit(host, cert)
	if err != nil {
		return "", err
	}
	defer v.Close()
	return v.ask()
}

// list revokes listed certificates that nobody has, and these.
func (w *guarded) list(number int64, revoked ...*testca.Pair) string {
	all := make([]*x509.Certificate, 0, listed+len(revoked))
	base := new(big.Int).Lsh(big.NewInt(5), 120)
	for i := range listed {
		all = append(all, &x509.Certificate{SerialNumber: new(big.Int).Add(base, new(big.Int).Lsh(big.NewInt(int64(i)), 64))})
	}
	for _, p := range revoked {
		all = append(all, p.Cert)
	}
	return binaryMap("list", "ca.crl", w.own.CRL(testca.CRLSpec{Revoked: all, Number: number}))
}

func (w *guarded) issue(n int, name string) []*testca.Pair {
	out := make([]*testca.Pair, n)
	for i := range out {
		out[i] = w.own.Issue(testca.Spec{CommonName: fmt.Sprintf("%s %05d", name, i)})
	}
	return out
}

// TestManyClientsAndAList has more clients come than verdicts are remembered, and then swaps a list of
// 100,000 entries while clients come whom one list names and the other does not.
func TestManyClientsAndAList(t *testing.T) {
	w := newGuarded(t, "a.test")
	groups := [2][]*testca.Pair{w.issue(group, "even"), w.issue(group, "odd")}
	lists := [2]string{w.list(1, groups[0]...), w.list(2, groups[1]...)}
	w.files["host.yaml"] = edgeHost("a", "a.test")
	w.files["policy.yaml"] = policyFor("in", "{hosts: [a.test], paths: [/in], trust: {caRefs: [{kind: ConfigMap, name: ca}], crlRefs: [{kind: ConfigMap, name: list}]}, revocation: {mode: Hard}}")
	w.files["list.yaml"] = lists[0]
	begin := time.Now()
	w.start()
	t.Logf("with a list of %d entries (%.1f MB as a manifest) it is ready after %v, with %.1f MB resident", listed, float64(len(lists[0]))/1e6, time.Since(begin).Round(time.Millisecond), float64(residentBytes(t, w.g.PID()))/1e6)
	w.come(w.issue(manyClients, "client"))
	w.swap(groups, lists)
}

// come lets every client in once.
func (w *guarded) come(clients []*testca.Pair) {
	w.Helper()
	quarter := len(clients) / 4
	visit := func(some []*testca.Pair) {
		var next atomic.Int64
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				for i := next.Add(1) - 1; i < int64(len(some)); i = next.Add(1) - 1 {
					if got, err := w.once("a.test", some[i]); got != "200" {
						w.Errorf("client %d: %s, %v", i, got, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	begin := time.Now()
	visit(clients[:quarter])
	early := residentBytes(w.T, w.g.PID())
	visit(clients[quarter:])
	took, end := time.Since(begin), residentBytes(w.T, w.g.PID())
	w.Logf("%d clients, each with a certificate of its own: %.0f handshakes with a request a second, with their clients on the same cores; resident %.1f MB after a quarter, %.1f MB at the end",
		len(clients), float64(len(clients))/took.Seconds(), float64(early)/1e6, float64(end)/1e6)
	if end-early > clientGrowth {
		w.Errorf("the last three quarters of the clients cost %d bytes, more than %d", end-early, clientGrowth)
	}
}

// swap replaces the list again and again. phase counts: even, the list phase/2 is in force; odd, it is
// being replaced.
func (w *guarded) swap(groups [2][]*testca.Pair, lists [2]string) {
	w.Helper()
	var phase, asked, sure atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	judge := func(of int, before, after int64, got string) {
		asked.Add(1)
		if got != "200" && got != "403 HK2106" {
			w.Errorf("a client got %q", got)
		}
		if before != after || before%2 != 0 {
			return
		}
		sure.Add(1)
		if revoked := int(before/2)%2 == of; revoked != (got != "200") {
			w.Errorf("phase %d: a client of group %d got %q", before, of, got)
		}
	}
	for n := range workers {
		of, kept := n%2, n >= workers/2
		wg.Go(func() {
			var v *visitor
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				before := phase.Load()
				var err error
				if v == nil {
					v, err = w.visit("a.test", groups[of][i%group])
				}
				got := ""
				if err == nil {
					got, err = v.ask()
				}
				if err != nil {
					w.Errorf("group %d, kept %v: %v", of, kept, err)
					return
				}
				judge(of, before, phase.Load(), got)
				if !kept {
					v.Close()
					v = nil
				}
			}
		})
	}
	var times []time.Duration
	for n := 1; n <= swaps && !w.Failed(); n++ {
		time.Sleep(time.Second)
		phase.Add(1)
		begin := time.Now()
		w.g.Change(func() { w.g.Write("list.yaml", lists[n%2]) })
		phase.Add(1)
		times = append(times, time.Since(begin))
	}
	time.Sleep(time.Second)
	close(stop)
	wg.Wait()
	slices.Sort(times)
	if len(times) == 0 {
		return
	}
	w.Logf("%d times another list of %d entries under load: in force after %v (median), %v (longest); %d answers, of which %d between two changes, all as the list says; %.1f MB resident",
		len(times), listed, times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond), asked.Load(), sure.Load(), float64(residentBytes(w.T, w.g.PID()))/1e6)
	if times[len(times)-1] > swapBound {
		w.Errorf("a list took %v to be in force", times[len(times)-1])
	}
}

// TestTenThousandPolicies has a policy, which lets one client in, on each of ten thousand hosts.
func TestTenThousandPolicies(t *testing.T) {
	hosts := func(from, to int) (names []string) {
		for i := from; i < to; i++ {
			names = append(names, hostName(i))
		}
		return names
	}
	w := newGuarded(t, "*.example.com")
	closed := func(i int, client string) string {
		return policyFor(fmt.Sprintf("p-%05d", i), fmt.Sprintf("{hosts: [%s], paths: [/in], trust: {caRefs: [{kind: ConfigMap, name: ca}]}, allow: [{commonNames: [%s]}]}", hostName(i), client))
	}
	for i := 0; i < policies; i += perFile {
		w.files[fmt.Sprintf("hosts-%05d.yaml", i)] = edgeHost(fmt.Sprintf("e-%05d", i), hosts(i, i+perFile)...)
	}
	ready := func() time.Duration {
		begin := time.Now()
		w.start()
		return time.Since(begin)
	}
	without := ready()
	time.Sleep(settle)
	plain := residentBytes(t, w.g.PID())
	for i := 0; i < policies; i += perFile {
		var text []string
		for n := i; n < i+perFile; n++ {
			text = append(text, closed(n, fmt.Sprintf("client-%d", n)))
		}
		w.files[fmt.Sprintf("policies-%05d.yaml", i)] = strings.Join(text, "---\n")
	}
	with := ready()
	time.Sleep(settle)
	held := residentBytes(t, w.g.PID())
	t.Logf("%d hosts are ready after %v, with a policy each after %v; resident %.1f and %.1f MB, %.1f KiB a policy", policies, without.Round(time.Millisecond), with.Round(time.Millisecond),
		float64(plain)/1e6, float64(held)/1e6, float64(held-plain)/policies/1024)
	if with > startBound || held-plain > policies*perPolicy {
		t.Errorf("ready after %v, %d bytes for the policies", with, held-plain)
	}
	var times []time.Duration
	for n := range changesTimed {
		i := (n*1999 + 7) % policies
		mine, other := w.own.Issue(testca.Spec{CommonName: fmt.Sprintf("client-%d", i)}), w.own.Issue(testca.Spec{CommonName: "somebody else"})
		expect := func(when, mineWant, otherWant string) {
			t.Helper()
			for _, c := range []struct {
				cert *testca.Pair
				want string
			}{{mine, mineWant}, {other, otherWant}, {nil, "403 HK2101"}} {
				if got, err := w.once(hostName(i), c.cert); got != c.want {
					t.Errorf("%s, %s: %s, want %s, %v", hostName(i), when, got, c.want, err)
				}
			}
		}
		expect("before", "200", "403 HK2117")
		file := i / perFile * perFile
		name := fmt.Sprintf("policies-%05d.yaml", file)
		text := strings.Replace(w.files[name], fmt.Sprintf("commonNames: [client-%d]", i), "commonNames: [somebody else]", 1)
		begin := time.Now()
		w.g.Write(name, text)
		times = append(times, w.until(begin, hostName(i), other, "200"))
		expect("after", "403 HK2117", "200")
	}
	slices.Sort(times)
	t.Logf("one policy's change among %d is in force after %v (median), %v (longest); afterwards %.1f MB resident", policies, times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond),
		float64(residentBytes(t, w.g.PID()))/1e6)
}

// until asks until the answer is as wanted, and returns how long that took.
func (w *guarded) until(begin time.Time, host string, cert *testca.Pair, want string) time.Duration {
	w.Helper()
	err := errors.New("nothing was asked")
	for got := ""; time.Since(begin) < changeBound; time.Sleep(10 * time.Millisecond) {
		if got, err = w.once(host, cert); got == want {
			return time.Since(begin)
		}
	}
	w.Fatalf("%s does not answer %s: %v", host, want, err)
	return 0
}

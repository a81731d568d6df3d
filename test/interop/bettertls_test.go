//go:build e2e

package interop

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/tlsconf"
	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/program"
)

// betterVectors is how many vectors bettertls has; a suite that shrinks fails.
const betterVectors = 9572

// vectors is what bettertls exports.
type vectors struct {
	TrustRoot []byte
	Suites    map[string]struct{ TestCases []vector }
}

type vector struct {
	ID           uint
	Suite        string
	Certificates [][]byte
	Hostname     string
	Expected     string // ACCEPT or REJECT
}

// TestBetterTLS judges the vectors of bettertls (path building, name constraints, names) as Hakone does,
// three times: as the chains of upstreams by the verifier, the same in real handshakes, and as the
// chains of clients by the verifier. Each has to come out as the suite expects, also where the suite
// would let a failure pass as a warning.
//
// The vectors are certificates of servers, and no keys come with them. So:
//
//   - In the handshakes the server signs with another key. A chain that is refused ends the handshake with
//     its own reason; one that is accepted gets as far as the signature, and fails there. Which of the
//     two it was is what is compared.
//   - A client's certificate has to be for clientAuth, and has no name to be compared with. So where a
//     certificate of a vector is for serverAuth it is read as being for clientAuth (the parsed value is
//     changed, what is signed is not; what is for anything else stays so), and the host name is asked for
//     as the policy's subject alternative name. Without the first every vector would be refused for its
//     usage, which proves nothing, and is tested too. crypto/tls verifies clients by the certificates as
//     they are, so there are no handshakes of that kind.
func TestBetterTLS(t *testing.T) {
	t.Parallel()
	all, root := loadVectors(t)
	cases := map[string]func(*betterJudge, vector) (accepted bool, why string){
		"upstreams, verifier":  (*betterJudge).upstream,
		"upstreams, handshake": (*betterJudge).handshake,
		"clients, verifier":    (*betterJudge).client,
	}
	for name, judge := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			j := newBetterJudge(t, root)
			var right, wrong, accepted atomic.Int64
			feed := make(chan vector)
			var wg sync.WaitGroup
			for range runtime.GOMAXPROCS(0) {
				wg.Go(func() {
					for v := range feed {
						ok, why := judge(j, v)
						if ok {
							accepted.Add(1)
						}
						if ok == (v.Expected == "ACCEPT") {
							right.Add(1)
						} else if wrong.Add(1) <= 10 {
							t.Errorf("%s %d for %s: want %s, got %s", v.Suite, v.ID, v.Hostname, v.Expected, why)
						}
					}
				})
			}
			for _, v := range all {
				feed <- v
			}
			close(feed)
			wg.Wait()
			t.Logf("bettertls, %s: %d of %d as expected (%d accepted) in %.1f s", name, right.Load(), len(all), accepted.Load(), time.Since(begin).Seconds())
			if right.Load() != betterVectors || accepted.Load() != 865 {
				t.Errorf("want %d of %d, and 865 of them accepted", betterVectors, betterVectors)
			}
		})
	}
	t.Run("clients as they are", func(t *testing.T) {
		j := newBetterJudge(t, root)
		for i := 0; i < len(all); i += 97 {
			v := all[i]
			got := j.clientPolicy(t, v).VerifyClient(parse(v), time.Now())
			if got.Verified() || v.Expected == "ACCEPT" && got.Code != diag.ClientCertWrongEKU {
				t.Errorf("%s %d: a certificate for servers is judged %v as a client's", v.Suite, v.ID, got.Code)
			}
		}
	})
}

// loadVectors has the suite write its vectors, which it signs anew each time.
func loadVectors(t *testing.T) ([]vector, *x509.Certificate) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "vectors.json")
	r := program.Run(t, program.Command{Path: program.Suite(t, "bettertls"), Args: []string{"export-tests", "-out", file}, Limit: 2 * time.Minute})
	if r.Code != 0 {
		t.Fatalf("bettertls exports nothing: %s", r.Err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(v.TrustRoot)
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	for _, s := range v.Suites {
		all = append(all, s.TestCases...)
	}
	if len(all) != betterVectors {
		t.Fatalf("bettertls has %d vectors, want %d", len(all), betterVectors)
	}
	return all, root
}

// betterJudge judges vectors by the suite's root.
type betterJudge struct {
	t     *testing.T
	trust *ir.TrustBundle
	state *tlsconf.State
	key   *ecdsa.PrivateKey // that none of the certificates is for
}

func newBetterJudge(t *testing.T, root *x509.Certificate) *betterJudge {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &betterJudge{t: t, trust: &ir.TrustBundle{Bundle: secret.NewBundle(root)}, state: tlsconf.NewState(nil), key: key}
}

// parse reads the certificates of a vector, as crypto/tls does before anything is verified; nil if it
// would end the handshake because one cannot be read.
func parse(v vector) []*x509.Certificate {
	var out []*x509.Certificate
	for _, der := range v.Certificates {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil
		}
		out = append(out, c)
	}
	return out
}

func (j *betterJudge) settings(v vector) *ir.UpstreamTLS {
	return &ir.UpstreamTLS{SNI: v.Hostname, Trust: "default/ca"}
}

func (j *betterJudge) upstream(v vector) (bool, string) {
	certs := parse(v)
	if certs == nil {
		return false, "unreadable"
	}
	p, err := trust.ServerPolicy(j.settings(v), j.trust, nil, nil)
	if err != nil {
		j.t.Fatal(err)
	}
	got := trust.New(p, nil).VerifyServer(certs, v.Hostname, time.Now())
	return got.Verified(), fmt.Sprint(got.Code, " ", got.Detail)
}

// handshake presents the vector to an Originator.
func (j *betterJudge) handshake(v vector) (bool, string) {
	o := tlsconf.Originate(fmt.Sprint(v.Suite, v.ID), j.settings(v), &ir.Secrets{}, &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"default/ca": j.trust}}, j.state, nil)
	near, far := net.Pipe()
	defer near.Close()
	ctx, cancel := context.WithTimeout(j.t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{{Certificate: v.Certificates, PrivateKey: j.key}}, SessionTicketsDisabled: true})
		_ = server.HandshakeContext(ctx)
	}()
	conn, rec := o.Handshake(ctx, near, v.Hostname, ir.UpstreamHTTP1)
	near.Close()
	<-done
	if conn != nil {
		j.t.Errorf("%s %d: a server without the certificate's key is let through", v.Suite, v.ID)
	}
	return strings.Contains(rec.Err, "invalid signature by the server certificate"), fmt.Sprint(rec.Code, " ", rec.Detail, " ", rec.Err)
}

func (j *betterJudge) clientPolicy(t *testing.T, v vector) *trust.Verifier {
	p, err := trust.ClientPolicy(ir.ClientAuth{Mode: ir.ClientAuthRequire, SANs: []string{v.Hostname}}, j.trust)
	if err != nil {
		t.Fatal(err)
	}
	return trust.New(p, nil)
}

func (j *betterJudge) client(v vector) (bool, string) {
	certs := parse(v)
	if certs == nil {
		return false, "unreadable"
	}
	for _, c := range certs {
		for i, u := range c.ExtKeyUsage {
			if u == x509.ExtKeyUsageServerAuth {
				c.ExtKeyUsage[i] = x509.ExtKeyUsageClientAuth
			}
		}
	}
	got := j.clientPolicy(j.t, v).VerifyClient(certs, time.Now())
	return got.Verified(), fmt.Sprint(got.Code, " ", got.Detail)
}

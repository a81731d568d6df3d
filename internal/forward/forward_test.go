package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestHashes has what openssl passwd and htpasswd make.
func TestHashes(t *testing.T) {
	for _, c := range []struct{ hash, password string }{
		{"$apr1$saltsalt$h4k6S0LBRJ.JL8vHj2hh//", "pass word!"},
		{"$1$abc$M2NT.2ClnBVGVBheAhb0./", "pass word!"},
		{"$5$saltstring$khVCmnERKky4r2bsYHeyRHJpK5wDdo2nAlEfPSFmsWD", "pass word!"},
		{"$6$saltstring$J2NZwrPC52QU.JPn/BfDobPFtj6eKTLDFK9KrRxDkC59D0uC4W0aXVlPhu4Ycar.PY4/CNKNjGnIv0fSqWn0N.", "pass word!"},
		{"$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.", "Hello world!"},
		{"{SHA}lrmyqQLSSl1HR/uV3DCYxh6azjQ=", "pass word!"},
		{"$2a$04$XXXXXXXXXXXXXXXXXXXXXOOZ1EyWW3Uj5Fd7Wy9Xv3mNz5aQ0YfBy", ""}, // malformed on purpose: matches nothing
	} {
		if got := matches([]byte(c.hash), []byte(c.password)); got != (c.password != "") {
			t.Errorf("%s: %v", c.hash, got)
		}
		if matches([]byte(c.hash), []byte("other")) {
			t.Errorf("%s matches another password", c.hash)
		}
	}
	for hash, want := range map[string]string{"plain": "neither bcrypt", "$6$rounds=99999999$s$x": "rounds", "$2y$31$" + strings.Repeat("a", 53): "cost 31", "{SHA}x": "malformed", "$apr1$x": "malformed"} {
		if got := HashProblem([]byte(hash)); !strings.Contains(got, want) {
			t.Errorf("%s: %q", hash, got)
		}
	}
}

// TestLogins has verified passwords forgotten in time and with the file.
func TestLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logins
		l.init(time.Now)
		users := &ir.Passwords{Digest: "1", Users: map[string]secret.Bytes{"a": secret.NewBytes([]byte("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="))}}
		client := netip.MustParseAddr("192.0.2.1")
		good, bad := "Basic YTpwYXNzd29yZA==", "Basic YTpndWVzcw=="
		verify := func(field string) diag.Code { _, code, _ := l.verify(field, users, time.Hour, client); return code }
		if verify(good) != 0 || verify("basic YTpwYXNzd29yZA==") != 0 || verify(bad) != diag.ForwardAuthFailed {
			t.Fatal("verification is wrong")
		}
		for range maxWrong {
			verify(bad)
		}
		if got := verify(bad); got != diag.ForwardAuthLimited {
			t.Errorf("a guesser: %s", got)
		}
		if verify(good) != 0 {
			t.Error("who is known is asked again because of a guesser")
		}
		time.Sleep(wrongFor + time.Second)
		if got := verify(bad); got != diag.ForwardAuthFailed {
			t.Errorf("after a minute: %s", got)
		}
		users.Users = map[string]secret.Bytes{}
		if verify(good) != 0 {
			t.Error("the remembered login does not hold for its time")
		}
		users.Digest = "2"
		if verify(good) == 0 {
			t.Error("a login outlives the file")
		}
		for i := range 3 * maxLogins {
			l.good[l.id("x", "u", strings.Repeat("x", i%100)+string(rune(i)))] = time.Now().Add(time.Hour)
			if len(l.good) >= maxLogins {
				l.forget(time.Now())
			}
		}
		if len(l.good) > maxLogins {
			t.Errorf("%d logins are kept", len(l.good))
		}
	})
}

// TestGuessersWhoWaitTogether has an address send its guesses at once, so that none is counted when the others begin to
// wait for their turn.
func TestGuessersWhoWaitTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logins
		l.init(time.Now)
		users := &ir.Passwords{Digest: "1", Users: map[string]secret.Bytes{"a": secret.NewBytes([]byte("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="))}}
		for range cap(l.run) {
			l.run <- struct{}{}
		}
		var tried atomic.Int32
		var all sync.WaitGroup
		for range 10 * maxWrong {
			all.Go(func() {
				if _, code, _ := l.verify("Basic YTpndWVzcw==", users, time.Hour, netip.MustParseAddr("192.0.2.1")); code == diag.ForwardAuthFailed {
					tried.Add(1)
				}
			})
		}
		synctest.Wait() // all wait for a turn
		for range cap(l.run) {
			<-l.run
		}
		all.Wait()
		if n := int(tried.Load()); n > maxWrong+cap(l.run) {
			t.Errorf("%d guesses were looked at", n)
		}
	})
}

// TestLongPasswords are not hashed: what that costs grows with them.
func TestLongPasswords(t *testing.T) {
	field := func(n int) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("a:"+strings.Repeat("x", n)))
	}
	if _, _, ok := basic(field(maxPassword)); !ok {
		t.Error("a long password is refused")
	}
	if _, _, ok := basic(field(maxPassword + 1)); ok {
		t.Error("one that is too long is taken")
	}
}

// TestHosts tells names of hosts from what only looks like one, or is taken for an address by others.
func TestHosts(t *testing.T) {
	for _, host := range []string{"a.test", "a_b.test", "xn--bcher-kva.test", "10.0.0.1", "::1", "0x.test", "1a", "1.a"} {
		if !isHost(host) || numberLike(host) {
			t.Errorf("%s is refused", host)
		}
	}
	for _, host := range []string{"127.1", "0x7f.1", "0x7f.0.0.0x1", "2130706433", "017700000001", "0x7f000001", "127.0.0.01", "1.2.3.4.5", "a.1", "0x", "fe80::1%eth0", "::ffff:10.0.0.1", "a b", "a..b", "[::1]", "a:1", "a\r\nb", ""} {
		if isHost(host) {
			t.Errorf("%q is taken", host)
		}
	}
}

// TestCanonical has one form for each host.
func TestCanonical(t *testing.T) {
	for host, want := range map[string]string{"A.Test.": "a.test", "2001:DB8:0:0::1": "2001:db8::1", "::1": "::1", "10.0.0.1": "10.0.0.1", "0:0:0:0:0:0:0:1": "::1"} {
		if got := canonical(host); got != want {
			t.Errorf("%s is %s", host, got)
		}
	}
	n := &Tunnel{explicit: true, host: canonical("2001:DB8:0::1")}
	if !n.Covers([]byte("2001:db8:0:0::1")) || n.Covers([]byte("2001:db8::2")) && n.tls {
		t.Error("a tunnel to an address does not cover it")
	}
}

// TestServersThatDrip looks at each byte once.
func TestServersThatDrip(t *testing.T) {
	var f serverFlight
	b := []byte{22, 3, 3, 0, 1, 2} // a ServerHello in records of one byte each
	var all []byte
	for range 4096 {
		all = append(all, b...)
		b[5] = 0
		if _, done := f.look(all); done {
			t.Fatal("done")
		}
		if f.next != len(all) {
			t.Fatalf("%d of %d bytes are taken", f.next, len(all))
		}
		if len(f.msgs)-f.at > maxPeek || f.at > len(f.msgs) {
			t.Fatalf("%d, %d", f.at, len(f.msgs))
		}
	}
}

func TestPinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pinned
		p.init(time.Now)
		if p.refused("a") || p.spliced("a") {
			t.Error("one refusal is enough")
		}
		p.accepted("a")
		if p.refused("a") || !p.refused("a") || !p.spliced("a") || p.spliced("b") {
			t.Error("two refusals in a row are not enough")
		}
		time.Sleep(pinnedFor + time.Second)
		if p.spliced("a") {
			t.Error("spliced for ever")
		}
		for i := range 2 * maxPinned {
			p.refused(string(rune(i + 1000)))
		}
		if len(p.hosts) > maxPinned {
			t.Errorf("%d hosts are kept", len(p.hosts))
		}
	})
}

// fakeDNS answers from tables.
type fakeDNS struct {
	asked int
	addrs map[string][]netip.Addr
	names map[string][]string
}

func (f *fakeDNS) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a := f.addrs[host]; a != nil {
		return a, nil
	}
	return nil, errors.New("no such host")
}

func (f *fakeDNS) LookupAddr(_ context.Context, addr string) ([]string, error) {
	f.asked++
	return f.names[addr], nil
}

// TestConfirmed believes names of addresses only if they lead back.
func TestConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := netip.MustParseAddr("192.0.2.1")
		dns := &fakeDNS{addrs: map[string][]netip.Addr{"mine.test": {a}, "lie.test": {netip.MustParseAddr("192.0.2.2")}}, names: map[string][]string{"192.0.2.1": {"Mine.test.", "lie.test."}}}
		var n names
		n.init(dns, time.Now)
		for range 3 {
			if got := n.confirmed(a); len(got) != 1 || got[0] != "mine.test" {
				t.Errorf("%v", got)
			}
		}
		if dns.asked != 1 {
			t.Errorf("DNS was asked %d times", dns.asked)
		}
		time.Sleep(nameFor + time.Second)
		if n.confirmed(a); dns.asked != 2 {
			t.Error("an answer holds for ever")
		}
	})
}

// flight returns what a server sends first.
func flight(t testing.TB, max uint16) []byte {
	ca := testca.New(t, testca.Spec{})
	leaf := ca.Issue(testca.Spec{DNS: []string{"a.test"}}).TLS()
	client, server := net.Pipe()
	var read bytes.Buffer
	go func() {
		_ = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{leaf}, MaxVersion: max}).Handshake()
		server.Close()
	}()
	c := tls.Client(&tee{client, &read}, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})
	_ = c.Handshake()
	c.Close()
	return read.Bytes()
}

type tee struct {
	net.Conn
	into *bytes.Buffer
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.into.Write(p[:n])
	return n, err
}

// TestServerCertificates reads a server's first flight in pieces.
func TestServerCertificates(t *testing.T) {
	for _, c := range []struct {
		max  uint16
		want string
	}{{tls.VersionTLS12, "a.test"}, {tls.VersionTLS13, ""}} {
		all := flight(t, c.max)
		for _, r := range []io.Reader{bytes.NewReader(all), &oneByte{all}} {
			read, chain := readServer(r)
			got := ""
			if len(chain) > 0 {
				got = chain[0].DNSNames[0]
			}
			if got != c.want || !bytes.HasPrefix(all, read) {
				t.Errorf("%x: %q, %d of %d bytes", c.max, got, len(read), len(all))
			}
		}
	}
	for _, junk := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "\x15\x03\x03\x00\x02\x02\x28", "\x16\x03\x03\x00\x00"} {
		if _, chain := readServer(strings.NewReader(junk)); chain != nil {
			t.Errorf("%q has a chain", junk)
		}
	}
}

type oneByte struct{ b []byte }

func (o *oneByte) Read(p []byte) (int, error) {
	if len(o.b) == 0 {
		return 0, io.EOF
	}
	p[0], o.b = o.b[0], o.b[1:]
	return 1, nil
}

func FuzzServerCertificates(f *testing.F) {
	f.Add(flight(f, tls.VersionTLS12))
	f.Add(flight(f, tls.VersionTLS13))
	f.Fuzz(func(t *testing.T, b []byte) {
		read, _ := readServer(bytes.NewReader(b))
		if !bytes.HasPrefix(b, read) || len(b) < maxPeek && len(read) > len(b) {
			t.Error("what was read is not what was sent")
		}
	})
}

func TestErrorNames(t *testing.T) {
	ca, other := testca.New(t, testca.Spec{}), testca.New(t, testca.Spec{})
	bundle, _, err := secret.ParseBundle(ca.CertPEM())
	if err != nil {
		t.Fatal(err)
	}
	p := &Policy{ir: &ir.Forward{Template: ir.Upstream{TLS: &ir.UpstreamTLS{Trust: "t"}}}, opts: Options{State: NewState(StateOptions{}), Trust: &ir.Trust{ByRef: map[ir.TrustRef]*ir.TrustBundle{"t": {Bundle: bundle}}}}}
	past := time.Now().Add(-time.Hour)
	self := testca.SelfSigned(t, testca.Spec{DNS: []string{"a.test"}})
	for _, c := range []struct {
		code  diag.Code
		chain []*x509.Certificate
		want  string
	}{
		{0, nil, ""},
		{diag.UpstreamNameMismatch, ca.Issue(testca.Spec{DNS: []string{"b.test"}}).Chain(), "SQUID_X509_V_ERR_DOMAIN_MISMATCH"},
		{diag.UpstreamUnknownCA, other.Issue(testca.Spec{DNS: []string{"a.test"}}).Chain()[:1], "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY"},
		{diag.UpstreamUnknownCA, []*x509.Certificate{self.Cert}, "X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT"},
		{diag.UpstreamCertExpired, ca.Issue(testca.Spec{DNS: []string{"a.test"}, NotBefore: past.Add(-time.Minute), NotAfter: past}).Chain()[:1], "X509_V_ERR_CERT_HAS_EXPIRED"},
		{diag.UpstreamCertExpired, other.Issue(testca.Spec{DNS: []string{"b.test"}, NotBefore: past.Add(-time.Minute), NotAfter: past}).Chain()[:1],
			"X509_V_ERR_CERT_HAS_EXPIRED SQUID_X509_V_ERR_DOMAIN_MISMATCH X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY"},
		// A CA that was renewed since.
		{diag.UpstreamCertExpired, ca.Issue(testca.Spec{DNS: []string{"a.test"}, NotBefore: past.Add(-50 * time.Hour), NotAfter: past.Add(-49 * time.Hour)}).Chain()[:1], "X509_V_ERR_CERT_HAS_EXPIRED"},
		// A leaf of nobody's with a certificate beside it that was never valid at the same time, and one that nothing verifies.
		{diag.UpstreamCertExpired, []*x509.Certificate{other.Issue(testca.Spec{DNS: []string{"a.test"}, NotBefore: past.Add(-time.Minute), NotAfter: past}).Cert, ca.Issue(testca.Spec{NotBefore: past.Add(time.Minute)}).Cert},
			"X509_V_ERR_CERT_HAS_EXPIRED X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY"},
		{diag.UpstreamNameMismatch, other.Issue(testca.Spec{DNS: []string{"b.test"}, Extra: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true}}}).Chain()[:1],
			"SQUID_X509_V_ERR_DOMAIN_MISMATCH X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY"},
		{diag.UpstreamCertRevoked, ca.Issue(testca.Spec{DNS: []string{"a.test"}}).Chain(), "X509_V_ERR_CERT_REVOKED"},
	} {
		if got := strings.Join(p.errorNames(c.code, c.chain, "a.test", nil), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.code, got, c.want)
		}
	}
}

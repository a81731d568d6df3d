package tlsconf

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/test/testca"
)

// kept is a sink for handshakes.
type kept chan *telemetry.Handshake

func (k kept) Handshake(h *telemetry.Handshake) { k <- h }
func (k kept) Access(*telemetry.Access)         {}

// readAll reads a connection as the driver does, and has what went wrong recorded as it would be.
func (k kept) readAll(res *Result) {
	c := res.Stream(k)
	if n, err := c.Read(make([]byte, 1)); n == 0 {
		k <- res.AfterHandshake(err)
		return
	}
	_, _ = io.Copy(io.Discard, c)
	close(k)
}

// rogue is a TLS 1.3 client that writes the records of its application traffic by itself.
type rogue struct {
	t      *testing.T
	raw    net.Conn
	tls    *tls.Conn
	secret []byte
	seq    uint64
	aead   cipher.AEAD
	iv     []byte
}

func newRogue(t *testing.T, addr string, config *tls.Config) *rogue {
	t.Helper()
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	var keys bytes.Buffer
	config.KeyLogWriter = &keys
	r := &rogue{t: t, raw: raw, tls: tls.Client(raw, config)}
	if err := r.tls.Handshake(); err != nil {
		t.Fatal(err)
	}
	if s := r.tls.ConnectionState(); s.CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Fatalf("suite %s", tls.CipherSuiteName(s.CipherSuite))
	}
	for line := range strings.Lines(keys.String()) {
		if f := strings.Fields(line); f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			r.secret, _ = hex.DecodeString(f[2])
		}
	}
	r.derive()
	return r
}

// expand is HKDF-Expand-Label (RFC 8446 section 7.1).
func (r *rogue) expand(label string, n int) []byte {
	label = "tls13 " + label
	info := append([]byte{byte(n >> 8), byte(n), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, r.secret, string(append(info, 0)), n)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// derive makes key and nonce of the present secret.
func (r *rogue) derive() {
	block, err := aes.NewCipher(r.expand("key", 16))
	if err != nil {
		r.t.Fatal(err)
	}
	if r.aead, err = cipher.NewGCM(block); err != nil {
		r.t.Fatal(err)
	}
	r.iv, r.seq = r.expand("iv", 12), 0
}

// record returns an encrypted record.
func (r *rogue) record(kind byte, content ...byte) []byte {
	nonce := bytes.Clone(r.iv)
	for i, b := range binary.BigEndian.AppendUint64(nil, r.seq) {
		nonce[4+i] ^= b
	}
	r.seq++
	size := len(content) + 1 + r.aead.Overhead()
	head := []byte{23, 3, 3, byte(size >> 8), byte(size)}
	return r.aead.Seal(head, nonce, append(content, kind), head)
}

// keyUpdate returns a KeyUpdate that asks for one in return, and moves on to the next key.
func (r *rogue) keyUpdate() []byte {
	b := r.record(22, 24, 0, 0, 1, 1)
	r.secret = r.expand("traffic upd", 32)
	r.derive()
	return b
}

// TestKeyUpdateStorm has a client change keys before every byte, so that crypto/tls never sees many
// KeyUpdates in a row, and in a row; honest ones may change them now and then.
func TestKeyUpdateStorm(t *testing.T) {
	ca := testca.New(t, testca.Spec{CommonName: "CA"})
	for name, c := range map[string]struct {
		rounds int
		round  func(*rogue) []byte
		want   diag.Code
	}{
		"between bytes": {1000, func(r *rogue) []byte { return append(r.keyUpdate(), r.record(23, 'x')...) }, diag.TLSRecordFlood},
		"in a row":      {1000, (*rogue).keyUpdate, diag.TLSRecordFlood},
		"empty records": {1000, func(r *rogue) []byte { return append(r.record(23), r.record(23, 'x')...) }, diag.TLSRecordFlood},
		"fragments":     {1000, func(r *rogue) []byte { return r.record(22, 24, 0, 0xff, 0xf0) }, diag.TLSRecordFlood},
		"now and then":  {20, func(r *rogue) []byte { return append(r.keyUpdate(), r.record(23, 'x')...) }, 0},
		"only bytes":    {1000, func(r *rogue) []byte { return r.record(23, 'x') }, 0},
	} {
		w := newWorld()
		w.host(t, "a.test", ca.Issue(testca.Spec{DNS: []string{"a.test"}}))
		w.opts.IdleRecords = listen.IdleRecords{Burst: 50, Rate: 1}
		told := make(kept, 2)
		w.after = told.readAll
		g := w.serve(t)
		r := newRogue(t, g.addr, client(ca, "a.test"))
		if rec := g.record(); rec.Code != 0 {
			t.Fatal(rec.Detail)
		}
		go func() { _, _ = io.Copy(io.Discard, r.raw) }()
		_, err := r.raw.Write(r.record(23, 'x'))
		for i := 0; i < c.rounds && err == nil; i++ {
			_, err = r.raw.Write(c.round(r))
		}
		_ = r.raw.(*net.TCPConn).CloseWrite()
		got := diag.Code(0)
		if rec := <-told; rec != nil {
			got = rec.Code
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestRenegotiation refuses a second handshake and says so, before the first byte and after it.
func TestRenegotiation(t *testing.T) {
	ca := testca.New(t, testca.Spec{CommonName: "CA"})
	for _, stdin := range []string{"R\n", "x\nR\n"} {
		w := newWorld()
		w.host(t, "a.test", ca.Issue(testca.Spec{DNS: []string{"a.test"}}))
		told := make(kept, 2)
		w.after = told.readAll
		g := w.serve(t)
		in, feed := io.Pipe()
		go func() {
			for line := range strings.Lines(stdin) { // s_client looks for commands at the beginning of what it reads
				_, _ = io.WriteString(feed, line)
				time.Sleep(200 * time.Millisecond)
			}
		}()
		out := make(chan string)
		go func() {
			out <- runReading(t, in, "openssl", "s_client", "-connect", g.addr, "-servername", "a.test", "-tls1_2")
		}()
		g.record()
		if rec := <-told; rec == nil || rec.Code != diag.Renegotiation {
			t.Errorf("%q: %+v", stdin, rec)
		}
		feed.Close()
		if text := <-out; !strings.Contains(text, "RENEGOTIATING") {
			t.Errorf("%q: openssl did not renegotiate:\n%s", stdin, text)
		}
	}
}

package tlsconf

import (
	"net"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestSlowHellosGiveWay floods the gate with connections that send half a hello: the oldest go, others
// get in, and nothing is left over.
func TestSlowHellosGiveWay(t *testing.T) {
	ca := testca.New(t, testca.Spec{CommonName: "CA"})
	w := newWorld()
	w.host(t, "a.test", ca.Issue(testca.Spec{DNS: []string{"a.test"}}))
	w.opts.Bounds = overload.New(overload.Options{MaxHandshakes: 3, MaxPerAddress: -1})
	w.opts.Timeout = time.Minute
	g := w.serve(t)
	slow := func() net.Conn {
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_, _ = c.Write([]byte{22, 3, 1, 1, 0, 1})
		return c
	}
	first := slow()
	for w.opts.Bounds.State().Resources[2].Used != 1 {
		time.Sleep(time.Millisecond)
	}
	for range 3 {
		slow()
	}
	if rec := g.record(); rec.Code != diag.OverloadHandshakes || rec.Remote.String() != first.LocalAddr().String() || rec.Duration > 30*time.Second {
		t.Errorf("%s %s after %s", rec.Code, rec.Remote, rec.Duration)
	}
	if out := g.dial(client(ca, "a.test")); out.err != nil {
		t.Errorf("a good client among slow ones: %v", out.err)
	}
	ends := map[diag.Code]int{}
	for range 2 { // the one that gave way and the good one, in any order
		ends[g.record().Code]++
	}
	if ends[diag.OverloadHandshakes] != 1 || ends[0] != 1 {
		t.Errorf("ended with %v", ends)
	}
	if s := w.opts.Bounds.State(); s.Resources[2].Used != 2 || s.Shed[diag.OverloadHandshakes] != 2 {
		t.Errorf("%+v", s)
	}
}

// TestShareOfAddress keeps one address from taking all handshakes where it has a bound.
func TestShareOfAddress(t *testing.T) {
	ca := testca.New(t, testca.Spec{CommonName: "CA"})
	w := newWorld()
	w.host(t, "a.test", ca.Issue(testca.Spec{DNS: []string{"a.test"}}))
	w.opts.Bounds = overload.New(overload.Options{MaxHandshakes: 4, MaxPerAddress: 100})
	g := w.serve(t)
	for range 3 {
		c, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if rec := g.record(); rec.Code != diag.OverloadHandshakes {
		t.Errorf("%s %s", rec.Code, rec.Detail)
	}
}

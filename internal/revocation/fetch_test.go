package revocation

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/trust"
	"github.com/hakone-gateway/hakone/test/testca"
)

func TestAllowed(t *testing.T) {
	for addr, want := range map[string][2]bool{ // any, public only
		"93.184.216.34": {true, true}, "2606:4700::1111": {true, true},
		"10.1.2.3": {true, false}, "192.168.1.1": {true, false}, "127.0.0.1": {true, false}, "::1": {true, false}, "fd00::1": {true, false}, "100.64.1.1": {true, false},
		"::ffff:10.1.2.3": {true, false}, "169.254.169.254": {false, false}, "::ffff:169.254.169.254": {false, false}, "fe80::1": {false, false},
		"64:ff9b::a9fe:a9fe": {false, false}, "64:ff9b:1::a9fe:a9fe": {false, false}, "2002:a9fe:a9fe::1": {false, false}, "::ffff:0:169.254.169.254": {false, false}, "::169.254.169.254": {false, false},
		"64:ff9b::10.1.2.3": {true, false}, "64:ff9b::93.184.216.34": {true, true}, "64:ff9b::c0a8:0101": {true, false}, "2002:5db8:d822::1": {true, true}, "2002:7f00:1::1": {true, false},
		"198.18.0.1": {true, false}, "198.19.255.255": {true, false}, "192.0.0.8": {true, false}, "240.0.0.1": {true, false}, "100.127.255.255": {true, false}, "64:ff9b::198.18.0.1": {true, false},
		"fd00:ec2::254": {false, false}, "0.0.0.0": {false, false}, "::": {false, false}, "224.0.0.1": {false, false}, "255.255.255.255": {false, false},
	} {
		a := netip.MustParseAddr(addr)
		if allowed(a, false) != want[0] || allowed(a, true) != want[1] {
			t.Errorf("%s: %v %v, want %v", addr, allowed(a, false), allowed(a, true), want)
		}
	}
}

// The guard looks at the address that is connected to, after names and redirects.
func TestForbiddenAddresses(t *testing.T) {
	ca := testca.New(t, testca.Spec{})
	list := ca.CRL(testca.CRLSpec{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/away") {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
			return
		}
		_, _ = w.Write(list)
	}))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	for _, tc := range []struct {
		name, url string
		public    bool
		is        trust.Standing
		result    string
	}{
		{"loopback", srv.URL + "/ca.crl", false, trust.Good, "ok"},
		{"by name", "http://localhost:" + port + "/ca.crl", false, trust.Good, "ok"},
		{"public only", "http://localhost:" + port + "/ca.crl", true, trust.Unknown, "forbidden"},
		{"redirect to a cloud's metadata", srv.URL + "/away", false, trust.Unknown, "forbidden"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := New(Options{Public: tc.public})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); _ = s.Run(ctx) }()
			leaf := ca.Issue(testca.Spec{CRLs: []string{tc.url}})
			f := s.Check(leaf.Cert, ca.Cert, hardCRL, time.Now())
			if f.Standing != tc.is || s.State().Fetches[FetchResult{"crl", tc.result}] != 1 {
				t.Errorf("%+v %v", f, s.State().Fetches)
			}
			stop()
			<-done
		})
	}
}

package dataplane

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestForwardGatewayPorts has clients name the port by which they came to a Gateway listener: the destination, the log
// and the cache know its own URL, and what the destination says of that leads clients where they came from.
func TestForwardGatewayPorts(t *testing.T) {
	for _, secure := range []bool{true, false} {
		t.Run(fmt.Sprintf("TLS at the destination %v", secure), func(t *testing.T) {
			o := newOutside(t, nil)
			asked := 0
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				scheme := "http"
				if r.TLS != nil {
					scheme = "https"
				}
				w.Header().Set("Cache-Control", "max-age=600")
				w.Header().Set("Location", scheme+"://"+r.Host+"/next")
				w.Header().Set("Refresh", "5; url="+scheme+"://"+r.Host+"/later")
				w.Header().Set("Set-Cookie", "a=1; Secure")
				w.WriteHeader(http.StatusMovedPermanently)
				fmt.Fprint(w, r.Host)
			}))
			scheme := "http"
			if secure {
				s.TLS = &tls.Config{Certificates: []tls.Certificate{o.public.Issue(testca.Spec{DNS: []string{"localhost"}}).TLS()}}
				s.StartTLS()
				scheme = "https"
			} else {
				s.Start()
			}
			t.Cleanup(s.Close)
			_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
			o.use(func(f *ir.Forward, snap *ir.Snapshot) {
				l := snap.Config.Listeners[1].Forward
				_, _ = fmt.Sscan(port, &l.OriginatePort)
				l.OriginateTLS = secure
				f.RewriteLocation, f.RewriteCookies = true, true
				f.Cache = &ir.Cache{Name: "ports", MemoryBytes: 1 << 20, MaxObjectBytes: 1 << 16}
			})
			at := o.address(o.applied, "*:3129")
			_, bound, _ := net.SplitHostPort(at)
			for _, host := range []string{"localhost", "localhost:" + bound, "localhost:8180", "LOCALHOST:80"} { // the later ones from the cache
				conn, err := net.Dial("tcp", at)
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				fmt.Fprintf(conn, "GET /page HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host)
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				conn.Close()
				if string(body) != "localhost:"+port {
					t.Errorf("%s: the destination was told %q", host, body)
				}
				back := strings.TrimSuffix("http://"+strings.ToLower(host), ":80")
				if got := resp.Header.Get("Location"); !strings.EqualFold(got, back+"/next") {
					t.Errorf("%s: Location %s", host, got)
				}
				if got := resp.Header.Get("Refresh"); !strings.EqualFold(got, "5; url="+back+"/later") {
					t.Errorf("%s: Refresh %s", host, got)
				}
				if got := resp.Header.Get("Set-Cookie"); strings.Contains(got, "Secure") == secure {
					t.Errorf("%s: Set-Cookie %s", host, got)
				}
			}
			if asked != 1 {
				t.Errorf("the destination was asked %d times", asked)
			}
			o.logged("TCP_MISS/301 GET " + scheme + "://localhost:" + port + "/page - HIER_DIRECT -")
			o.logged("TCP_MEM_HIT/301 GET " + scheme + "://localhost:" + port + "/page - HIER_NONE -")
		})
	}
}

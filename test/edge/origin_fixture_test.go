//go:build e2e

package edge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/testca"
)

// originServer is an origin that answers with what it was asked, and is well or ill as a test says.
type originServer struct {
	name   string
	addr   string // fixed, also while it is down
	tls    *tls.Config
	t      *testing.T
	check  atomic.Int32 // status at /health
	answer atomic.Int32 // status of everything else
	served atomic.Int32 // requests but checks

	mu     sync.Mutex // guards what follows
	server *httptest.Server
	certs  map[string]int // how often clients with which common names asked, checks included
}

// originSays is the body of an originServer's answer.
type originSays struct {
	Origin, Host, SNI, Client string
}

// startOrigin starts one, with TLS if config is not nil.
func startOrigin(t *testing.T, name string, config *tls.Config) *originServer {
	t.Helper()
	o := &originServer{name: name, tls: config, t: t, certs: map[string]int{}}
	o.check.Store(200)
	o.answer.Store(200)
	o.up()
	t.Cleanup(o.down)
	return o
}

func (o *originServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	says := originSays{Origin: o.name, Host: r.Host}
	if r.TLS != nil {
		says.SNI = r.TLS.ServerName
		if len(r.TLS.PeerCertificates) > 0 {
			says.Client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
	}
	o.mu.Lock()
	o.certs[says.Client]++
	o.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	status := o.answer.Load()
	if r.URL.Path == "/health" {
		status = o.check.Load()
	} else {
		o.served.Add(1)
	}
	w.WriteHeader(int(status))
	_ = json.NewEncoder(w).Encode(says)
}

// up lets it listen, at the address that it had before.
func (o *originServer) up() {
	o.t.Helper()
	address := o.addr
	if address == "" {
		address = fmt.Sprintf("127.0.0.1:%d", gateway.FreePort(o.t))
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		o.t.Fatal(err)
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{Handler: o, ErrorLog: log.New(io.Discard, "", 0)}}
	if o.tls != nil {
		s.TLS = o.tls.Clone()
		s.StartTLS()
	} else {
		s.Start()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.server, o.addr = s, address
}

// down ends it and its connections, as the death of its process would.
func (o *originServer) down() {
	o.mu.Lock()
	s := o.server
	o.server = nil
	o.mu.Unlock()
	if s != nil {
		s.Listener.Close()
		s.CloseClientConnections()
		s.Close()
	}
}

// entry is the origin in a pool; more are further fields, as "weight: 0.5".
func (o *originServer) entry(more ...string) string {
	address, port, _ := strings.Cut(o.addr, ":")
	return "{" + strings.Join(append([]string{"name: " + o.name, "address: " + address, "port: " + port}, more...), ", ") + "}"
}

// originPool makes a pool; spec holds the lines of its spec behind the origins.
func originPool(name string, origins []string, spec ...string) string {
	text := "apiVersion: hakone.dev/v1alpha1\nkind: OriginPool\nmetadata: {name: " + name + "}\nspec:\n  origins:\n"
	for _, o := range origins {
		text += "  - " + o + "\n"
	}
	for _, line := range spec {
		text += "  " + line + "\n"
	}
	return text
}

// originHost makes an EdgeHost that leads hosts to a pool; its certificate is the Secret edge.
func originHost(name, pool string, hosts ...string) string {
	return fmt.Sprintf("apiVersion: hakone.dev/v1alpha1\nkind: EdgeHost\nmetadata: {name: %s}\nspec:\n  hosts: [\"%s\"]\n  certificateRefs: [{name: edge}]\n  poolRef: {name: %s}\n",
		name, strings.Join(hosts, `", "`), pool)
}

// originWorld is a world whose hosts are led to the pool main; the manifest of the pool is pool.yaml.
func originWorld(t *testing.T, pool string, hosts ...string) *world {
	t.Helper()
	w := newWorld(t, hosts...)
	w.files["hosts.yaml"] = originHost("edge", "main", hosts...)
	w.files["pool.yaml"] = pool
	return w
}

// changePool writes the pool's manifest and waits until it serves.
func (w *world) changePool(text string) {
	w.Helper()
	w.g.Change(func() { w.g.Write("pool.yaml", text) })
}

// asked is what the origin said of a request that must have been answered.
func (w *world) asked(c *http.Client, url string, fields ...string) originSays {
	w.Helper()
	a := w.get(c, url, fields...)
	if a.StatusCode != 200 {
		w.Fatalf("%s: %d %s", url, a.StatusCode, a.Body)
	}
	return saidBy(w.T, a.Body)
}

func saidBy(t *testing.T, body string) originSays {
	t.Helper()
	var s originSays
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatalf("%v: %q", err, body)
	}
	return s
}

// fromAddress is a browser whose connections come from an address of loopback.
func (w *world) fromAddress(address string) *http.Client {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	tr := &http.Transport{TLSClientConfig: w.config("", nil), DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", w.g.Addr(443))
	}}
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// originRow is an origin in "hakone origin ls -o json".
type originRow struct {
	Origin, Health, Code, Reason string
	Requests, Failures           int
}

// originLs returns the origins of a pool by name, and the pool's state.
func (w *world) originLs(pool string) (map[string]originRow, string) {
	w.Helper()
	r := w.g.Run("origin", "ls", "-o", "json")
	if r.Code != 0 {
		w.Fatalf("origin ls: %d %s", r.Code, r.Err)
	}
	var pools []struct {
		Pool, State string
		Origins     []originRow
	}
	if err := json.Unmarshal([]byte(r.Out), &pools); err != nil {
		w.Fatalf("%v: %s", err, r.Out)
	}
	for _, p := range pools {
		if p.Pool == pool {
			rows := map[string]originRow{}
			for _, o := range p.Origins {
				rows[o.Origin] = o
			}
			return rows, p.State
		}
	}
	w.Fatalf("origin ls has no pool %s:\n%s", pool, r.Out)
	return nil, ""
}

// awaitOrigin waits until origin ls shows an origin of the pool main so, and returns its row.
func (w *world) awaitOrigin(name, health string) originRow {
	w.Helper()
	var row originRow
	await(w.T, "origin "+name+" "+health, func() bool {
		rows, _ := w.originLs("default/main")
		row = rows[name]
		return row.Health == health
	})
	return row
}

// traffic sends requests until stop, which returns how many there were and what went wrong.
type traffic struct {
	ended  chan struct{}
	wg     sync.WaitGroup
	mu     sync.Mutex // guards what follows
	count  int
	faults []string
}

// startTraffic lets clients browse url over HTTP/2 and 1.1; every fourth request has a connection of its own.
func (w *world) startTraffic(url string, clients int) *traffic {
	w.Helper()
	return w.startTrafficOf(url, clients, nil, w.public.Pool())
}

// startTrafficOf is startTraffic of clients with a certificate, if cert is not nil, who trust other CAs.
func (w *world) startTrafficOf(url string, clients int, cert *testca.Pair, roots *x509.CertPool) *traffic {
	w.Helper()
	l := &traffic{ended: make(chan struct{})}
	for i := range clients {
		c := w.browser(i%2 == 0, "", cert)
		c.Transport.(*http.Transport).TLSClientConfig.RootCAs = roots
		l.wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-l.ended:
					return
				case <-time.After(4 * time.Millisecond):
				}
				a, err := w.try(c, url)
				l.mu.Lock()
				l.count++
				switch {
				case err != nil:
					l.faults = append(l.faults, err.Error())
				case a.StatusCode != 200:
					l.faults = append(l.faults, fmt.Sprintf("%d %s", a.StatusCode, a.Body))
				}
				l.mu.Unlock()
				if n%4 == 0 {
					c.CloseIdleConnections()
				}
			}
		})
	}
	w.Cleanup(func() { l.stop() })
	return l
}

func (l *traffic) stop() (int, []string) {
	select {
	case <-l.ended:
	default:
		close(l.ended)
	}
	l.wg.Wait()
	return l.count, l.faults
}

// flawless ends the traffic, of which no request may have failed.
func (w *world) flawless(l *traffic) {
	w.Helper()
	n, faults := l.stop()
	if n < 50 {
		w.Errorf("only %d requests", n)
	}
	if len(faults) > 0 {
		w.Errorf("%d of %d requests failed, for example: %.700s", len(faults), n, faults[0])
	}
}

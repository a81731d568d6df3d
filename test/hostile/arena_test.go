//go:build e2e

package hostile

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/httpbin"
	"github.com/hakone-gateway/hakone/test/testca"
)

const (
	host     = "site.example.com"
	attacker = "127.0.0.2" // so that bounds for one address spare the others, who are 127.0.0.1
	length   = 2500 * time.Millisecond
	// patience of a well-behaved client with one request; machines that run tests are slow at times.
	patience = 5 * time.Second
	mebibyte = 1 << 20
)

// arena is a gateway under attack.
type arena struct {
	t  *testing.T
	g  *gateway.Gateway
	ca *testca.Pair

	goneMu sync.Mutex
	gone   map[http2.ErrCode]int // connections of attackers by the code of the GOAWAY that ended them
}

// trial is one attack and what must be seen of it.
type trial struct {
	name string
	code string        // that the log and a metric must name; "" for none
	kind string        // of the log's line; "" for any
	args []string      // of the gateway
	away http2.ErrCode // the GOAWAY that attackers must see; 0 for none
	// alone says that even well-behaved clients may be refused meanwhile: the bound is one of everybody.
	alone bool
	// memory is how much the process may grow, in MiB; 128 if 0.
	memory int
	run    func(a *arena, until time.Time)
}

// openArena starts a gateway with its workload.
func openArena(t *testing.T, args ...string) *arena {
	t.Helper()
	ca := testca.New(t, testca.Spec{CommonName: "Hostile CA"})
	leaf := ca.Issue(testca.Spec{DNS: []string{host}})
	srv := httptest.NewServer(httpbin.Handler())
	t.Cleanup(srv.Close)
	g := gateway.Start(t, gateway.Options{Args: args, Endpoints: []string{"backend.default:8000=" + srv.Listener.Addr().String()}, Files: map[string]string{
		"gateway.yaml": "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: gw\nspec:\n  gatewayClassName: istio\n  listeners:\n" +
			"  - name: web\n    port: 80\n    protocol: HTTP\n" +
			"  - name: tls\n    port: 443\n    protocol: HTTPS\n    tls:\n      certificateRefs:\n      - name: site\n",
		"route.yaml": "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: all\nspec:\n  parentRefs:\n  - name: gw\n" +
			"  rules:\n  - backendRefs:\n    - name: backend\n      port: 8000\n",
		"service.yaml": "apiVersion: v1\nkind: Service\nmetadata:\n  name: backend\nspec:\n  ports:\n  - name: http\n    port: 8000\n",
		"secret.yaml":  testca.SecretYAML("default", "site", leaf.SecretData(testca.FormatTLS, nil, nil)),
	}})
	return &arena{t: t, g: g, ca: ca, gone: map[http2.ErrCode]int{}}
}

// run makes a trial.
func (c trial) test(t *testing.T) {
	a := openArena(t, c.args...)
	calm := a.settle(nil)
	mark := a.g.Mark()
	others := a.bystanders()
	until := time.Now().Add(length)
	c.run(a, until)
	time.Sleep(time.Until(until)) // those that end early leave the others some time
	others.stop(a, c.alone)
	if a.g.Ended() {
		t.Fatal("the gateway ended")
	}
	peak := a.memory("VmHWM")
	t.Logf("%s: bystanders asked %d times, slowest %d ms; memory %d MiB, at its peak %d MiB", c.name, others.asked, others.slowest.Milliseconds(), calm.memory/mebibyte, peak/mebibyte)
	if grown, bound := (peak-calm.memory)/mebibyte, cmp.Or(c.memory, 128); grown > bound {
		t.Errorf("the process grew by %d MiB, bound %d", grown, bound)
	}
	if c.away != 0 && a.gone[c.away] == 0 {
		t.Errorf("no attacker was sent away with %s: %v", c.away, a.gone)
	}
	if c.code != "" {
		line := a.awaitCode(mark, c)
		if line.S("detail") == "" || line.S("reason") == "" {
			t.Errorf("the line of %s has no reason or detail: %v", c.code, line)
		}
		if n := a.counted(c.code); n == 0 {
			t.Errorf("no metric counts %s", c.code)
		}
	}
	a.settle(&calm)
}

// awaitCode waits for a log line with the trial's code.
func (a *arena) awaitCode(mark gateway.Mark, c trial) gateway.Line {
	a.t.Helper()
	if c.kind != "" {
		return a.g.AwaitLine(mark, "code", c.code, "kind", c.kind)
	}
	return a.g.AwaitLine(mark, "code", c.code)
}

// state is what an attack may not change for good.
type state struct {
	goroutines, connections, http2, streams float64
	memory                                  int
}

// settle returns the present state. With a calm one to compare, it waits until that is reached again.
func (a *arena) settle(calm *state) state {
	a.t.Helper()
	var s state
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		text := a.g.Get("/metrics")
		s = state{sum(text, "go_goroutines"), sum(text, "hakone_connections"), sum(text, "hakone_http2_connections"), sum(text, "hakone_http2_streams"), a.memory("VmRSS")}
		switch {
		case calm == nil:
			return s
		case s.goroutines <= calm.goroutines+20 && s.connections <= calm.connections && s.http2 <= calm.http2 && s.streams == 0:
			return s
		case time.Now().After(end):
			a.t.Errorf("after the attack %.0f goroutines, %.0f connections, %.0f of HTTP/2 and %.0f streams are left; before it were %.0f, %.0f, %.0f, %.0f",
				s.goroutines, s.connections, s.http2, s.streams, calm.goroutines, calm.connections, calm.http2, calm.streams)
			return s
		}
	}
}

// sum adds the samples of a metric.
func sum(text, metric string) float64 {
	total := 0.0
	for _, m := range regexp.MustCompile(`(?m)^`+metric+`(?:\{[^}]*\})? (\S+)`).FindAllStringSubmatch(text, -1) {
		n, _ := strconv.ParseFloat(m[1], 64)
		total += n
	}
	return total
}

// counted returns how often metrics count a code.
func (a *arena) counted(code string) float64 {
	return sum(filter(a.g.Get("/metrics"), `code="`+code+`"`), `hakone_[a-z0-9_]+_total`)
}

func filter(text, part string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.Contains(line, part) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}

// memory returns VmRSS or VmHWM of the process in bytes.
func (a *arena) memory(field string) int {
	a.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.g.PID()))
	if err != nil {
		a.t.Fatal(err)
	}
	m := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		a.t.Fatalf("no %s in %s", field, b)
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n << 10
}

// others are well-behaved clients.
type others struct {
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	mu       sync.Mutex // guards what follows
	asked    int
	slowest  time.Duration
	failures []string
}

// bystanders starts four clients: HTTP/1.1 and HTTP/2, on kept connections and on a new one each time.
func (a *arena) bystanders() *others {
	ctx, cancel := context.WithCancel(context.Background())
	o := &others{cancel: cancel}
	a.t.Cleanup(func() { cancel(); o.wg.Wait() })
	for _, h2 := range []bool{false, true} {
		for _, kept := range []bool{false, true} {
			o.wg.Go(func() { o.ask(ctx, a, h2, kept) })
		}
	}
	return o
}

func (o *others) ask(ctx context.Context, a *arena, h2, kept bool) {
	transport := &http.Transport{DisableKeepAlives: !kept, TLSClientConfig: &tls.Config{RootCAs: a.ca.Pool(), ServerName: host}, Protocols: new(http.Protocols),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", a.g.Addr(443))
		}}
	transport.Protocols.SetHTTP1(!h2)
	transport.Protocols.SetHTTP2(h2)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	for ctx.Err() == nil {
		begin := time.Now()
		what := ""
		resp, err := client.Get("https://" + host + "/hello")
		if err == nil {
			body, readErr := io.ReadAll(resp.Body)
			resp.Body.Close()
			if readErr != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(string(body), "Hello") || (resp.ProtoMajor == 2) != h2 {
				what = fmt.Sprintf("%s %s %.60q %v", resp.Proto, resp.Status, body, readErr)
			}
		} else {
			what = err.Error()
		}
		o.mu.Lock()
		o.asked++
		o.slowest = max(o.slowest, time.Since(begin))
		if what != "" {
			o.failures = append(o.failures, fmt.Sprintf("HTTP/2 %v, kept %v: %s", h2, kept, what))
		}
		o.mu.Unlock()
		time.Sleep(20 * time.Millisecond) // bystanders are no load
	}
}

// stop ends the clients. All that they asked must have been answered, unless the bound is one of everybody.
func (o *others) stop(a *arena, alone bool) {
	a.t.Helper()
	o.cancel()
	o.wg.Wait()
	if len(o.failures) > 0 && !alone {
		a.t.Errorf("%d of %d requests of bystanders failed, first: %s", len(o.failures), o.asked, o.failures[0])
	}
	if o.asked < 20 && !alone {
		a.t.Errorf("bystanders could ask only %d times", o.asked)
	}
}

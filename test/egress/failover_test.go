//go:build e2e

package egress

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/squid"
	"github.com/hakone-gateway/hakone/test/testca"
	"github.com/hakone-gateway/hakone/test/testnet"
)

// asked is one request of the load: when it began, in milliseconds of Unix time, and why it failed.
type asked struct {
	At  int64
	Why string
}

// load asks for http://example.com/seen at a gateway, in eight threads with a pause between requests, until a file is
// there, and prints each request as JSON. Its words are the gateway's address and the file.
func load(words []string) error {
	address, file := words[0], words[1]
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(address, "80"))
	}}}
	ask := func() string {
		resp, err := client.Get("http://example.com/seen")
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		switch {
		case err != nil:
			return err.Error()
		case resp.StatusCode != http.StatusOK:
			return resp.Status + " " + string(b)
		}
		return ""
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				if _, err := os.Stat(file); err == nil {
					return
				}
				at := time.Now().UnixMilli()
				why := ask()
				mu.Lock()
				_ = out.Encode(asked{At: at, Why: why})
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	all.Wait()
	return nil
}

// TestCompanyFailover is a proxy with two addresses under load: the first dies and comes back. A second after its
// death no request fails any more, and egress ls says what is out, and why.
func TestCompanyFailover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ca := testca.New(t, testca.Spec{CommonName: "Company proxy", Key: testca.RSA2048})
	second := w.net.Host()
	spare := w.squidOn(second, squid.Options{CA: ca})
	w.startSquid(squid.Options{CA: ca})
	w.start(map[string]string{"egress.yaml": strings.Replace(w.corp("  probe: {target: \"example.com:443\", interval: 1s, timeout: 5s}\n"), `:8080"]`, fmt.Sprintf(`:8080", "http://%s:8080"]`, second.Address), 1) + "---\n" + w.egress()})
	w.title(w.curl("http://example.com/"))
	end := w.TempDir() + "/end"
	log := program.Start(w, w.workload.On(program.Command{Path: os.Args[0], Env: []string{"EGRESS_TEST_LOAD=" + w.hakone.Address + " " + end}}))
	count := func() int { return strings.Count(log(), "\n") }
	more := func(what string, n int) {
		from := count()
		w.await(what, func() bool { return count() >= from+n })
	}
	more("requests before", 50)
	if len(spare.Log()) > 0 && strings.Contains(strings.Join(spare.Log(), "\n"), "/seen") {
		t.Error("the second address was used while the first was well")
	}
	died := time.Now().UnixMilli()
	w.squid.Stop()
	more("requests while the first is dead", 200)
	w.await("egress ls says what is out, and why", func() bool {
		out := w.hakoneRun("egress", "ls").Out
		return strings.Contains(line(out, w.company.Address), " out ") && strings.Contains(line(out, w.company.Address), "HK3308") && strings.Contains(line(out, second.Address), " healthy ")
	})
	w.squid.Restart()
	back := len(w.squid.Log())
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(w.hakoneRun("egress", "ls").Out, strings.Join(w.squid.Log()[back:], "\n"))
		}
	})
	w.await("the first is used again", func() bool {
		return strings.Contains(strings.Join(w.squid.Log()[back:], "\n"), "/seen") && strings.Contains(line(w.hakoneRun("egress", "ls").Out, w.company.Address), " healthy ")
	})
	more("requests after", 50)
	if err := os.WriteFile(end, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	failed, total := 0, 0
	for text := range strings.Lines(log()) {
		var a asked
		if json.Unmarshal([]byte(text), &a) != nil {
			continue
		}
		if total++; a.Why != "" {
			failed++
			if a.At > died+1000 || a.At < died-1000 {
				t.Errorf("a request failed %d ms after the death: %s", a.At-died, a.Why)
			}
		}
	}
	t.Logf("%d requests, %d failed within the first second", total, failed)
}

// squidOn starts a further Squid on a host.
func (w *world) squidOn(h *testnet.Host, o squid.Options) *squid.Squid {
	w.Helper()
	o.On, o.Roots = h.On, w.public.CertPEM()
	for _, name := range names {
		o.Hosts += w.dest.Address + " " + name + "\n"
	}
	return squid.Start(w, o)
}

// line is the first line of a text that holds a word.
func line(text, word string) string {
	for l := range strings.Lines(text) {
		if strings.Contains(l, word) {
			return l
		}
	}
	return ""
}

// TestCompanyRotation is the change of the company's CA: a probe sees it before requests do, both CAs stand side by
// side, explain tells which of them a host still shows, and the issuer that changed is an alert in log, metric and ls.
func TestCompanyRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := testca.New(t, testca.Spec{CommonName: "Company proxy 2025", Key: testca.RSA2048})
	next := testca.New(t, testca.Spec{CommonName: "Company proxy 2026", Key: testca.RSA2048})
	w.startSquid(squid.Options{CA: first})
	w.start(map[string]string{"egress.yaml": w.corp("  probe: {target: \"example.com:443\", interval: 1s, timeout: 5s}\n") + "---\n" + w.egress()})
	w.title(w.curl("http://example.com/"))
	w.title(w.curl("http://www.example.com/"))
	if r := w.hakoneRun("egress", "ls"); r.Code != 0 {
		t.Errorf("egress ls without alerts: exit %d\n%s%s", r.Code, r.Out, r.Err)
	}
	w.squid.Stop()
	w.squid.ChangeCA(next)
	w.squid.Restart()
	w.await("the probe sees the new CA", func() bool {
		return strings.Contains(line(w.hakoneRun("egress", "ls").Out, w.company.Address), "HK3322")
	})
	w.g.Change(func() {
		w.g.Write("company.yaml", fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: company-ca, namespace: default}\ndata:\n  bump.pem: |\n%s%s", indent(string(first.CertPEM()), 4), indent(string(next.CertPEM()), 4)))
	})
	w.await("the page comes again", func() bool { return w.curl("-f", "http://example.com/").Code == 0 })
	w.has("explain of a host that was asked for", w.hakoneRun("egress", "explain", "example.com").Out, `issuer +CN=Company proxy 2026`, `issuer +CN=Company proxy 2025`, `HK6030`)
	out := w.hakoneRun("egress", "explain", "www.example.com").Out
	w.has("explain of a host that was not", out, `issuer +CN=Company proxy 2025`)
	if strings.Contains(out, "2026") {
		t.Errorf("www.example.com has not shown the new CA:\n%s", out)
	}
	r := w.hakoneRun("egress", "ls")
	w.has("egress ls", r.Out, `HK6030 \S+: example\.com`)
	if r.Code != 3 {
		t.Errorf("egress ls with an alert: exit %d", r.Code)
	}
	w.has("the log", w.g.Stderr(), `code=HK6030`)
	w.has("the metrics", w.g.Get("/metrics"), `(?m)^hakone_egress_alerts\S*HK6030\S* [1-9]`)
	if r := w.hakoneRun("egress", "ack", "example.com"); r.Code != 0 {
		t.Errorf("egress ack: %s%s", r.Out, r.Err)
	}
	if r := w.hakoneRun("egress", "ls"); r.Code != 0 {
		t.Errorf("egress ls after the acknowledgement: exit %d\n%s", r.Code, r.Out)
	}
}

package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/logstore"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestLogs has a running process keep a request and a refused handshake, pulls them from the process and
// from its files, and has them explained after the process has ended.
func TestLogs(t *testing.T) {
	alone(t)
	ca := testca.New(t, testca.Spec{})
	leaf := ca.Issue(testca.Spec{DNS: []string{"*.example.com"}})
	mutual := strings.Replace(good[:strings.Index(good, "---\napiVersion: v1")], "hosts: [edwards.example.com], tls: {mode: SIMPLE", "hosts: [edwards.example.com], tls: {mode: MUTUAL", 1)
	dir := folder(t, mutual+"---\n"+testca.SecretYAML("istio-system", "cert", map[string][]byte{"tls.crt": leaf.ChainPEM(), "tls.key": leaf.KeyPEM(), "ca.crt": ca.ChainPEM()}))
	socket, store := filepath.Join(t.TempDir(), "admin.sock"), filepath.Join(t.TempDir(), "store")
	t.Setenv("HAKONE_ADMIN", "unix:"+socket)
	first, second := freePort(t), freePort(t)
	var out, log stream
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- Execute(ctx, []string{"run", "--config", dir, "--address", "127.0.0.1", "--admin", "unix:" + socket, "--log-store", store,
			"--port-map", fmt.Sprintf("443=%d,8443=%d", first, second)}, Streams{In: strings.NewReader(""), Out: &out, Err: &log})
	}()
	ended := func() int { stop(); return <-done }
	defer func() {
		stop()
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	within(t, "the listeners serve", func() bool { return strings.Count(run(t, "", "status").out, " serving ") >= 2 })
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.Pool()},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", first))
		},
	}}
	resp, err := client.Get("https://httpbin.example.com/seen?q=1")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	ray := resp.Header.Get("X-Request-Id")
	if c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", second), &tls.Config{ServerName: "edwards.example.com", RootCAs: ca.Pool()}); err == nil {
		_, _ = c.Read(make([]byte, 1)) // TLS 1.3 tells here
		c.Close()
	}
	within(t, "two records are kept", func() bool { return strings.Count(run(t, "", "logs", "pull").out, "\n") == 2 })

	for name, source := range map[string][]string{"running": nil, "files": {"--log-store", store}} {
		pull := func(args ...string) result {
			return run(t, "", append(append([]string{"logs", "pull"}, source...), args...)...)
		}
		r := pull("--kind", "request")
		line, _, _ := strings.Cut(r.out, "\n")
		var nine map[string]any
		if err := json.Unmarshal([]byte(line), &nine); err != nil || len(nine) != 9 || nine["ClientRequestURI"] != "/seen?q=1" || nine["RayID"] != ray || nine["EdgeResponseStatus"] != 418.0 ||
			nine["EdgeResponseBytes"].(float64) < 50 || !strings.HasSuffix(nine["EdgeEndTimestamp"].(string), "Z") || r.code != ExitOK {
			t.Errorf("%s: %v, %+v", name, err, r)
		}
		if r := pull("--code", "HK2101", "--fields", "Kind,Reason,MTLSVerdict,ClientSNI"); r.out != `{"Kind":"handshake","Reason":"client_cert_missing","MTLSVerdict":"deny","ClientSNI":"edwards.example.com"}`+"\n" {
			t.Errorf("%s, the refused handshake: %+v", name, r)
		}
		if r := pull("--rayid", ray, "--fields", "RayID"); r.out != `{"RayID":"`+ray+`"}`+"\n" {
			t.Errorf("%s, by RayID: %+v", name, r)
		}
		if r := pull("--ray-id", "nobody's"); r.code != ExitFailed || !strings.Contains(r.err, "HK6016") {
			t.Errorf("%s, an unknown RayID: %+v", name, r)
		}
		if r := pull("EXAMPLE.com", "--count", "1", "--status", "4xx", "--host", "*.example.com", "--sample", "1"); strings.Count(r.out, "\n") != 1 {
			t.Errorf("%s, filtered: %+v", name, r)
		}
		if r := pull("other.test"); r.out != "" || r.code != ExitOK {
			t.Errorf("%s, another host: %+v", name, r)
		}
		if r := pull("--fields", "Statuss"); r.code != ExitUsage || !strings.Contains(r.err, "HK6015") {
			t.Errorf("%s, an unknown field: %+v", name, r)
		}
		if r := pull("--start", "now", "--end", "10m"); r.code != ExitUsage || !strings.Contains(r.err, "HK6014") {
			t.Errorf("%s, an end before the start: %+v", name, r)
		}
	}
	if code := ended(); code != ExitOK {
		t.Errorf("run ended with %d", code)
	}
	story := run(t, "", "explain", ray, "--log-store", store)
	for _, want := range []string{"server name httpbin.example.com", "TLS       1.3, ", "GET https://httpbin.example.com/seen?q=1  (request " + ray, "route     default/v/", "answer    418 after "} {
		if !strings.Contains(story.out, want) {
			t.Errorf("%q is missing in\n%s%s", want, story.out, story.err)
		}
	}
	if r := run(t, "", "explain", ray, "--log-store", store, "-o", "json"); !strings.Contains(r.out, `"requests"`) || !json.Valid([]byte(r.out)) {
		t.Errorf("as JSON: %+v", r)
	}
	if r := run(t, "", "explain", "nobody", "--log-store", store); r.code != ExitFailed || !strings.Contains(r.err, "HK6016") {
		t.Errorf("an unknown request: %+v", r)
	}
}

func TestLogsOffline(t *testing.T) {
	if r := run(t, "", "logs", "pull", "--log-store", t.TempDir()); r.code != ExitUsage || !strings.Contains(r.err, "HK6017") {
		t.Errorf("an empty folder: %+v", r)
	}
	r := run(t, "", "logs", "pull", "--available-fields")
	for _, f := range logstore.Fields() {
		if !strings.Contains(r.out, f.Name+" ") {
			t.Errorf("%s is not listed", f.Name)
		}
	}
	if r := run(t, "", "logs", "pull", "a", "b"); r.code != ExitUsage {
		t.Errorf("two hosts: %+v", r)
	}
}

// TestStoryOfAPolicy tells who decided, why, and where the request went.
func TestStoryOfAPolicy(t *testing.T) {
	var told story
	const lines = `{"requests":[{"ts":"2026-01-02T15:04:05.067Z","id":"ray","conn":7,"listener":"*:443","client":"192.0.2.1:5000","client_ip":"203.0.113.7","proto":"HTTP/2","scheme":"https",
"method":"GET","host":"a.test","target":"/test1","status":403,"bytes_out":24,"head_bytes":100,"dur_ms":12.3,"tls":"1.3","cipher":"TLS_AES_128_GCM_SHA256","group":"X25519","sni":"a.test","offered_cert":"abcd",
"policy":"ns/mtls","policy_verdict":"deny","policy_code":"HK2103","pool":"ns/pool","server":"origin-1","upstream_tls":"1.3","upstream_ms":3}]}`
	if err := json.Unmarshal([]byte(lines), &told); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	told.write(&b)
	for _, want := range []string{"from      203.0.113.7, listener *:443, connection 7\n", "TLS       1.3, TLS_AES_128_GCM_SHA256, X25519, server name a.test\n", "client    presented certificate abcd\n",
		"policy    ns/mtls refuses it: HK2103 client_cert_expired\n", "pool      ns/pool, origin origin-1\n", "origin    TLS 1.3, answered after 3 ms\n",
		"answer    403 after 12.3 ms, 24 bytes and 100 of head\n", "HK2103 client_cert_expired: "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

//go:build linux

package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Connections that are not HTTP: one door, plain TCP, to the plain upstream. HAProxy splices,
// nginx's stream module copies.

func streamWorkloads() []workload {
	d := deployment{Cores: 1, Log: true, Stream: true}
	return []workload{
		{ID: "W6", Name: "TCP, 10 MiB bodies", Unit: "s/GiB", Target: 1.2, Deploy: d, Pinned: true, run: func(b *bench, t *target) (sample, error) {
			return b.wrkURL(t, fmt.Sprintf("http://%s:%d%s", host, t.ECDSA, pathBulk), true, 8)
		}},
		{ID: "W6", Name: "TCP, a connection for each 1 KiB", Unit: "µs/connection", Target: 1.35, Deploy: d, run: func(b *bench, t *target) (sample, error) {
			s, _, err := b.loaded(t, loadSpec{Kind: loadConnections, Port: t.ECDSA, Conns: 16, Count: 2 * b.opt.handshakes, Path: pathSmall})
			return s, err
		}},
	}
}

// connections makes a plain connection for each request.
func (l *loader) connections(count int) loadResult {
	req := l.request()
	return l.each(count, func(int) (bool, error) {
		c, err := net.DialTimeout("tcp", l.addr, 5*time.Second)
		if err != nil {
			return false, err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		return false, roundTrip(c, l.spec.status(), req, make([]byte, 4<<10))
	})
}

// checkStream proves that t passes bytes on unchanged, and that ours do not pass through its memory.
func (b *bench) checkStream(t *target) error {
	sum := func(port int) (string, error) {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, pathBulk))
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		h := sha256.New()
		n, err := io.Copy(h, resp.Body)
		if err == nil && n != bulkBytes {
			err = fmt.Errorf("%d bytes, not %d", n, bulkBytes)
		}
		return string(h.Sum(nil)), err
	}
	want, err := sum(b.upstream)
	if err != nil {
		return err
	}
	before := t.readChars()
	got, err := sum(t.ECDSA)
	if err != nil || got != want {
		return fmt.Errorf("%s does not pass bytes on: %v\n%s", t.name, err, t.tail())
	}
	if read := t.readChars() - before; (t.name == hakone || t.name == "before") && read > bulkBytes/4 {
		return fmt.Errorf("%s read %d bytes of %d: splice is not used", t.name, read, bulkBytes)
	}
	return b.checkPinning(t)
}

// readChars returns the bytes that the target has read by read(2), which splice(2) is not.
func (t *target) readChars() (n int64) {
	for _, pid := range t.pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
		if err != nil {
			continue
		}
		var one int64
		if _, err := fmt.Sscanf(string(text), "rchar: %d", &one); err == nil {
			n += one
		}
	}
	return n
}

const nginxStream = `stream {
{{- if .AccessLog}}
  log_format bench escape=json '{"time":"$time_iso8601","remote":"$remote_addr:$remote_port","status":$status,"bytes":$bytes_sent,"received":$bytes_received,"duration":$session_time,"upstream":"$upstream_addr"}';
  access_log {{.Own}}/access.log bench buffer=64k flush=1s;
{{- end}}
  tcp_nodelay on;
  proxy_connect_timeout 5s;
  proxy_timeout 3600s;
  proxy_buffer_size 64k;
  server {
    listen 127.0.0.1:{{.Doors.ECDSA}} backlog=4096;
    proxy_pass 127.0.0.1:{{.Plain}};
  }
}
`

const haproxyStream = `global
  nbthread {{.Cores}}
  maxconn 6000
{{- if .AccessLog}}
  log stdout format raw local0
{{- end}}
defaults
  mode tcp
  timeout connect 5s
  timeout client 3600s
  timeout server 3600s
  option splice-request
  option splice-response
{{- if .AccessLog}}
  log global
  log-format '{"time":"%t","remote":"%ci:%cp","bytes":%B,"received":%U,"duration":%Tt,"upstream":"%si:%sp","end":"%ts"}'
{{- else}}
  option dontlog-normal
{{- end}}
frontend stream
  bind 127.0.0.1:{{.Doors.ECDSA}} backlog 4096
  default_backend plain
backend plain
  server up 127.0.0.1:{{.Plain}}
`

// nginxStreamText loads the module and leaves HTTP out.
func nginxStreamText() string {
	common, _, _ := strings.Cut(nginxConf, "http {\n")
	return "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n" + common + nginxStream
}

// hakoneStream is the manifests of the door.
const hakoneStream = `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: stream
spec:
  selector:
    istio: ingressgateway
  servers:
  - port:
      number: 443
      name: stream
      protocol: TCP
    hosts:
    - "*"
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: stream
spec:
  hosts:
  - "*"
  gateways:
  - stream
  tcp:
  - match:
    - port: 443
    route:
    - destination:
        host: plain
        port:
          number: 8000
`

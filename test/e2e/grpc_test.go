//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/testca"
)

// echoServer is a service of all kinds of calls, whose messages are bytes. What a call does is in its
// metadata: "fail" fails with a status and details, "flaky" fails so many first tries of a key with
// UNAVAILABLE, "hang" waits until the caller has gone.
type echoServer struct {
	mu    sync.Mutex
	tries map[string]int
	gone  chan error // why a call's context ended while it hung
}

type message = wrapperspb.BytesValue

// serve answers a call by its metadata before its messages are looked at.
func (e *echoServer) serve(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if md.Get("flaky") == nil { // a refusal without a head of its own is what gateways repeat
		_ = grpc.SetHeader(ctx, metadata.Pairs("x-head", strings.Join(md.Get("x-own"), ","), "x-own-bin", strings.Join(md.Get("x-own-bin"), "")))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-tail", "end", "x-tail-bin", "\x00\xff"))
	}
	switch {
	case md.Get("fail") != nil:
		st, err := status.New(codes.FailedPrecondition, "no: ü % \n").WithDetails(durationpb.New(time.Minute))
		if err != nil {
			return err
		}
		return st.Err()
	case md.Get("hang") != nil:
		<-ctx.Done()
		e.gone <- ctx.Err()
		return status.FromContextError(ctx.Err()).Err()
	case md.Get("flaky") != nil:
		var key string
		var n int
		_, _ = fmt.Sscanf(md.Get("flaky")[0], "%s %d", &key, &n)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.tries[key]++; e.tries[key] <= n {
			return status.Error(codes.Unavailable, "not yet")
		}
	}
	return nil
}

func (e *echoServer) unary(ctx context.Context, m *message) (*message, error) {
	if err := e.serve(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

// stream says back every message, or with "sum" in the metadata one that has them all.
func (e *echoServer) stream(s grpc.ServerStream) error {
	if err := e.serve(s.Context()); err != nil {
		return err
	}
	md, _ := metadata.FromIncomingContext(s.Context())
	var all []byte
	for {
		m := &message{}
		switch err := s.RecvMsg(m); {
		case errors.Is(err, io.EOF) && md.Get("sum") != nil:
			return s.SendMsg(wrapperspb.Bytes(all))
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			e.gone <- err
			return err
		}
		if md.Get("sum") != nil {
			all = append(all, m.Value...)
			continue
		}
		for range max(1, len(md.Get("times"))) {
			if err := s.SendMsg(m); err != nil {
				return err
			}
		}
	}
}

const echoService = "e2e.Echo"

func startEcho(t *testing.T) (*echoServer, string) {
	t.Helper()
	e := &echoServer{tries: map[string]int{}, gone: make(chan error, 100)}
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(8<<20), grpc.MaxSendMsgSize(8<<20))
	srv.RegisterService(&grpc.ServiceDesc{ServiceName: echoService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			m := &message{}
			if err := dec(m); err != nil {
				return nil, err
			}
			return e.unary(ctx, m)
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Stream", Handler: func(_ any, s grpc.ServerStream) error { return e.stream(s) }, ServerStreams: true, ClientStreams: true}},
	}, e)
	h := health.NewServer()
	h.SetServingStatus(echoService, healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(srv, h)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	return e, ln.Addr().String()
}

// grpcWorld is a gateway with a host a.test that leads to the echo service, b.test whose service has no
// endpoints, and c.test whose service refuses connections.
type grpcWorld struct {
	echo *echoServer
	addr string
	g    *gateway.Gateway
	s    site
	conn *grpc.ClientConn
}

func newGRPCWorld(t *testing.T, family string, args ...string) *grpcWorld {
	t.Helper()
	w := &grpcWorld{s: newSite(t, "a.test", "b.test", "c.test")}
	w.echo, w.addr = startEcho(t)
	files := map[string]string{"secret.yaml": secretTLS("site", w.s.leaf), "web.yaml": service("web", "grpc-web"),
		"services.yaml": service("backend", "grpc") + "---\n" + service("nobody", "grpc") + "---\n" + slice("nobody", "127.0.0.1", 9, false) + "---\n" + service("closed", "grpc")}
	if family == "istio" {
		files["gateway.yaml"] = istioGateway(istioServer{host: "a.test", secret: "site"}, istioServer{host: "b.test", secret: "site"}, istioServer{host: "c.test", secret: "site"})
		files["route.yaml"] = strings.Replace(routeAll("a", "a.test", "web"), "  - route:", "  - match:\n    - uri:\n        prefix: /web\n    rewrite:\n      uri: /\n    route:", 1) +
			"  - match:\n    - uri:\n        prefix: /e2e\n    - uri:\n        prefix: /grpc.health\n    route:\n    - destination:\n        host: backend\n        port:\n          number: 8000\n" +
			"    retries:\n      attempts: 3\n      retryOn: unavailable,connect-failure\n"
		files["route-b.yaml"], files["route-c.yaml"] = routeAll("b", "b.test", "nobody"), routeAll("c", "c.test", "closed")
	} else {
		files["gateway.yaml"] = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata:\n  name: gw\n  namespace: istio-system\nspec:\n  gatewayClassName: istio\n  listeners:\n" +
			"  - name: tls\n    port: 443\n    protocol: HTTPS\n    allowedRoutes:\n      namespaces:\n        from: All\n    tls:\n      certificateRefs:\n      - name: site\n"
		for _, r := range [][3]string{{"a", "a.test", "backend"}, {"b", "b.test", "nobody"}, {"c", "c.test", "closed"}} {
			match := ""
			if r[0] == "a" {
				match = "    matches:\n    - method:\n        service: " + echoService + "\n    - method:\n        service: grpc.health.v1.Health\n"
			}
			files["route-"+r[0]+".yaml"] = "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata:\n  name: " + r[0] + "\nspec:\n  parentRefs:\n  - name: gw\n    namespace: istio-system\n" +
				"  hostnames:\n  - " + r[1] + "\n  rules:\n  - backendRefs:\n    - name: " + r[2] + "\n      port: 8000\n" + match
		}
	}
	w.g = gateway.Start(t, gateway.Options{Files: files, Args: args,
		Endpoints: []string{"backend.default:8000=" + w.addr, "web.default:8000=" + w.addr, "closed.default:8000=" + refusedAddr(t)}})
	w.conn = w.dial(t, "a.test")
	return w
}

// dial makes a client for a host.
func (w *grpcWorld) dial(t *testing.T, host string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+w.g.Addr(443), grpc.WithTransportCredentials(credentials.NewTLS(w.s.config(host))),
		grpc.WithAuthority(host), grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(8<<20), grpc.MaxCallSendMsgSize(8<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// call makes a unary call with metadata.
func call(conn *grpc.ClientConn, d time.Duration, body []byte, md []string, opts ...grpc.CallOption) ([]byte, error) {
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), md...), d)
	defer cancel()
	out := &message{}
	err := conn.Invoke(ctx, "/"+echoService+"/Unary", wrapperspb.Bytes(body), out, opts...)
	return out.Value, err
}

func openStream(ctx context.Context, conn *grpc.ClientConn, md ...string) (grpc.ClientStream, error) {
	return conn.NewStream(metadata.AppendToOutgoingContext(ctx, md...), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+echoService+"/Stream")
}

// hangs waits for the server to see that a call's caller has gone.
func (w *grpcWorld) hangs(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-w.echo.gone:
	case <-time.After(within):
		t.Errorf("the server did not see the end of the call within %v", within)
	}
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// TestGRPC calls a server of grpc-go by its client, through a VirtualService and a GRPCRoute.
func TestGRPC(t *testing.T) {
	t.Parallel()
	eachFamily(t, func(t *testing.T, family string) {
		w := newGRPCWorld(t, family)
		w.unary(t)
		w.streams(t)
		w.endings(t)
		w.ownAnswers(t)
		if family == "istio" {
			w.retries(t)
			w.web(t)
		}
	})
}

func (w *grpcWorld) unary(t *testing.T) {
	var head, tail metadata.MD
	got, err := call(w.conn, 10*time.Second, []byte("hi"), []string{"x-own", "a", "x-own", "b", "x-own-bin", "\x00\x01\xfe"}, grpc.Header(&head), grpc.Trailer(&tail))
	if err != nil || string(got) != "hi" {
		t.Fatalf("unary: %q %v", got, err)
	}
	if fmt.Sprint(head.Get("x-head")) != "[a,b]" || fmt.Sprint(head.Get("x-own-bin")) != "[\x00\x01\xfe]" || fmt.Sprint(tail.Get("x-tail-bin")) != "[\x00\xff]" {
		t.Errorf("metadata: %q %q", head, tail)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	for range 3 {
		if got, err := call(w.conn, 20*time.Second, big, nil); err != nil || !bytes.Equal(got, big) {
			t.Errorf("4 MiB: %d bytes, %v", len(got), err)
		}
	}
	_, err = call(w.conn, 10*time.Second, nil, []string{"fail", "1"})
	st := status.Convert(err)
	if st.Code() != codes.FailedPrecondition || st.Message() != "no: ü % \n" || len(st.Details()) != 1 {
		t.Errorf("status %v %q, details %v", st.Code(), st.Message(), st.Details())
	} else if d, ok := st.Details()[0].(*durationpb.Duration); !ok || d.AsDuration() != time.Minute {
		t.Errorf("details %v", st.Details())
	}
	line := w.g.AwaitLineThat(0, "of the failed call", func(l gateway.Line) bool { return l.N("grpc_status") == 9 })
	if line.N("status") != 200 || line.S("upstream_proto") != "HTTP/2" {
		t.Errorf("access log: %v", line)
	}
	check := healthpb.NewHealthClient(w.conn)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for service, want := range map[string]healthpb.HealthCheckResponse_ServingStatus{"": healthpb.HealthCheckResponse_SERVING, echoService: healthpb.HealthCheckResponse_NOT_SERVING} {
		if r, err := check.Check(ctx, &healthpb.HealthCheckRequest{Service: service}); err != nil || r.Status != want {
			t.Errorf("health of %q: %v %v", service, r, err)
		}
	}
	watch, err := check.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("watch of health: %v %v", r, err)
	}
}

func (w *grpcWorld) streams(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	both, err := openStream(ctx, w.conn)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 { // in turns: each answer waits for its message
		m := &message{}
		if err := errors.Join(both.SendMsg(wrapperspb.Bytes(fmt.Append(nil, i))), both.RecvMsg(m)); err != nil || string(m.Value) != fmt.Sprint(i) {
			t.Fatalf("message %d: %q %v", i, m.Value, err)
		}
	}
	if err := both.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := both.RecvMsg(&message{}); !errors.Is(err, io.EOF) || fmt.Sprint(both.Trailer().Get("x-tail")) != "[end]" {
		t.Errorf("the stream ends with %v, trailers %v", err, both.Trailer())
	}
	up, err := openStream(ctx, w.conn, "sum", "1")
	if err != nil {
		t.Fatal(err)
	}
	for range 64 {
		if err := up.SendMsg(wrapperspb.Bytes(make([]byte, 16<<10))); err != nil {
			t.Fatal(err)
		}
	}
	m := &message{}
	if err := errors.Join(up.CloseSend(), up.RecvMsg(m)); err != nil || len(m.Value) != 1<<20 {
		t.Errorf("upload: %d bytes, %v", len(m.Value), err)
	}
	down, err := openStream(ctx, w.conn, "times", "1", "times", "1", "times", "1")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(down.SendMsg(wrapperspb.Bytes(make([]byte, 1<<20))), down.CloseSend()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for err = nil; err == nil; n++ {
		err = down.RecvMsg(&message{})
	}
	if n != 4 || !errors.Is(err, io.EOF) {
		t.Errorf("download: %d messages, %v", n-1, err)
	}
}

// endings are deadlines and cancellations.
func (w *grpcWorld) endings(t *testing.T) {
	begun := time.Now()
	_, err := call(w.conn, 300*time.Millisecond, nil, []string{"hang", "1"})
	wantCode(t, "deadline", err, codes.DeadlineExceeded)
	w.hangs(t, time.Second)
	if d := time.Since(begun); d > 3*time.Second {
		t.Errorf("the deadline came after %v", d)
	}
	// A client that does not keep the time that it has told.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req := grpcRequest(ctx, t, "/"+echoService+"/Unary", "\x00\x00\x00\x00\x00")
	req.Header.Set("Grpc-Timeout", "200m")
	req.Header.Set("Hang", "1")
	mark := w.g.Mark()
	resp, err := w.plainClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(resp.Body)
	resp.Body.Close()
	if got := resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status"); resp.StatusCode != 200 || got != "4" {
		t.Errorf("grpc-timeout: %s, grpc-status %q", resp.Status, got)
	}
	w.hangs(t, time.Second)
	w.g.AwaitLineThat(mark, "of the deadline", func(l gateway.Line) bool { return l.N("grpc_status") == 4 })

	cancelled, cancel := context.WithCancel(context.Background())
	both, err := openStream(cancelled, w.conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(both.SendMsg(wrapperspb.Bytes([]byte("x"))), both.RecvMsg(&message{})); err != nil {
		t.Fatal(err)
	}
	cancel()
	w.hangs(t, time.Second)
	wantCode(t, "cancelled by the client", both.RecvMsg(&message{}), codes.Canceled)
}

func (w *grpcWorld) ownAnswers(t *testing.T) {
	err := w.conn.Invoke(context.Background(), "/other.Service/Do", &message{}, &message{})
	wantCode(t, "no route", err, codes.Unimplemented)
	_, err = call(w.dial(t, "b.test"), 10*time.Second, nil, nil)
	wantCode(t, "no endpoints", err, codes.Unavailable)
	if !strings.Contains(status.Convert(err).Message(), "HK3207") {
		t.Errorf("no endpoints: %v", err)
	}
	_, err = call(w.dial(t, "c.test"), 10*time.Second, nil, nil)
	wantCode(t, "connection refused", err, codes.Unavailable)
	err = w.conn.Invoke(context.Background(), "/"+echoService+"/Nothing", &message{}, &message{})
	wantCode(t, "unknown method of the service", err, codes.Unimplemented)
}

func (w *grpcWorld) retries(t *testing.T) {
	for key, c := range map[string]struct {
		size, fails int
		want        codes.Code
	}{"small": {10, 2, codes.OK}, "large": {40 << 10, 3, codes.OK}, "many": {10, 9, codes.Unavailable}} {
		body := bytes.Repeat([]byte("r"), c.size)
		got, err := call(w.conn, 20*time.Second, body, []string{"flaky", fmt.Sprintf("%s %d", key, c.fails)})
		wantCode(t, "retry "+key, err, c.want)
		w.echo.mu.Lock()
		tries := w.echo.tries[key]
		w.echo.mu.Unlock()
		if want := min(c.fails, 3) + 1; tries != want || c.want == codes.OK && !bytes.Equal(got, body) {
			t.Errorf("retry %s: %d tries, want %d; %d bytes", key, tries, want, len(got))
		}
	}
}

func grpcRequest(ctx context.Context, t *testing.T, path, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, "POST", "https://a.test"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	return req
}

// plainClient is net/http's over HTTP/2.
func (w *grpcWorld) plainClient() *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: w.s.config("a.test"), ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", w.g.Addr(443))
		}}}
}

// web speaks gRPC-Web as browsers do, over both versions of HTTP.
func (w *grpcWorld) web(t *testing.T) {
	encoded := "\x0a\x02hi"
	frame := "\x00\x00\x00\x00\x04" + encoded
	for _, kind := range []string{"application/grpc-web+proto", "application/grpc-web-text+proto"} {
		for _, fail := range []bool{false, true} {
			body := frame
			if strings.Contains(kind, "text") {
				body = base64.StdEncoding.EncodeToString([]byte(frame))
			}
			req := grpcRequest(context.Background(), t, "/web/"+echoService+"/Unary", body)
			req.Header.Set("Content-Type", kind)
			req.Header.Del("Te")
			if fail {
				req.Header.Set("Fail", "1")
			}
			resp, err := w.plainClient().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if strings.Contains(kind, "text") {
				answer = decodeParts(t, string(answer))
			}
			wantStatus := "grpc-status:0\r\n"
			if fail {
				wantStatus = "grpc-status:9\r\n"
			}
			text := strings.ToLower(string(answer))
			if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != kind {
				t.Errorf("%s: %s %q %v", kind, resp.Status, resp.Header.Get("Content-Type"), err)
			}
			if inHead := resp.Header.Get("Grpc-Status"); !strings.Contains(text, wantStatus) && "grpc-status:"+inHead+"\r\n" != wantStatus {
				t.Errorf("%s, fail %v: %q, grpc-status in the head %q", kind, fail, answer, inHead)
			}
			if !fail && !strings.HasPrefix(string(answer), frame+"\x80") {
				t.Errorf("%s: %q", kind, answer)
			}
		}
	}
}

// decodeParts decodes parts of base64 that follow each other, each with padding of its own.
func decodeParts(t *testing.T, text string) []byte {
	t.Helper()
	var out []byte
	for i := 0; i+4 <= len(text); i += 4 { // padding is at the end of four characters
		b, err := base64.StdEncoding.DecodeString(text[i : i+4])
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		out = append(out, b...)
	}
	return out
}

// TestGRPCGoesOn keeps a stream running while the configuration changes, and while the process drains.
func TestGRPCGoesOn(t *testing.T) {
	t.Parallel()
	w := newGRPCWorld(t, "istio", "--drain-timeout", "20s")
	both, err := openStream(context.Background(), w.conn)
	if err != nil {
		t.Fatal(err)
	}
	turn := func(text string) {
		t.Helper()
		m := &message{}
		if err := errors.Join(both.SendMsg(wrapperspb.Bytes([]byte(text))), both.RecvMsg(m)); err != nil || string(m.Value) != text {
			t.Fatalf("%s: %q %v", text, m.Value, err)
		}
	}
	turn("before")
	for i := range 3 {
		w.g.Change(func() { w.g.Write("route-b.yaml", routeAll("b", "b.test", "nobody", fmt.Sprintf("timeout: %ds", i+5))) })
		turn("behind a change")
	}
	w.g.Change(func() {
		w.g.Write("secret.yaml", secretTLS("site", w.s.ca.Issue(testca.Spec{DNS: []string{"a.test", "b.test", "c.test"}})))
	})
	turn("behind another certificate")
	if _, err := call(w.conn, 10*time.Second, nil, nil); err != nil {
		t.Error(err)
	}
	w.g.Signal(syscall.SIGTERM)
	w.g.AwaitStderr("drain")
	for range 10 {
		turn("while it drains")
		time.Sleep(50 * time.Millisecond)
	}
	if w.g.Ended() {
		t.Fatal("it ended before its streams")
	}
	if err := both.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := both.RecvMsg(&message{}); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	begun := time.Now()
	if code := w.g.Wait(); code != 0 || time.Since(begun) > 8*time.Second {
		t.Errorf("exit %d, %v after the last stream", code, time.Since(begun))
	}
}

// TestDrainUnderLoad ends the process while clients of HTTP/2 ask on a few connections. Until they are told by
// GOAWAY every request is answered; what was not is only what the gateway says it has not looked at, or
// a connection that is refused.
func TestDrainUnderLoad(t *testing.T) {
	t.Parallel()
	w := newGRPCWorld(t, "gatewayapi", "--drain-timeout", "10s")
	var asked, failed, refused atomic.Int64
	var wg sync.WaitGroup
	var stop atomic.Bool
	for range 4 {
		c := w.plainClient()
		for range 8 {
			wg.Go(func() {
				for !stop.Load() {
					resp, err := c.Do(grpcRequest(context.Background(), t, "/"+echoService+"/Unary", "\x00\x00\x00\x00\x04\x0a\x02hi"))
					asked.Add(1)
					switch {
					case err != nil && errors.Is(err, syscall.ECONNREFUSED):
						refused.Add(1)
						return
					case err != nil:
						failed.Add(1)
						t.Errorf("a request failed: %v", err)
						return
					}
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || len(body) != 9 || resp.Trailer.Get("Grpc-Status") != "0" {
						failed.Add(1)
						t.Errorf("an answer broke: %d bytes, %v, %v", len(body), resp.Trailer, err)
						return
					}
				}
			})
		}
	}
	time.Sleep(500 * time.Millisecond)
	w.g.Signal(syscall.SIGTERM)
	code := w.g.Wait()
	stop.Store(true)
	wg.Wait()
	t.Logf("%d requests, %d failed, %d clients found the port closed, exit %d", asked.Load(), failed.Load(), refused.Load(), code)
	if code != 0 || asked.Load() < 100 {
		t.Errorf("exit %d, %d requests", code, asked.Load())
	}
}

package proxy

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http2"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// begun opens a call whose answer has begun; its body is the answer's.
func (g *gateway) begun(ctx context.Context, edit func(*http.Request)) (body io.WriteCloser, resp *http.Response) {
	g.t.Helper()
	r, w := io.Pipe()
	req, _ := http.NewRequestWithContext(ctx, "POST", g.url(h2c, "/"), r)
	req.Header.Set("Content-Type", "application/grpc")
	if edit != nil {
		edit(req)
	}
	resp, err := g.client(h2c).Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { w.Close(); resp.Body.Close() })
	return w, resp
}

// TestQuietStreams has both sides of a call, and then the server alone, silent for longer than bodies and
// upstreams may be.
func TestQuietStreams(t *testing.T) {
	t.Parallel()
	const silence = 500 * time.Millisecond
	addr := server(t, h2c, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		w.(http.Flusher).Flush()
		b, _ := io.ReadAll(r.Body)
		time.Sleep(silence)
		_, _ = w.Write(b)
		w.Header().Set("Grpc-Status", "0")
	})
	g := start(t, setup{backend: addr, protocol: ir.UpstreamHTTP2, limits: Limits{BodyIdle: 50 * time.Millisecond, UpstreamIdle: 100 * time.Millisecond}})
	for _, kind := range []string{"application/grpc", "text/plain"} {
		body, resp := g.begun(t.Context(), func(r *http.Request) { r.Header.Set("Content-Type", kind) })
		time.Sleep(silence)
		_, _ = io.WriteString(body, "late")
		body.Close()
		if b, err := io.ReadAll(resp.Body); string(b) != "late" || err != nil || resp.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("%s: got %q, %v, %v", kind, b, err, resp.Trailer)
		}
		if a := g.record(); a.Code != 0 {
			t.Errorf("%s: record has %s %q", kind, a.Code, a.Detail)
		}
	}
}

func TestUpstreamSilent(t *testing.T) {
	stuck := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}
	combination(t, func(t *testing.T, client, origin version) {
		g := start(t, setup{backend: server(t, origin, stuck), protocol: origin.protocol(), tls: client == h2, limits: Limits{UpstreamIdle: 100 * time.Millisecond}})
		for path, status := range map[string]int{"/": 504, "/begun": 200} {
			resp, err := g.client(client).Get(g.url(client, path))
			if err != nil || resp.StatusCode != status {
				t.Fatalf("%s: %v, %v", path, resp, err)
			}
			_, _ = io.ReadAll(resp.Body)
			resp.Body.Close()
			if a := g.record(); a.Code != diag.UpstreamSilent || a.Detail != "nothing came from the upstream for 100ms" {
				t.Errorf("%s: record has %s %q", path, a.Code, a.Detail)
			}
		}
	})
}

// TestCallEnds has calls end before their time in several ways, and looks at what is recorded.
func TestCallEnds(t *testing.T) {
	addr := server(t, h2c, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	})
	for _, c := range []struct {
		name, path, timeout string
		after               time.Duration // when the client resets; 0: never
		code                diag.Code
		detail              string
		status              int
	}{
		{"cancel", "/", "10S", 50 * time.Millisecond, diag.ClientClosed, "the client reset the stream with CANCEL", 1},
		{"cancel in answer", "/begun", "", 50 * time.Millisecond, diag.ClientClosed, "the client reset the stream with CANCEL", 1},
		{"deadline, the client first", "/", "50m", 55 * time.Millisecond, diag.UpstreamTimeout, "the client's grpc-timeout of 50ms ran out", 4},
		{"deadline, the client a little early", "/begun", "300m", 260 * time.Millisecond, diag.UpstreamTimeout, "the client's grpc-timeout of 300ms ran out", 4},
		{"deadline, we first", "/", "50m", 0, diag.UpstreamTimeout, "the client's grpc-timeout of 50ms ran out", 4},
	} {
		g := start(t, setup{backend: addr, protocol: ir.UpstreamHTTP2})
		conn := g.muxClient()
		req := &message.Request{Proto: message.HTTP2, Method: []byte("POST"), Scheme: "http", Authority: []byte("a.test"), Path: []byte(c.path), Target: []byte(c.path)}
		req.Fields.AddString("content-type", "application/grpc")
		if c.timeout != "" {
			req.Fields.AddString("grpc-timeout", c.timeout)
		}
		s, err := conn.Open(req, true)
		if err != nil {
			t.Fatal(err)
		}
		if c.after > 0 {
			time.Sleep(c.after)
			s.Reset(http2.Cancel)
		}
		if a := g.record(); a.Code != c.code || a.Detail != c.detail || a.GRPCStatus != c.status {
			t.Errorf("%s: record has %s %q, grpc-status %d", c.name, a.Code, a.Detail, a.GRPCStatus)
		}
		s.Close()
	}
}

// TestUpstreamDiesInCall has an upstream's connection end within an answer of gRPC.
func TestUpstreamDiesInCall(t *testing.T) {
	addr := rawHTTP2(t, func(fr *xhttp2.Framer, f xhttp2.Frame) bool {
		h, ok := f.(*xhttp2.HeadersFrame)
		if !ok {
			return true
		}
		_ = fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: block(":status", "200", "content-type", "application/grpc"), EndHeaders: true})
		time.Sleep(50 * time.Millisecond)
		return false
	})
	g := start(t, setup{backend: addr, protocol: ir.UpstreamHTTP2})
	_, resp := g.begun(t.Context(), nil)
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the answer ended with %v", err)
	}
	a := g.record()
	if resp.Trailer.Get("Grpc-Status") != "14" || !strings.HasPrefix(resp.Trailer.Get("Grpc-Message"), a.Code.String()+" ") || a.GRPCStatus != 14 {
		t.Errorf("trailers %v, record has %s %q, grpc-status %d", resp.Trailer, a.Code, a.Detail, a.GRPCStatus)
	}
}

// TestDrainCutsCalls has a call that outlives the time for draining.
func TestDrainCutsCalls(t *testing.T) {
	addr := server(t, h2c, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	g := start(t, setup{backend: addr, protocol: ir.UpstreamHTTP2})
	_, resp := g.begun(t.Context(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_ = g.p.Drain(ctx)
	_, err := io.ReadAll(resp.Body)
	if err != nil || resp.Trailer.Get("Grpc-Status") != "14" {
		t.Errorf("the answer ended with %v, trailers %v", err, resp.Trailer)
	}
	if a := g.record(); a.Code != diag.Draining || a.Detail != drainCut || a.GRPCStatus != 14 {
		t.Errorf("record has %s %q, grpc-status %d", a.Code, a.Detail, a.GRPCStatus)
	}
}

func TestGRPCStatusOfRefusals(t *testing.T) {
	var x exchange
	for code, want := range map[diag.Code]int{diag.RequestBodyTooLarge: 8, diag.RequestHeadTooLarge: 8, diag.RequestTooManyFields: 8,
		diag.RequestBodyTimeout: 1, diag.UpstreamSilent: 14, diag.UpstreamTimeout: 4, diag.Draining: 14, diag.ClientClosed: 1} {
		if e, _ := diag.Lookup(code); x.grpcStatus(e.Status, code) != want {
			t.Errorf("%s: %d, want %d", code, x.grpcStatus(e.Status, code), want)
		}
	}
}

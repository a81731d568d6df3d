package proxy

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

func TestParseGRPCTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1H": time.Hour, "2M": 2 * time.Minute, "3S": 3 * time.Second, "4m": 4 * time.Millisecond, "5u": 5 * time.Microsecond, "6n": 6,
		"0S": 0, "99999999m": 99999999 * time.Millisecond, "99999999H": 100 * 365 * 24 * time.Hour,
		"": -1, "S": -1, "1": -1, "1s": -1, "123456789S": -1, "-1S": -1, "+1S": -1, "1.5S": -1, " 1S": -1, "1SS": -1, "0x1S": -1,
	} {
		got, ok := parseGRPCTimeout([]byte(text))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestIsGRPC(t *testing.T) {
	for kind, want := range map[string]bool{"application/grpc": true, "application/grpc+proto": true, "Application/GRPC; x=y": true,
		"application/grpc-web": false, "application/grpc-web-text+proto": false, "application/grpcx": false, "text/plain": false, "": false} {
		if isGRPC([]byte(kind)) != want {
			t.Errorf("%q: want %v", kind, want)
		}
	}
}

func TestGRPCMessage(t *testing.T) {
	if got := string(appendGRPCMessage(nil, "a%b\nü ~")); got != "a%25b%0A%C3%BC ~" {
		t.Errorf("got %q", got)
	}
}

// call makes a gRPC request whose trailers are read.
func (g *gateway) call(v version, path string, edit func(*http.Request)) *http.Response {
	g.t.Helper()
	req, _ := http.NewRequest("POST", g.url(v, path), io.NopCloser(strings.NewReader("\x00\x00\x00\x00\x00")))
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	if edit != nil {
		edit(req)
	}
	resp, err := g.client(v).Do(req)
	if err != nil {
		g.t.Fatalf("%s: %v", path, err)
	}
	_, _ = io.ReadAll(resp.Body)
	resp.Body.Close()
	return resp
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	addr := server(t, h2c, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		switch r.URL.Path {
		case "/ok":
			w.Header().Set("Trailer", "Grpc-Status")
			w.Header().Set("X-Te", r.Header.Get("Te"))
			_, _ = w.Write([]byte("\x00\x00\x00\x00\x00"))
			w.Header().Set("Grpc-Status", "5")
		case "/slow":
			<-r.Context().Done()
		case "/only":
			w.Header().Set("Grpc-Status", "9")
		}
	})
	timeout := 10 * time.Second
	g := start(t, setup{backend: addr, protocol: ir.UpstreamHTTP2, routes: []*ir.Route{
		{Name: "r", Match: ir.Match{Path: ir.PathMatch{Kind: ir.MatchPrefix, Value: "/"}, Headers: []ir.FieldMatch{{Name: "nowhere", Invert: true, Match: ir.StringMatch{Kind: ir.MatchPresent}}}},
			Timeout: timeout, Forward: []ir.Backend{{Upstream: "u", Weight: 1}}}}})
	for _, c := range []struct {
		path   string
		edit   func(*http.Request)
		status string
		code   diag.Code
		number int
	}{
		{"/ok", nil, "5", 0, 5},
		{"/only", nil, "9", 0, 9},
		{"/slow", func(r *http.Request) { r.Header.Set("Grpc-Timeout", "300m") }, "4", diag.UpstreamTimeout, 4},
		{"/ok", func(r *http.Request) { r.Header.Set("Grpc-Timeout", "1x") }, "13", diag.RequestBadField, 13},
		{"/ok", func(r *http.Request) { r.Header.Set("Nowhere", "1") }, "12", diag.NoRoute, 12},
	} {
		resp := g.call(h2c, c.path, c.edit)
		status := resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status")
		if resp.StatusCode != 200 || status != c.status || resp.Header.Get("Content-Type") != "application/grpc" {
			t.Errorf("%s: %s %v %v", c.path, resp.Status, resp.Header, resp.Trailer)
		}
		if c.code != 0 && !strings.HasPrefix(resp.Header.Get("Grpc-Message"), c.code.String()+" ") {
			t.Errorf("%s: message %q", c.path, resp.Header.Get("Grpc-Message"))
		}
		if a := g.record(); !a.GRPC || a.GRPCStatus != c.number || a.Code != c.code {
			t.Errorf("%s: record %+v", c.path, a.Access)
		}
		if c.path == "/ok" && c.code == 0 && resp.Header.Get("X-Te") != "trailers" {
			t.Errorf("TE of the request was %q", resp.Header.Get("X-Te"))
		}
	}
}

func TestGRPCWeb(t *testing.T) {
	var got []byte
	addr := server(t, h2c, func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = w.Write([]byte("\x00\x00\x00\x00\x01x"))
		w.Header().Set("Grpc-Status", "0")
	})
	for _, v := range []version{h1, h2c} {
		g := start(t, setup{backend: addr, protocol: ir.UpstreamHTTP2, web: true})
		message := []byte("\x00\x00\x00\x00\x03abc")
		want := "\x00\x00\x00\x00\x01x\x80\x00\x00\x00\x0fgrpc-status:0\r\n"
		for _, kind := range []string{"application/grpc-web+proto", "application/grpc-web-text+proto"} {
			body := message
			text := strings.Contains(kind, "text")
			if text {
				body = []byte(base64.StdEncoding.EncodeToString(message))
			}
			req, _ := http.NewRequest("POST", g.url(v, "/"), bytes.NewReader(body))
			req.Header.Set("Content-Type", kind)
			resp, err := g.client(v).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if text {
				var plain []byte
				for len(answer) > 0 { // padded parts, one after the other
					end := bytes.IndexByte(answer, '=')
					for end >= 0 && end+1 < len(answer) && answer[end+1] == '=' {
						end++
					}
					if end < 0 {
						end = len(answer) - 1
					}
					part, err := base64.StdEncoding.DecodeString(string(answer[:end+1]))
					if err != nil {
						t.Fatal(err)
					}
					plain, answer = append(plain, part...), answer[end+1:]
				}
				answer = plain
			}
			if string(answer) != want || !bytes.Equal(got, message) || resp.Header.Get("Content-Type") != kind {
				t.Errorf("%s %s: %q (%v), upstream got %q", v, kind, answer, resp.Header, got)
			}
			if a := g.record(); !a.GRPC || a.GRPCStatus != 0 || a.Code != 0 {
				t.Errorf("record %+v", a.Access)
			}
		}
	}
}

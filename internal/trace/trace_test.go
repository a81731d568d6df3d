package trace

import (
	"bufio"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/test/golden"
	"github.com/hakone-gateway/hakone/test/testca"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// scene is the network of one case.
type scene struct {
	t             *testing.T
	public, corp  *testca.Pair // the destination's CA, the company's
	o             Options
	names         map[string]string // addresses, for the golden
	dest          string            // address of the destination
	mu            sync.Mutex
	authorization []string
}

func newScene(t *testing.T) *scene {
	s := &scene{t: t, names: map[string]string{}}
	s.public, s.corp = testca.New(t, testca.Spec{CommonName: "Public Root"}), testca.New(t, testca.Spec{CommonName: "Corp Interception CA"})
	s.o = Options{URL: s.url("https://www.example.test/page"), Anchors: s.anchors("public.pem", s.public), Direct: DirectNever, Timeout: 2 * time.Second, ConnectTo: map[string]string{}}
	return s
}

func (s *scene) url(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

func (s *scene) anchors(from string, ca *testca.Pair) *Anchors {
	return &Anchors{From: from, Bundle: secret.NewBundle(ca.Cert)}
}

// called names an address in the golden.
func (s *scene) called(name, address string) string {
	s.names[address] = name
	return address
}

func page(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/moved":
		http.Redirect(w, r, "/page", http.StatusFound)
		return
	case "/refused":
		w.Header().Set("Proxy-Status", `hakone; error=tls_certificate_error; details="HK3102"`)
		w.WriteHeader(502)
		return
	}
	w.Header().Set("Date", "Thu, 01 Jan 2026 00:00:00 GMT")
	w.Header().Set("Server", "origin/1")
	w.Header().Set("Strict-Transport-Security", "max-age=60")
	w.Header().Set("Content-Type", "text/html")
	io.WriteString(w, "<!doctype html><TITLE>Hello &amp; good\n day</TITLE><p>x")
}

// destination serves with a certificate of by.
func (s *scene) destination(by *testca.Pair, spec testca.Spec, config *tls.Config) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(page))
	srv.Config.ErrorLog = quiet()
	srv.EnableHTTP2 = true
	if config == nil {
		config = &tls.Config{}
	}
	config.Certificates = []tls.Certificate{by.Issue(spec).TLS()}
	srv.TLS = config
	srv.StartTLS()
	s.t.Cleanup(srv.Close)
	s.dest = s.called("DEST", srv.Listener.Addr().String())
	s.o.ConnectTo["www.example.test:443"] = s.dest
}

// listenTo serves raw connections.
func (s *scene) listenTo(name string, handle func(net.Conn)) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				handle(c)
			}()
		}
	}()
	return s.called(name, ln.Addr().String())
}

// proxy is a CONNECT proxy. answer, if not "", is what CONNECT gets; bump, if not nil, is the CA that it
// intercepts with; own, if not nil, its certificate.
func (s *scene) proxy(answer string, bump *testca.Pair, spec testca.Spec, own *testca.Pair) {
	address := s.listenTo("PROXY", func(c net.Conn) {
		if own != nil {
			secured := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{own.TLS()}})
			if secured.Handshake() != nil {
				return
			}
			c = secured
		}
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.authorization = append(s.authorization, req.Header.Get("Proxy-Authorization"))
		s.mu.Unlock()
		if answer != "" {
			io.WriteString(c, answer)
			return
		}
		if req.Method != http.MethodConnect {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nVia: 1.1 proxy\r\nContent-Length: %d\r\n\r\n%s", len(req.RequestURI), req.RequestURI)
			return
		}
		io.WriteString(c, "HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n")
		if bump != nil {
			inner := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{bump.Issue(spec).TLS()}, NextProtos: []string{"http/1.1"}})
			if req, err := http.ReadRequest(bufio.NewReader(inner)); err == nil {
				fmt.Fprintf(inner, "HTTP/1.1 200 OK\r\nVia: 1.1 squid (squid/5.7)\r\nX-Cache: MISS from squid\r\nContent-Length: %d\r\n\r\n%s", len(req.URL.Path), req.URL.Path)
			}
			inner.Close()
			return
		}
		up, err := net.Dial("tcp", s.dest)
		if err != nil {
			return
		}
		defer up.Close()
		go io.Copy(up, r)
		io.Copy(c, up)
	})
	scheme := "http"
	if own != nil {
		scheme = "https"
	}
	s.o.Proxy = &Proxy{URL: s.url(scheme + "://proxy.test:3128")}
	s.o.ConnectTo["proxy.test:3128"] = address
}

var site = testca.Spec{CommonName: "www.example.test", DNS: []string{"www.example.test"}}

// scenes are the cases by name.
func scenes() map[string]func(*scene) {
	return map[string]func(*scene){
		"direct": func(s *scene) { s.destination(s.public, site, nil) },
		"session": func(s *scene) {
			s.destination(s.public, site, nil)
			s.o.Again = true
		},
		"redirect": func(s *scene) {
			s.destination(s.public, site, nil)
			s.o.URL.Path, s.o.Follow = "/moved", 3
		},
		"reason": func(s *scene) {
			s.destination(s.public, site, nil)
			s.o.URL.Path = "/refused"
		},
		"tunnelled": func(s *scene) {
			s.destination(s.public, site, nil)
			s.proxy("", nil, site, nil)
			s.o.Direct, s.o.Interception = DirectAlways, s.anchors("corp.pem", s.corp)
		},
		"missing interception": func(s *scene) {
			s.destination(s.public, site, nil)
			s.proxy("", nil, site, nil)
			s.o.Interception, s.o.Proxy.Only = s.anchors("corp.pem", s.corp), true
		},
		"intercepted": func(s *scene) {
			s.destination(s.public, site, nil)
			s.proxy("", s.corp, site, nil)
			s.o.Direct, s.o.Interception = DirectAlways, s.anchors("corp.pem", s.corp)
		},
		"intercepted unknown": func(s *scene) {
			s.destination(s.public, site, nil)
			s.proxy("", s.corp, site, nil)
			s.o.Direct = DirectIfReachable
		},
		"intercepted everywhere": func(s *scene) {
			s.destination(s.corp, site, nil)
			s.proxy("", s.corp, site, nil)
			s.o.Direct, s.o.Interception = DirectAlways, s.anchors("corp.pem", s.corp)
		},
		"intercepted insecure": func(s *scene) {
			s.proxy("", s.corp, site, nil)
			s.o.Insecure = true
		},
		"intercepted expired": func(s *scene) {
			spec := site
			spec.NotBefore, spec.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
			s.proxy("", s.corp, spec, nil)
			s.o.Interception = s.anchors("corp.pem", s.corp)
		},
		"unexpected interception": func(s *scene) {
			s.destination(s.corp, site, nil)
			s.o.Interception = s.anchors("corp.pem", s.corp)
		},
		"https proxy": func(s *scene) {
			own := testca.New(s.t, testca.Spec{CommonName: "Proxy CA"})
			s.destination(s.public, site, nil)
			s.proxy("", nil, site, own.Issue(testca.Spec{CommonName: "proxy.test", DNS: []string{"proxy.test"}}))
			s.o.Proxy.Anchors = s.anchors("proxy.pem", own)
			s.o.Proxy.URL.User = url.UserPassword("vera", "s3cret")
		},
		"https proxy untrusted": func(s *scene) {
			own := testca.New(s.t, testca.Spec{CommonName: "Proxy CA"})
			s.proxy("", nil, site, own.Issue(testca.Spec{CommonName: "proxy.test", DNS: []string{"proxy.test"}}))
			s.o.Proxy.Anchors = s.anchors("public.pem", s.public)
		},
		"proxy speaks plaintext": func(s *scene) {
			s.o.Proxy = &Proxy{URL: s.url("https://proxy.test:3128")}
			s.o.ConnectTo["proxy.test:3128"] = s.listenTo("PROXY", func(c net.Conn) {
				c.Read(make([]byte, 4096))
				io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			})
		},
		"proxy is silent": func(s *scene) {
			s.o.Proxy = &Proxy{URL: s.url("https://proxy.test:3128")}
			s.o.ConnectTo["proxy.test:3128"] = s.listenTo("PROXY", func(c net.Conn) { c.Read(make([]byte, 4096)) })
		},
		"proxy speaks TLS": func(s *scene) {
			s.proxy("\x15\x03\x03\x00\x02\x02\x46", nil, site, nil)
		},
		"proxy not HTTP": func(s *scene) { s.proxy("220 mail ESMTP\r\n", nil, site, nil) },
		"proxy wants password": func(s *scene) {
			s.proxy("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"corp\"\r\nContent-Length: 0\r\n\r\n", nil, site, nil)
		},
		"proxy denies": func(s *scene) {
			s.proxy("HTTP/1.1 403 Forbidden\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\nContent-Length: 0\r\n\r\n", nil, site, nil)
		},
		"plain through proxy": func(s *scene) {
			s.proxy("", nil, site, nil)
			s.o.URL = s.url("http://www.example.test/plain")
		},
		"plaintext on TLS port": func(s *scene) {
			srv := httptest.NewServer(http.HandlerFunc(page))
			s.t.Cleanup(srv.Close)
			s.o.ConnectTo["www.example.test:443"] = s.called("DEST", srv.Listener.Addr().String())
		},
		"TLS on plaintext port": func(s *scene) {
			s.o.URL = s.url("http://www.example.test/")
			s.o.ConnectTo["www.example.test:80"] = s.listenTo("DEST", func(c net.Conn) {
				c.Read(make([]byte, 512))
				c.Write([]byte("\x15\x03\x03\x00\x02\x02\x0a"))
			})
		},
		"expects PROXY": func(s *scene) {
			cert := s.public.Issue(site).TLS()
			s.o.ConnectTo["www.example.test:443"] = s.listenTo("DEST", func(c net.Conn) {
				head := make([]byte, 6)
				if _, err := io.ReadFull(c, head); err != nil || string(head) != "PROXY " {
					return
				}
				one := make([]byte, 1)
				for one[0] != '\n' {
					if _, err := c.Read(one); err != nil {
						return
					}
				}
				tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
			})
		},
		"another name": func(s *scene) {
			s.destination(s.public, testca.Spec{CommonName: "other.test", DNS: []string{"other.test"}}, nil)
		},
		"wants a certificate": func(s *scene) {
			s.destination(s.public, site, &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12})
		},
		"wants a certificate 1.3": func(s *scene) {
			s.destination(s.public, site, &tls.Config{ClientAuth: tls.RequireAnyClientCert})
		},
		"shows a certificate": func(s *scene) {
			s.destination(s.public, site, &tls.Config{ClientAuth: tls.RequireAnyClientCert})
			pair := s.corp.Issue(testca.Spec{CommonName: "vera"}).TLS()
			s.o.Certificate = &pair
		},
		"refused": func(s *scene) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				s.t.Fatal(err)
			}
			ln.Close()
			s.o.ConnectTo["www.example.test:443"] = s.called("DEST", ln.Addr().String())
		},
	}
}

func TestPictures(t *testing.T) {
	all := scenes()
	golden.Run(t, *update, len(all), []string{"picture"}, func(t *testing.T, c golden.Case) map[string]string {
		name := strings.TrimSpace(c.Inputs["scene"])
		set := all[name]
		if set == nil {
			t.Fatalf("there is no scene %q", name)
		}
		s := newScene(t)
		set(s)
		p := Run(t.Context(), s.o)
		var b strings.Builder
		p.Draw(&b)
		worst, any := p.Worst()
		fmt.Fprintf(&b, "worst: %v %v, unreachable: %v\n", worst, any, p.Unreachable())
		text := b.String()
		if strings.Contains(text, "s3cret") {
			t.Error("the picture shows a password")
		}
		return map[string]string{"picture": s.mask(text)}
	})
}

var masks = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`[0-9.]+ ms`), "… ms"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "US"},
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "sha256:…"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\dZ`), "DATE"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "DATE"},
	{regexp.MustCompile(`JA4 t13\w+`), "JA4 …"},
	{regexp.MustCompile(`tickets: \d`), "tickets: n"},
}

// mask takes out of a picture what differs from run to run.
func (s *scene) mask(text string) string {
	for address, name := range s.names {
		text = strings.ReplaceAll(text, address, name)
	}
	for _, m := range masks {
		text = m.what.ReplaceAllString(text, m.with)
	}
	return text
}

// TestLogin sends the password to the proxy, and to nobody else.
func TestLogin(t *testing.T) {
	s := newScene(t)
	s.destination(s.public, site, nil)
	s.proxy("", nil, site, nil)
	s.o.Proxy.URL.User = url.UserPassword("vera", "s3cret")
	if p := Run(t.Context(), s.o); p.Answer == nil || p.Answer.Status != 200 {
		t.Fatalf("%+v", p.Findings)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.authorization) != 1 || s.authorization[0] != "Basic dmVyYTpzM2NyZXQ=" {
		t.Errorf("the proxy was told %q", s.authorization)
	}
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

package admin

import (
	"bytes"
	"cmp"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// ErrNoDump says that there is no dump of that name.
var ErrNoDump = errors.New("no such dump")

// Access says who may use a TCP address. The zero value lets everyone read and nobody change.
type Access struct {
	Certificate *tls.Certificate  // serve HTTPS with it
	ClientCAs   *x509.CertPool    // a client certificate of these has the role operator
	Tokens      map[string]string // token → role: "viewer" or "operator"; if not nil, reads need one too
}

// Server answers the admin API.
type Server struct {
	backend   Backend
	access    Access
	logger    *slog.Logger
	endpoints []Endpoint
	searches  chan struct{} // one for each explanation in progress
}

// Endpoint is a part of the API that another room serves. Role is "viewer" for reads and "operator" for
// what changes or reveals more. Patterns are those of http.ServeMux without the method. The body of a
// Secret one holds keys: the audit log has its size only.
type Endpoint struct {
	Method  string
	Pattern string
	Role    string
	Secret  bool
	MaxBody int64 // of a change, in bytes; 0: 64 KiB
	Handler http.HandlerFunc
}

// maxBody bounds the body of a change, in bytes.
const maxBody = 64 << 10

// NewServer returns a Server for backend. The audit log goes to logger with the message "audit".
func NewServer(backend Backend, access Access, logger *slog.Logger, endpoints ...Endpoint) *Server {
	return &Server{backend, access, logger, endpoints, make(chan struct{}, maxSearches)}
}

// Listen opens address: "unix:PATH" (mode 0600; a stale socket is replaced, a live one refused, and so
// is a folder that another user could put a socket of their own into) or "HOST:PORT".
func Listen(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("admin address %q: %w", address, err)
		}
		return ln, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("folder of admin socket %q: %w", path, err)
	}
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("admin socket %q: %w", path, err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("admin socket %q: another process answers there", path)
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		os.Remove(path)
	}
	ln, err := listenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("admin socket %q: %w", path, err)
	}
	return ln, nil
}

// listenUnix binds under a private name and renames the socket once its mode is 0600, so that nobody
// can connect in between.
func listenUnix(path string) (net.Listener, error) {
	private := fmt.Sprintf("%s.%d", path, os.Getpid())
	os.Remove(private)
	ln, err := net.Listen("unix", private)
	if err != nil {
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err = os.Chmod(private, 0o600); err == nil {
		err = os.Rename(private, path)
	}
	if err != nil {
		ln.Close()
		os.Remove(private)
		return nil, err
	}
	return unlinker{ln, path}, nil
}

// unlinker removes the socket's file when it is closed.
type unlinker struct {
	net.Listener
	path string
}

func (u unlinker) Close() error {
	os.Remove(u.path)
	return u.Listener.Close()
}

// Serve answers on ln until ctx ends. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	local := ln.Addr().Network() == "unix"
	handler := s.Handler(local)
	if a, ok := ln.Addr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
		handler = loopbackOnly(handler)
	}
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 32 << 10,
		ErrorLog:       slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	if !local && s.access.Certificate != nil {
		cfg := &tls.Config{Certificates: []tls.Certificate{*s.access.Certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
		if s.access.ClientCAs != nil {
			cfg.ClientAuth, cfg.ClientCAs = tls.VerifyClientCertIfGiven, s.access.ClientCAs
		}
		ln = tls.NewListener(ln, cfg)
	}
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if srv.Shutdown(end) != nil {
			srv.Close()
		}
	})
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// loopbackOnly refuses requests for a host that is no name of this machine. A browser on this machine
// sends those for a page whose name was made to resolve here (DNS rebinding), to read what we tell.
func loopbackOnly(next http.Handler) http.Handler {
	own, err := os.Hostname()
	if err != nil {
		own = "localhost"
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := url.URL{Host: r.Host}
		host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		ip := net.ParseIP(host)
		if ip.IsLoopback() || host == "localhost" || strings.EqualFold(host, own) || strings.HasSuffix(host, ".localhost") || r.Host == "" {
			next.ServeHTTP(w, r)
			return
		}
		fail(w, http.StatusMisdirectedRequest, "this admin address serves the loopback only", "Ask for 127.0.0.1 or localhost.")
	})
}

// Handler returns the API. local callers may change things without more proof.
func (s *Server) Handler(local bool) http.Handler {
	mux := http.NewServeMux()
	read := func(pattern string, h http.HandlerFunc) { mux.Handle("GET "+pattern, s.guard(local, "viewer", h)) }
	write := func(pattern string, h http.HandlerFunc) {
		mux.Handle("POST "+pattern, s.audit(s.guard(local, "operator", h), false, maxBody))
	}
	// Health answers anyone, so that probes need no secret.
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { s.health(w, r, s.backend.Health().Live) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { s.health(w, r, s.backend.Health().Ready) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		h := s.backend.Health()
		s.health(w, r, h.Live && h.Ready)
	})
	read("/metrics", s.backend.Metrics().ServeHTTP)
	read("/status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.backend.Status()) })
	read("/dump", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string][]string{"dumps": DumpNames()})
	})
	read("/dump/{what}", s.dump)
	operate := func(pattern string, h http.HandlerFunc) { mux.Handle("GET "+pattern, s.guard(local, "operator", h)) }
	operate("/explain/{id}", s.explain) // who visited what; connections are numbered, so all could be walked
	operate("/debug/pprof/{$}", pprof.Index)
	operate("/debug/pprof/{profile}", func(w http.ResponseWriter, r *http.Request) { pprof.Handler(r.PathValue("profile")).ServeHTTP(w, r) })
	operate("/debug/pprof/profile", pprof.Profile)
	operate("/debug/pprof/trace", pprof.Trace)
	for _, e := range s.endpoints {
		h := s.guard(local, e.Role, e.Handler)
		if e.Method != http.MethodGet {
			h = s.audit(h, e.Secret, cmp.Or(e.MaxBody, maxBody))
		}
		mux.Handle(e.Method+" "+e.Pattern, h)
	}
	write("/tls-version", s.setTLSVersion)
	write("/reload", func(w http.ResponseWriter, _ *http.Request) {
		s.backend.Reload()
		writeJSON(w, http.StatusAccepted, map[string]string{"state": "reloading"})
	})
	return mux
}

// guard lets a request through if its caller has the role.
func (s *Server) guard(local bool, need string, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if local {
			next(w, r)
			return
		}
		role := s.role(r)
		switch {
		case role == "operator", need == "viewer" && role == "viewer":
			next(w, r)
		case role == "":
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, "a token or client certificate is needed here", "Send Authorization: Bearer TOKEN.")
		default:
			fail(w, http.StatusForbidden, "a TCP admin address serves reads only to callers without the role operator",
				"Use the unix socket, or give the caller a token or client certificate with the role operator.")
		}
	})
}

// role returns "operator", "viewer", or "" for nobody.
func (s *Server) role(r *http.Request) string {
	if s.access.ClientCAs != nil && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return "operator"
	}
	if given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		for token, role := range s.access.Tokens {
			if subtle.ConstantTimeCompare([]byte(token), []byte(given)) == 1 {
				return role
			}
		}
		return ""
	}
	if s.access.Tokens != nil {
		return ""
	}
	return "viewer"
}

// audit records every change, tried or done: who, from where, what. What callers without the role sent
// is not repeated.
func (s *Server) audit(next http.Handler, secret bool, most int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rec := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		body := s.change(rec, r, next, most)
		if rec.status == http.StatusUnauthorized || rec.status == http.StatusForbidden {
			body = ""
		} else if secret {
			body = fmt.Sprintf("[redacted, %d bytes]", len(body))
		}
		s.logger.Info("audit", "method", r.Method, "path", r.URL.Path, "peer", caller(r), "body", body, "status", rec.status)
	}
}

// change hands a request on if it can only have been sent on purpose, and returns its body.
func (s *Server) change(w http.ResponseWriter, r *http.Request, next http.Handler, most int64) string {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		// A browser cannot send this type across sites without asking, so no page can forge a change.
		fail(w, http.StatusUnsupportedMediaType, "changes are sent as application/json", "Set Content-Type: application/json.")
		return ""
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d KiB", most>>10), "Send less.")
		return ""
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	next.ServeHTTP(w, r)
	return string(body)
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func caller(r *http.Request) string {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return r.TLS.PeerCertificates[0].Subject.String() + " " + r.RemoteAddr
	}
	if r.RemoteAddr == "" || r.RemoteAddr == "@" {
		return "unix socket"
	}
	return r.RemoteAddr
}

func (s *Server) health(w http.ResponseWriter, r *http.Request, ok bool) {
	status := http.StatusOK
	if !ok {
		status = http.StatusServiceUnavailable
	}
	h := s.backend.Health()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if !r.URL.Query().Has("verbose") {
		switch {
		case !ok:
			fmt.Fprintln(w, "not ok")
		case h.Degraded():
			fmt.Fprintln(w, "degraded")
		default:
			fmt.Fprintln(w, "ok")
		}
		return
	}
	excluded := r.URL.Query()["exclude"]
	for _, c := range h.Checks {
		if contains(excluded, c.Name) {
			fmt.Fprintf(w, "[~]%s excluded\n", c.Name)
			continue
		}
		mark := map[string]string{"ok": "+", "degraded": "!"}[c.State]
		if mark == "" {
			mark = "-"
		}
		fmt.Fprintf(w, "[%s]%s %s", mark, c.Name, c.State)
		if c.Detail != "" {
			fmt.Fprintf(w, ": %s", c.Detail)
		}
		fmt.Fprintln(w)
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func (s *Server) dump(w http.ResponseWriter, r *http.Request) {
	what := r.PathValue("what")
	v, err := s.backend.Dump(what)
	if err != nil {
		fail(w, http.StatusNotFound, fmt.Sprintf("no dump called %q", what), "Use one of "+strings.Join(DumpNames(), ", ")+".")
		return
	}
	writeJSON(w, http.StatusOK, v)
}

// maxSearches bounds the explanations in progress: each may read all logs that are kept. One more waits
// for searchWait.
const (
	maxSearches = 2
	searchWait  = time.Second
)

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	timer := time.NewTimer(searchWait)
	defer timer.Stop()
	select {
	case s.searches <- struct{}{}:
		defer func() { <-s.searches }()
	case <-timer.C:
		w.Header().Set("Retry-After", "5")
		fail(w, http.StatusServiceUnavailable, fmt.Sprintf("%d searches are in progress", maxSearches), "Try again in some seconds.")
		return
	case <-r.Context().Done():
		return
	}
	record, ok := s.backend.Explain(r.Context(), r.PathValue("id"))
	if !ok {
		fail(w, http.StatusNotFound, fmt.Sprintf("no record of %q; the ring keeps the last few thousand", r.PathValue("id")),
			"Look for the ID in the access log.")
		return
	}
	writeJSON(w, http.StatusOK, record)
}

func (s *Server) setTLSVersion(w http.ResponseWriter, r *http.Request) {
	var change TLSChange
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&change); err != nil {
		fail(w, http.StatusBadRequest, "the body is no TLS change: "+err.Error(), `Send {"minVersion":"1.2"}.`)
		return
	}
	changed, err := s.backend.SetTLSVersion(r.Context(), change)
	var problem *Problem
	switch {
	case errors.As(err, &problem):
		writeAs(w, cmp.Or(problem.Status, http.StatusInternalServerError), problemType, problem)
	case err != nil:
		fail(w, http.StatusInternalServerError, err.Error(), "")
	default:
		writeJSON(w, http.StatusOK, changed)
	}
}

// Problem is an error of the API. Object, if any, is what the user can apply by other means.
type Problem struct {
	Status int       `json:"status"`
	Code   diag.Code `json:"code,omitempty"`
	Title  string    `json:"title"`
	Fix    string    `json:"fix,omitempty"`
	Object string    `json:"object,omitempty"`
}

// Error returns the title.
func (p *Problem) Error() string { return p.Title }

// problemType is the media type of errors (RFC 9457).
const problemType = "application/problem+json"

func fail(w http.ResponseWriter, status int, title, fix string) {
	writeAs(w, status, problemType, &Problem{Status: status, Title: title, Fix: fix})
}

func writeJSON(w http.ResponseWriter, status int, v any) { writeAs(w, status, "application/json", v) }

func writeAs(w http.ResponseWriter, status int, media string, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

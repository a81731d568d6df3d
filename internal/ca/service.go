package ca

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Paths below the authority's URL.
const (
	pathOCSP = "/ocsp/"
	pathList = "/crl/"
	pathCA   = "/ca/"
)

const (
	maxOCSPRequest = 16 << 10
	maxCacheAge    = 5 * time.Minute // of lists and answers: how late a revocation may reach who caches
	freshenEvery   = time.Minute
)

// Service serves the authorities of a store over HTTP: OCSP, revocation lists and certificates of CAs.
// It keeps lists and responders fresh while Run runs. Create it with NewService.
type Service struct {
	// fixed after construction
	store   Store
	options Options
	logger  *slog.Logger

	mu sync.RWMutex
	// guarded by mu
	open map[string]*served
}

type served struct {
	*Authority
	responder *responder
	failing   bool // to keep lists fresh; said once. Owned by Run
}

// NewService opens every authority of the store. One that cannot be opened is logged and tried again by
// Run, which finds those that are made later too. The error is that the store cannot be read.
func NewService(ctx context.Context, s Store, o Options) (*Service, error) {
	out := &Service{store: s, options: o, logger: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), open: map[string]*served{}}
	names, err := s.Authorities()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if err := out.add(ctx, n); err != nil {
			out.logger.Error("an authority cannot be opened, the others are", "authority", n, "err", err)
		}
	}
	return out, nil
}

func (s *Service) add(ctx context.Context, name string) error {
	a, err := Open(ctx, s.store, name, s.options)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[name] == nil {
		s.open[name] = &served{Authority: a, responder: newResponder(a)}
	}
	return nil
}

// Store returns what the service was made with.
func (s *Service) Store() Store { return s.store }

// Names returns the authorities that are served, sorted.
func (s *Service) Names() []string {
	var out []string
	for _, a := range s.all() {
		out = append(out, a.Name())
	}
	return out
}

func (s *Service) all() []*served {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]*served, 0, len(s.open))
	for _, a := range s.open {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *served) int { return strings.Compare(a.name, b.name) })
	return out
}

// Authority returns an authority by name, opening it if it was made since; "" is DefaultName. The error is
// an *Error.
func (s *Service) Authority(ctx context.Context, name string) (*Authority, error) {
	a, err := s.served(ctx, cmp.Or(name, DefaultName))
	if err != nil {
		return nil, err
	}
	return a.Authority, nil
}

func (s *Service) served(ctx context.Context, name string) (*served, error) {
	s.mu.RLock()
	a := s.open[name]
	s.mu.RUnlock()
	if a == nil {
		if err := s.add(ctx, name); err != nil {
			return nil, err
		}
		s.mu.RLock()
		defer s.mu.RUnlock()
		a = s.open[name]
	}
	return a, nil
}

// Run makes lists and responders anew before they are due, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(freshenEvery)
	defer tick.Stop()
	for {
		s.freshen(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *Service) freshen(ctx context.Context) {
	names, err := s.store.Authorities()
	if err != nil {
		s.logger.Error("the store of authorities cannot be read", "store", s.store.String(), "err", err)
		return
	}
	for _, n := range names {
		a, err := s.served(ctx, n)
		if err != nil {
			var e *Error
			if errors.As(err, &e) && e.Code == diag.AuthorityNotFound {
				continue // it is being made
			}
			s.logger.Error("an authority cannot be opened", "authority", n, "err", err)
			continue
		}
		err = a.Freshen(ctx)
		a.mu.RLock()
		ids := a.listing()
		a.mu.RUnlock()
		for _, id := range ids {
			_, e := a.responder.delegate(ctx, id)
			err = errors.Join(err, e)
		}
		switch {
		case err != nil && !a.failing:
			s.logger.Error("lists or responders of an authority cannot be made anew", "authority", n, "err", err)
		case err == nil && a.failing:
			s.logger.Info("lists and responders of an authority are fresh again", "authority", n)
		}
		a.failing = err != nil
	}
}

// ServeHTTP answers /ocsp (GET and POST), /crl/NAME.crl and .pem, /ca/NAME.crt and .pem. NAME is an
// authority, or AUTHORITY-CA for one of its CAs.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// Not by http.ServeMux: base64 holds slashes, two of them in a row too, and the mux would redirect.
	path := r.URL.EscapedPath()
	rest, isOCSP := strings.CutPrefix(path, pathOCSP)
	switch {
	case isOCSP || path == strings.TrimSuffix(pathOCSP, "/"):
		s.serveOCSP(w, r, rest)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET is answered here", http.StatusMethodNotAllowed)
	case strings.HasPrefix(path, pathList):
		s.serveList(w, r, strings.TrimPrefix(path, pathList))
	case strings.HasPrefix(path, pathCA):
		s.serveCA(w, r, strings.TrimPrefix(path, pathCA))
	default:
		http.Error(w, "there are /ocsp, /crl/NAME.crl and /ca/NAME.crt here", http.StatusNotFound)
	}
}

func (s *Service) serveOCSP(w http.ResponseWriter, r *http.Request, rest string) {
	w.Header().Set("Content-Type", "application/ocsp-response")
	der, status := readOCSP(w, r, rest)
	if status != 0 {
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "an OCSP request is sent as GET /ocsp/BASE64 or as POST of application/ocsp-request", status)
		return
	}
	q, err := parseOCSPRequest(der)
	if err != nil {
		s.logger.Debug("malformed OCSP request", "client", r.RemoteAddr, "err", err)
		unsigned(w, ocsp.MalformedRequestErrorResponse)
		return
	}
	for _, a := range s.all() {
		id, err := a.responder.ca(q.certs[0].issuerKey)
		if err != nil {
			s.logger.Error("an authority cannot be read", "authority", a.name, "err", err)
			unsigned(w, ocsp.InternalErrorErrorResponse)
			return
		}
		if id == "" {
			continue
		}
		for _, c := range q.certs[1:] {
			if other, err := a.responder.ca(c.issuerKey); err != nil || other != id {
				unsigned(w, ocsp.UnauthorizedErrorResponse) // one answer has one signer
				return
			}
		}
		out, err := a.responder.answer(r.Context(), id, q)
		if err != nil {
			s.logger.Log(r.Context(), levelOf(err), "an OCSP request cannot be answered", "authority", a.name, "ca", id, "err", err)
			unsigned(w, ocsp.TryLaterErrorResponse)
			return
		}
		if r.Method == http.MethodGet && q.nonce == nil {
			cacheable(w, out.this, out.next, a.now(), out.der)
			http.ServeContent(w, r, "", out.this, bytes.NewReader(out.der))
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(out.der)
		return
	}
	// Nothing here was issued by that CA (RFC 5019 section 2.2.3).
	unsigned(w, ocsp.UnauthorizedErrorResponse)
}

// levelOf returns the level at which a failure is logged: once as an error, however many ask.
func levelOf(err error) slog.Level {
	if r := (remembered{}); errors.As(err, &r) {
		return slog.LevelDebug
	}
	return slog.LevelError
}

// unsigned sends one of the answers that need no signature.
func unsigned(w http.ResponseWriter, der []byte) {
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(der)
}

// readOCSP returns the request, or the HTTP status that refuses it.
func readOCSP(w http.ResponseWriter, r *http.Request, rest string) ([]byte, int) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		text, err := url.PathUnescape(rest)
		if err != nil || text == "" || len(text) > maxOCSPRequest {
			return nil, http.StatusBadRequest
		}
		// Some clients leave the padding out, some use the alphabet for URLs.
		text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", " ", "+").Replace(text), "=")
		der, err := base64.RawStdEncoding.DecodeString(text)
		if err != nil {
			return nil, http.StatusBadRequest
		}
		return der, 0
	case http.MethodPost:
		if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(media), "application/ocsp-request") {
			return nil, http.StatusUnsupportedMediaType
		}
		der, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOCSPRequest))
		if err != nil {
			return nil, http.StatusRequestEntityTooLarge
		}
		return der, 0
	}
	return nil, http.StatusMethodNotAllowed
}

// cacheable writes the headers of RFC 5019 section 6.2. What says when a thing is due says how long it may
// be kept; never longer than maxCacheAge, so that a revocation is seen.
func cacheable(w http.ResponseWriter, this, next, now time.Time, body []byte) {
	age := min(next.Sub(now), maxCacheAge)
	h := w.Header()
	h.Set("Cache-Control", fmt.Sprintf("max-age=%d, public, no-transform, must-revalidate", max(int(age.Seconds()), 0)))
	h.Set("Expires", now.Add(age).UTC().Format(http.TimeFormat))
	h.Set("ETag", fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(body))[:40]))
	h.Set("Last-Modified", this.UTC().Format(http.TimeFormat))
}

func (s *Service) serveList(w http.ResponseWriter, r *http.Request, file string) {
	a, id, text := s.resolve(file, suffixList)
	if a == nil {
		http.Error(w, "no such revocation list", http.StatusNotFound)
		return
	}
	l, err := a.responder.list(r.Context(), id)
	if err != nil {
		// An older list that has not ended is better than none.
		if old, oldErr := a.LastCRL(id); oldErr == nil && old != nil && a.now().Before(old.NextUpdate) {
			l, err = old, nil
		}
	}
	if err != nil {
		var e *Error
		if errors.As(err, &e) && e.Code == diag.CertNotIssuedHere {
			http.Error(w, "no such revocation list", http.StatusNotFound)
			return
		}
		s.logger.Log(r.Context(), levelOf(err), "a revocation list cannot be served", "authority", a.name, "ca", id, "err", err)
		http.Error(w, "the revocation list is not available now", http.StatusServiceUnavailable)
		return
	}
	body, media := l.DER, "application/pkix-crl"
	if text {
		body, media = pem.EncodeToMemory(&pem.Block{Type: labelList, Bytes: l.DER}), "application/x-pem-file"
	}
	w.Header().Set("Content-Type", media)
	cacheable(w, l.ThisUpdate, l.NextUpdate, a.now(), body)
	http.ServeContent(w, r, "", l.ThisUpdate, bytes.NewReader(body))
}

func (s *Service) serveCA(w http.ResponseWriter, r *http.Request, file string) {
	a, id, text := s.resolve(file, suffixCert)
	if a == nil {
		http.Error(w, "no such certificate", http.StatusNotFound)
		return
	}
	a.mu.RLock()
	c := a.issuing()
	if id != "" {
		c = a.idx.cas[id]
	}
	body, media := c.cert.Raw, "application/pkix-cert"
	if text {
		body, media = certPEM(c.cert), "application/x-pem-file"
		if id == "" {
			body = a.bundle()
		}
	}
	a.mu.RUnlock()
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "max-age=3600, public")
	http.ServeContent(w, r, "", c.cert.NotBefore, bytes.NewReader(body))
}

// resolve reads "NAME.crl": an authority, or an authority and one of its CAs. text is true for .pem.
func (s *Service) resolve(file, suffix string) (a *served, id string, text bool) {
	name, ok := strings.CutSuffix(file, suffix)
	if !ok {
		if name, text = strings.CutSuffix(file, ".pem"); !text {
			return nil, "", false
		}
	}
	for _, a := range s.all() {
		if name == a.name {
			return a, "", text
		}
		id, ok := strings.CutPrefix(name, a.name+"-")
		if !ok || a.refresh() != nil {
			continue
		}
		a.mu.RLock()
		known := a.idx.cas[id] != nil
		a.mu.RUnlock()
		if known {
			return a, id, text
		}
	}
	return nil, "", false
}

package logstore

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Handler answers Logpull's requests from a store. It writes while it reads, and ends with its client.
type Handler struct {
	source   Source
	patience time.Duration // with a client that does not read
}

// clientPatience is how long a client may leave a part of an answer unread.
const clientPatience = time.Minute

// NewHandler returns a Handler; a nil store is one that is off.
func NewHandler(s *Store) *Handler {
	if s == nil {
		return &Handler{patience: clientPatience}
	}
	return &Handler{s, clientPatience}
}

// Paths that a Handler's methods answer; what stands before them is the caller's.
const (
	PathReceived = "/zones/{zone}/logs/received"
	PathFields   = "/zones/{zone}/logs/received/fields"
	PathRay      = "/zones/{zone}/logs/rayids/{ray}"
)

// TrailerDamaged is the trailer that says how many places of the store could not be read.
const TrailerDamaged = "Hakone-Logs-Damaged"

// Received answers with the records of a time.
func (h *Handler) Received(w http.ResponseWriter, r *http.Request) {
	zone, ok := h.zone(w, r)
	if !ok {
		return
	}
	q, err := ParseQuery(r.URL.Query(), time.Now())
	if err != nil {
		failQuery(w, err)
		return
	}
	q.Zone = zone
	// The server's bound on the time of a request is for requests: this answer may last.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	out := h.newAnswer(w, r)
	var flush func() error
	if q.Follow {
		flush = out.flush
		if out.flush() != nil { // the client shall know that it is heard
			return
		}
	}
	res, err := q.Write(r.Context(), h.source, out, flush)
	h.end(out, res, err)
}

// end completes an answer, or cuts it off where the client must not take it for whole.
func (h *Handler) end(out *answer, res Result, err error) {
	if res.Damaged > 0 {
		out.w.Header().Set(http.TrailerPrefix+TrailerDamaged, strconv.Itoa(res.Damaged))
	}
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		if out.close() == nil {
			return
		}
	case !out.begun:
		fail(out.w, http.StatusInternalServerError, diag.LogStoreWrite, "the logs cannot be read")
		return
	}
	panic(http.ErrAbortHandler)
}

// Ray answers with the requests that have an ID.
func (h *Handler) Ray(w http.ResponseWriter, r *http.Request) {
	zone, ok := h.zone(w, r)
	if !ok {
		return
	}
	q, err := ParseQuery(r.URL.Query(), time.Now())
	if err != nil {
		failQuery(w, err)
		return
	}
	q.Zone = zone
	out := h.newAnswer(w, r)
	res, err := q.WriteRay(r.Context(), h.source, r.PathValue("ray"), out)
	if err == nil && res.Lines == 0 {
		fail(w, http.StatusNotFound, diag.LogRayNotFound, "no record of this RayID is kept")
		return
	}
	h.end(out, res, err)
}

// Fields answers with the names of all fields, and what they are.
func (h *Handler) Fields(w http.ResponseWriter, _ *http.Request) {
	names := map[string]string{}
	for _, f := range Fields() {
		names[f.Name] = f.Doc
	}
	writeJSON(w, http.StatusOK, names)
}

// isZoneID reports whether a zone is named as Cloudflare names its own.
func isZoneID(zone string) bool {
	ok, _ := regexp.MatchString("^[0-9a-f]{32}$", zone)
	return ok
}

// zone returns the host that a path names, "" for all.
func (h *Handler) zone(w http.ResponseWriter, r *http.Request) (string, bool) {
	zone := ZoneName(r.PathValue("zone"))
	switch {
	case h.source == nil:
		fail(w, http.StatusNotFound, diag.LogStoreOff, "this process keeps no logs: it was started with --log-store off")
		return "", false
	case zone == "all":
		return "", true
	case isZoneID(zone):
		fail(w, http.StatusBadRequest, diag.LogQueryInvalid, "a zone has no ID here: give a host name, of which subdomains are part, or all")
		return "", false
	}
	return zone, true
}

// answer is the body of an answer, compressed if the client likes.
type answer struct {
	w     http.ResponseWriter
	gzip  *gzip.Writer // nil: not
	wants bool
	begun bool

	patience time.Duration
}

func (h *Handler) newAnswer(w http.ResponseWriter, r *http.Request) *answer {
	return &answer{w: w, wants: acceptsGzip(r.Header.Get("Accept-Encoding")), patience: h.patience}
}

// acceptsGzip reads Accept-Encoding (RFC 9110 section 12.5.3).
func acceptsGzip(accept string) bool {
	for item := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(item, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			q := strings.ReplaceAll(params, " ", "")
			return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
		}
	}
	return false
}

func (a *answer) begin() {
	if a.begun {
		return
	}
	a.begun = true
	h := a.w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept-Encoding")
	if a.wants {
		h.Set("Content-Encoding", "gzip")
		a.gzip, _ = gzip.NewWriterLevel(a.w, gzip.BestSpeed)
	}
	a.w.WriteHeader(http.StatusOK)
}

// Write implements io.Writer.
func (a *answer) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	a.begin()
	a.hurry()
	var to io.Writer = a.w
	if a.gzip != nil {
		to = a.gzip
	}
	return to.Write(b)
}

func (a *answer) flush() error {
	a.begin()
	a.hurry()
	if a.gzip != nil {
		if err := a.gzip.Flush(); err != nil {
			return err
		}
	}
	return http.NewResponseController(a.w).Flush()
}

func (a *answer) close() error {
	a.begin()
	a.hurry()
	if a.gzip != nil {
		if err := a.gzip.Close(); err != nil {
			return err
		}
	}
	c := http.NewResponseController(a.w)
	if err := c.Flush(); err != nil {
		return err
	}
	_ = c.SetWriteDeadline(time.Time{}) // the connection may be used again
	return nil
}

// hurry gives the client a while to read what is written next.
func (a *answer) hurry() {
	_ = http.NewResponseController(a.w).SetWriteDeadline(time.Now().Add(a.patience))
}

// envelope is how Cloudflare's API tells of errors.
type envelope struct {
	Success  bool            `json:"success"`
	Errors   []envelopeError `json:"errors"`
	Messages []string        `json:"messages"`
	Result   any             `json:"result"`
}

type envelopeError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func failQuery(w http.ResponseWriter, err error) {
	var q *QueryError
	if errors.As(err, &q) {
		fail(w, http.StatusBadRequest, q.Code, q.Text)
		return
	}
	fail(w, http.StatusBadRequest, diag.LogQueryInvalid, err.Error())
}

func fail(w http.ResponseWriter, status int, code diag.Code, message string) {
	writeJSON(w, status, envelope{Errors: []envelopeError{{int(code), message}}, Messages: []string{}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

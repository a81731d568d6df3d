package logstore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// DefaultPeriod is how far back a query goes that names no start.
const DefaultPeriod = time.Hour

// Query says which records are wanted, and how.
type Query struct {
	Start, End time.Time // of the time at which records ended; End itself is not in it
	Fields     []Field
	Timestamps Timestamps
	Count      int     // at most so many; negative: all
	Sample     float64 // share of the records, above 0 and at most 1; chosen by RayID
	Zone       string  // host, of which subdomains are part; "": all
	Host       string  // exactly this host, or "*.suffix"
	Status     []StatusRange
	Codes      []diag.Code
	Kind       Kind
	RayID      string
	Follow     bool // go on with what comes
}

// Kind is which records are wanted.
type Kind string

// Kinds: requests and refused handshakes of clients; requests; handshakes of both sides, also those
// that succeeded; everything.
const (
	KindDefault    Kind = ""
	KindRequests   Kind = "request"
	KindHandshakes Kind = "handshake"
	KindAll        Kind = "all"
)

// StatusRange is a range of statuses, both ends in it.
type StatusRange struct{ From, To int }

// QueryError is a fault in a query. Its text names the parameter.
type QueryError struct {
	Code  diag.Code
	Text  string
	Cause string // what the parameter may be; empty: that of the code
}

// Error returns the text.
func (e *QueryError) Error() string { return e.Text }

// mayBe makes the error of a parameter; cause says what it may be.
func mayBe(cause, format string, args ...any) error {
	return &QueryError{diag.LogQueryInvalid, fmt.Sprintf(format, args...), cause}
}

// What parameters may be.
const (
	timesMayBe  = "Times are RFC 3339 with any offset, Unix seconds or nanoseconds, now, or a duration such as 10m for that long ago."
	orderMayBe  = "The time goes from start to before end; what is followed has none."
	countMayBe  = "Count is a number of records, or -1 for all."
	sampleMayBe = "Sample is above 0 and at most 1."
	statusMayBe = "Statuses are numbers, classes and ranges, separated by commas; 0 is a refused handshake."
	codeMayBe   = "Codes and their slugs are those of docs/codes.md, separated by commas."
	wordMayBe   = "Words are written exactly so."
)

// Parameters of a query, as Logpull names them and then ours.
const (
	paramStart      = "start"
	paramEnd        = "end"
	paramCount      = "count"
	paramSample     = "sample"
	paramFields     = "fields"
	paramTimestamps = "timestamps"
	paramHost       = "host"
	paramStatus     = "status"
	paramCode       = "code"
	paramKind       = "kind"
	paramFollow     = "follow"
)

// ParseQuery reads a query's parameters; now is what "now" and "10m" mean. Errors are *QueryError.
func ParseQuery(v url.Values, now time.Time) (*Query, error) {
	known := []string{paramStart, paramEnd, paramCount, paramSample, paramFields, paramTimestamps, paramHost, paramStatus, paramCode, paramKind, paramFollow}
	for name, values := range v {
		switch {
		case !slices.Contains(known, name):
			return nil, mayBe("Each parameter is given once, by its name.", "there is no parameter %q; there are %s", name, strings.Join(known, ", "))
		case len(values) > 1:
			return nil, mayBe("Each parameter is given once, by its name.", "%s is given %d times", name, len(values))
		}
	}
	q := &Query{Count: -1, Sample: 1, Timestamps: UnixNano, Host: strings.ToLower(v.Get(paramHost))}
	if err := q.parseTimes(v, now); err != nil {
		return nil, err
	}
	var err error
	if text := v.Get(paramCount); text != "" {
		if q.Count, err = strconv.Atoi(text); err != nil || q.Count < -1 {
			return nil, mayBe(countMayBe, "count %q is no number of records, nor -1 for all", text)
		}
	}
	if text := v.Get(paramSample); text != "" {
		if q.Sample, err = strconv.ParseFloat(text, 64); err != nil || !(q.Sample > 0 && q.Sample <= 1) {
			return nil, mayBe(sampleMayBe, "sample %q is no share above 0 and at most 1", text)
		}
	}
	switch t := Timestamps(v.Get(paramTimestamps)); t {
	case "":
	case UnixNano, Unix, RFC3339:
		q.Timestamps = t
	default:
		return nil, mayBe(wordMayBe, "timestamps %q is none of unixnano, unix, rfc3339", t)
	}
	switch k := Kind(v.Get(paramKind)); k {
	case KindDefault, KindRequests, KindHandshakes, KindAll:
		q.Kind = k
	default:
		return nil, mayBe(wordMayBe, "kind %q is none of request, handshake, all", k)
	}
	if err := q.parseFilters(v); err != nil {
		return nil, err
	}
	q.Fields, err = ParseFields(v.Get(paramFields))
	return q, err
}

func (q *Query) parseTimes(v url.Values, now time.Time) error {
	var err error
	q.End = now
	switch v.Get(paramFollow) {
	case "", "false":
	case "true":
		q.Follow = true
	default:
		return mayBe(wordMayBe, "follow %q is neither true nor false", v.Get(paramFollow))
	}
	if text := v.Get(paramEnd); text != "" {
		if q.Follow {
			return mayBe(orderMayBe, "what is followed has no end")
		}
		if q.End, err = ParseTime(text, now); err != nil {
			return mayBe(timesMayBe, "end: %v", err)
		}
	}
	switch text := v.Get(paramStart); {
	case text != "":
		if q.Start, err = ParseTime(text, now); err != nil {
			return mayBe(timesMayBe, "start: %v", err)
		}
	case q.Follow:
		q.Start = now
	default:
		q.Start = q.End.Add(-DefaultPeriod)
	}
	if q.Follow {
		q.End = time.Unix(0, math.MaxInt64)
	}
	if !q.Start.Before(q.End) {
		return mayBe(orderMayBe, "start %s is not before end %s", q.Start.UTC().Format(time.RFC3339), q.End.UTC().Format(time.RFC3339))
	}
	return nil
}

func (q *Query) parseFilters(v url.Values) error {
	for s := range items(v.Get(paramStatus)) {
		r, ok := parseStatus(s)
		if !ok {
			return mayBe(statusMayBe, "status %q is none such as 403, 4xx or 400-499", s)
		}
		q.Status = append(q.Status, r)
	}
	for s := range items(v.Get(paramCode)) {
		c, err := diag.ParseCode(s)
		if err != nil {
			return mayBe(codeMayBe, "code %q is no code such as HK2101, nor its slug", s)
		}
		q.Codes = append(q.Codes, c)
	}
	return nil
}

// items calls yield for each item of a comma-separated list.
func items(list string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for s := range strings.SplitSeq(list, ",") {
			if s = strings.TrimSpace(s); s != "" && !yield(s) {
				return
			}
		}
	}
}

func parseStatus(s string) (StatusRange, bool) {
	if len(s) == 3 && strings.EqualFold(s[1:], "xx") && s[0] >= '1' && s[0] <= '5' {
		from := int(s[0]-'0') * 100
		return StatusRange{from, from + 99}, true
	}
	low, high, ranged := strings.Cut(s, "-")
	if !ranged {
		high = low
	}
	from, err := strconv.Atoi(low)
	to, err2 := strconv.Atoi(high)
	return StatusRange{from, to}, err == nil && err2 == nil && from >= 0 && to <= 999 && from <= to
}

// ParseFields reads a comma-separated list; an empty one means DefaultFields.
func ParseFields(list string) ([]Field, error) {
	names := slices.Collect(items(list))
	if len(names) == 0 {
		names = DefaultFields()
	}
	all := map[string]Field{}
	for _, f := range Fields() {
		all[strings.ToLower(f.Name)] = f
	}
	var out []Field
	for _, name := range names {
		f, ok := all[strings.ToLower(name)]
		if !ok {
			return nil, &QueryError{Code: diag.LogFieldUnknown, Text: fmt.Sprintf("there is no field %q%s", name, similar(name, all))}
		}
		if !slices.ContainsFunc(out, func(o Field) bool { return o.Name == f.Name }) {
			out = append(out, f)
		}
	}
	return out, nil
}

// similar suggests the field that is nearest to a name.
func similar(name string, all map[string]Field) string {
	best, found := max(1, len(name)/3)+1, ""
	for lower, f := range all {
		if d := diag.Distance(strings.ToLower(name), lower, best+1); d < best || d == best && f.Name < found {
			best, found = d, f.Name
		}
	}
	if found == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", found)
}

// ParseTime reads a time: RFC 3339 with any offset, seconds, milliseconds or nanoseconds of Unix time,
// "now", or a duration, which is that long before now.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if text == "now" {
		return now, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		switch {
		case n < 1e11:
			return time.Unix(n, 0), nil
		case n < 1e14:
			return time.UnixMilli(n), nil
		}
		return time.Unix(0, n), nil
	}
	if t, err := time.Parse(time.RFC3339, strings.ReplaceAll(text, " ", "+")); err == nil { // a "+" that nobody escaped
		return t, nil
	}
	ago := strings.TrimPrefix(strings.TrimSuffix(text, " ago"), "-")
	if days, ok := strings.CutSuffix(ago, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n < 36500 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(ago); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time such as 2026-01-02T15:04:05+09:00, 1767366245, now, or 10m for that long ago", text)
}

// nanos returns Unix time in nanoseconds; times that do not fit are the nearest that do.
func nanos(t time.Time) int64 {
	switch y := t.Year(); {
	case y < 1678:
		return math.MinInt64
	case y > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// wants reports whether a record is asked for, whose fields are in r.
func (q *Query) wants(r *Record) bool {
	var host []byte
	var status int
	var code, policy diag.Code
	if a := r.Access; a != nil {
		if q.Kind == KindHandshakes {
			return false
		}
		host, status, code, policy = a.Authority, a.Status, a.Code, a.PolicyCode
	} else {
		h := r.Handshake
		if q.Kind == KindRequests || q.Kind == KindDefault && (h.Code == 0 || h.Side != telemetry.Downstream) {
			return false
		}
		host, code = []byte(h.Hello.SNI), h.Code
	}
	if len(q.Status) > 0 && !slices.ContainsFunc(q.Status, func(s StatusRange) bool { return status >= s.From && status <= s.To }) {
		return false
	}
	if len(q.Codes) > 0 && !slices.Contains(q.Codes, code) && (policy == 0 || !slices.Contains(q.Codes, policy)) {
		return false
	}
	if q.Zone == "" && q.Host == "" {
		return q.sampled(r)
	}
	name := hostName(host)
	if q.Zone != "" && !within(name, q.Zone) {
		return false
	}
	if suffix, wild := strings.CutPrefix(q.Host, "*."); wild {
		if !within(name, suffix) || len(name) == len(suffix) {
			return false
		}
	} else if q.Host != "" && name != hostName([]byte(q.Host)) {
		return false
	}
	return q.sampled(r)
}

// sampled chooses by RayID, so that the same share gives the same requests.
func (q *Query) sampled(r *Record) bool {
	if q.Sample >= 1 {
		return true
	}
	h := uint64(0)
	if r.Access != nil {
		h = hash(r.Access.ID)
	} else {
		h = hashConn(r.Handshake.Conn)
	}
	return float64(h>>11)/(1<<53) < q.Sample
}

// hostName returns a host in lower case, without its port.
func hostName(authority []byte) string {
	if i := bytes.LastIndexByte(authority, ':'); i >= 0 && bytes.IndexByte(authority[i:], ']') < 0 {
		authority = authority[:i]
	}
	return strings.ToLower(strings.TrimSuffix(string(authority), "."))
}

// ZoneName reads a zone as people write or paste it, also with a port: the host in lower case.
func ZoneName(text string) string { return hostName([]byte(strings.TrimSpace(text))) }

func within(name, zone string) bool {
	return name == zone || strings.HasSuffix(name, zone) && name[len(name)-len(zone)-1] == '.'
}

// Result says what a query gave.
type Result struct {
	Lines   int
	Damaged int // places that could not be read
}

// Write writes the records that are asked for as lines of JSON, by time. flush, if not nil, is called
// when everything that there was has been written. It returns when all is written, the store ends, or ctx
// does; then the error is ctx's, ErrLagging, or w's.
func (q *Query) Write(ctx context.Context, s Source, w io.Writer, flush func() error) (Result, error) {
	span := Span{nanos(q.Start), nanos(q.End)}
	st, err := q.stream(ctx, s, span)
	if err != nil {
		return Result{}, err
	}
	defer st.close()
	var res Result
	e := newRenderer(q.Fields, q.Timestamps)
	rec := decoded{words: &words{}}
	var out []byte
	for q.Count < 0 || res.Lines < q.Count {
		batch, err := st.next(ctx)
		if err != nil || batch == nil {
			res.Damaged += st.damaged()
			return res, err
		}
		out = out[:0]
		for rest := batch; len(rest) > 0 && (q.Count < 0 || res.Lines < q.Count); {
			r, after, err := split(rest)
			if err != nil {
				res.Damaged++
				break
			}
			rest = after
			if end := endOf(r); end < span.Start || end >= span.End {
				continue
			}
			if rec.read(r) != nil {
				res.Damaged++
				continue
			}
			if q.wants(&rec.Record) {
				out = e.line(out, &rec.Record)
				res.Lines++
			}
		}
		if len(out) == 0 {
			continue
		}
		if _, err := w.Write(out); err != nil {
			return res, fmt.Errorf("write logs: %w", err)
		}
		if flush != nil {
			if err := flush(); err != nil {
				return res, fmt.Errorf("write logs: %w", err)
			}
		}
	}
	res.Damaged += st.damaged()
	return res, nil
}

func (q *Query) stream(ctx context.Context, s Source, span Span) (stream, error) {
	if live, ok := s.(streamer); ok && q.Follow {
		return live.live(ctx, span)
	}
	parts, err := s.parts(ctx)
	if err != nil {
		return nil, err
	}
	return newPast(parts, span)
}

// decoded is a record that is used again and again.
type decoded struct {
	Record
	access    telemetry.Access
	handshake telemetry.Handshake
	words     *words
}

func (d *decoded) read(r []byte) error {
	d.Record = Record{End: time.Unix(0, endOf(r))}
	switch kindOf(r) {
	case kindAccess:
		d.Record.Access = &d.access
		return readAccess(r, &d.access, d.words)
	case kindHandshake:
		d.Record.Handshake = &d.handshake
		return readHandshake(r, &d.handshake, d.words)
	}
	return errRecord
}

// WriteRay writes the requests with an ID, however old. It returns how many there were.
func (q *Query) WriteRay(ctx context.Context, s Source, id string, w io.Writer) (Result, error) {
	found, err := Find(ctx, s, id)
	if err != nil {
		return Result{}, err
	}
	e := newRenderer(q.Fields, q.Timestamps)
	res := Result{Damaged: found.Damaged}
	var out []byte
	for _, a := range found.Requests {
		r := Record{End: a.Start.Add(a.Duration), Access: a}
		if q.Zone != "" && !within(hostName(a.Authority), q.Zone) {
			continue
		}
		out = e.line(out, &r)
		res.Lines++
	}
	if _, err := w.Write(out); err != nil {
		return res, fmt.Errorf("write logs: %w", err)
	}
	return res, nil
}

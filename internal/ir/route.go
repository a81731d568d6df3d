package ir

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
)

// VirtualHost is the routes of the hosts that Hosts cover. The most specific host of a chain wins and
// its list is complete: where an API lets a request fall through to a less specific host, the
// translator has appended those routes.
type VirtualHost struct {
	Hosts  []hostname.Pattern `json:"hosts"`
	Routes []*Route           `json:"routes"` // in order of precedence: the first that matches is taken
}

// Route is one match with its action. Exactly one of Forward, Redirect and Respond is set, unless
// Fault is set: then the route refuses every request that it matches (it never falls through).
type Route struct {
	Name   string `json:"name"` // "namespace/name/rule-0/match-1", unique within a virtual host
	Origin Origin `json:"origin"`
	Match  Match  `json:"match"`

	// Section is the rule's own name, where its API has one; policies target it.
	Section string `json:"section,omitempty"`

	Filters  []Filter  `json:"filters,omitempty"` // applied in this order
	Forward  []Backend `json:"forward,omitempty"`
	Redirect *Redirect `json:"redirect,omitempty"`
	Respond  *Respond  `json:"respond,omitempty"`
	Fault    *Fault    `json:"fault,omitempty"`

	Cache *Cache `json:"cache,omitempty"` // nil: answers are not kept

	Timeout        time.Duration `json:"timeout,omitempty"`        // from request received to response complete; 0: none
	BackendTimeout time.Duration `json:"backendTimeout,omitempty"` // one try; 0: none
	Retry          *Retry        `json:"retry,omitempty"`          // nil: only what is certain not to have been processed
}

// Retry says when a request is sent again. A request whose body does not fit the replay buffer, or whose
// answer has begun to be passed on, is not.
type Retry struct {
	Origin   Origin           `json:"origin"`
	Attempts int              `json:"attempts"`           // after the first
	On       []RetryCondition `json:"on,omitempty"`       // in the order of the constants below, no duplicates
	Statuses []int            `json:"statuses,omitempty"` // for RetryStatuses, ascending
	Backoff  time.Duration    `json:"backoff,omitempty"`  // before the first repetition, doubled each time up to tenfold, with jitter; 0: 25 ms
}

// RetryCondition is one of Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on values, or RetryTryTimeout,
// which Gateway API asks for and Envoy has no word for.
type RetryCondition string

// Conditions. The last five look at grpc-status, in the answer's head or trailers-only answer.
const (
	RetryServerError      RetryCondition = "5xx"                  // any 5xx, or no answer at all
	RetryGatewayError     RetryCondition = "gateway-error"        // 502, 503, 504
	RetryReset            RetryCondition = "reset"                // no answer: disconnect, reset, timeout of a try
	RetryResetBefore      RetryCondition = "reset-before-request" // the same, before the request was sent
	RetryConnectFailure   RetryCondition = "connect-failure"
	RetryRefusedStream    RetryCondition = "refused-stream" // RST_STREAM with REFUSED_STREAM
	RetryTryTimeout       RetryCondition = "try-timeout"    // no answer within the route's BackendTimeout; of Reset only that
	RetryRetriable4xx     RetryCondition = "retriable-4xx"  // 409
	RetryStatuses         RetryCondition = "retriable-status-codes"
	RetryCancelled        RetryCondition = "cancelled"
	RetryDeadlineExceeded RetryCondition = "deadline-exceeded"
	RetryInternal         RetryCondition = "internal"
	RetryExhausted        RetryCondition = "resource-exhausted"
	RetryUnavailable      RetryCondition = "unavailable"
)

// Fault is why a route or backend refuses. Code's HTTP status is answered.
type Fault struct {
	Code   diag.Code `json:"code"`
	Detail string    `json:"detail"`
}

// Match is what a request has to fulfil; all given parts must hold. The zero value matches all.
type Match struct {
	Path      PathMatch    `json:"path,omitzero"`
	Method    StringMatch  `json:"method,omitzero"`
	Scheme    StringMatch  `json:"scheme,omitzero"`
	Authority StringMatch  `json:"authority,omitzero"` // matched against host[:port] in lower case
	Headers   []FieldMatch `json:"headers,omitempty"`
	Query     []FieldMatch `json:"query,omitempty"`
}

// MatchKind says how a string is compared.
type MatchKind string

// Kinds. SegmentPrefix matches whole path segments ("/foo" matches "/foo" and "/foo/x" but not
// "/foobar"; a trailing slash is ignored), Prefix matches bytes. Regex is RE2 over the whole string.
// Present asks only that the field be there.
const (
	MatchAny           MatchKind = ""
	MatchExact         MatchKind = "exact"
	MatchPrefix        MatchKind = "prefix"
	MatchSegmentPrefix MatchKind = "segmentPrefix"
	MatchRegex         MatchKind = "regex"
	MatchPresent       MatchKind = "present"
)

// PathMatch compares the normalised path, without the query.
type PathMatch struct {
	Kind       MatchKind `json:"kind,omitempty"`
	Value      string    `json:"value,omitempty"`
	IgnoreCase bool      `json:"ignoreCase,omitempty"`
}

// Unmatchable reports whether no request can match, because paths begin with a slash and the match asks for
// another beginning. (The path of OPTIONS * is a star.)
func (m PathMatch) Unmatchable() bool {
	return (m.Kind == MatchExact || m.Kind == MatchPrefix) && m.Value != "" && m.Value[0] != '/' && m.Value != "*"
}

// StringMatch compares one string.
type StringMatch struct {
	Kind       MatchKind `json:"kind,omitempty"`
	Value      string    `json:"value,omitempty"`
	IgnoreCase bool      `json:"ignoreCase,omitempty"`
}

// FieldMatch compares a header field (name in lower case) or query parameter (name as is). Several
// lines of one header are compared joined by ","; of a repeated query parameter the first counts.
// Invert asks that the comparison fail (Istio's withoutHeaders).
type FieldMatch struct {
	Name   string      `json:"name"`
	Match  StringMatch `json:"match"`
	Invert bool        `json:"invert,omitempty"`
}

// Backend is one weighted destination. A backend with a Fault keeps its share of the weight and
// refuses it, so that valid siblings do not get more than theirs.
type Backend struct {
	Upstream string        `json:"upstream,omitempty"` // name of an Upstream
	Pull     []PullVariant `json:"pull,omitempty"`     // instead of Upstream by the request's host, the most specific first
	Weight   uint32        `json:"weight"`
	Filters  []Filter      `json:"filters,omitempty"`
	Fault    *Fault        `json:"fault,omitempty"`
	Origin   Origin        `json:"origin"`
}

// Redirect answers with a Location. Empty parts are taken from the request.
type Redirect struct {
	Scheme string      `json:"scheme,omitempty"`
	Host   string      `json:"host,omitempty"`
	Port   uint16      `json:"port,omitempty"` // 0: see KeepPort
	Path   PathRewrite `json:"path,omitzero"`
	Status int         `json:"status"` // 301, 302, 303, 307, 308

	// KeepPort says what Port 0 means: the port the client used (Istio), or, if false, Gateway API's
	// rule: the well-known port of Scheme if Scheme is set, else the listener's declared port.
	KeepPort bool `json:"keepPort,omitempty"`
}

// Respond answers directly.
type Respond struct {
	Status int    `json:"status"`
	Body   string `json:"body,omitempty"`
}

// PathRewriteKind says how a path is rewritten.
type PathRewriteKind string

// Kinds. ReplacePrefix replaces what a SegmentPrefix or Prefix match matched; Istio's rewrite.uri is
// ReplacePrefix on a prefix match and ReplaceFull on an exact or regex match.
const (
	KeepPath      PathRewriteKind = ""
	ReplaceFull   PathRewriteKind = "full"
	ReplacePrefix PathRewriteKind = "prefix"
	ReplaceRegex  PathRewriteKind = "regex"
)

// PathRewrite changes the path. Prefix is the matched prefix for ReplacePrefix; Segments says that it
// was matched by segments, so that slashes are joined as Gateway API's HTTPPathModifier table asks.
// Regex and Value (with \1 references) belong to ReplaceRegex.
type PathRewrite struct {
	Kind     PathRewriteKind `json:"kind,omitempty"`
	Value    string          `json:"value,omitempty"`
	Prefix   string          `json:"prefix,omitempty"`
	Segments bool            `json:"segments,omitempty"`
	Regex    string          `json:"regex,omitempty"`
}

// Filter is one step on a request or response. Exactly one part is set.
type Filter struct {
	Origin          Origin      `json:"origin"`
	RequestHeaders  *HeaderEdit `json:"requestHeaders,omitempty"`
	ResponseHeaders *HeaderEdit `json:"responseHeaders,omitempty"`
	Rewrite         *Rewrite    `json:"rewrite,omitempty"`
}

// HeaderEdit changes fields: first Remove, then Set (replace or create), then Add (append a line).
// Format says that values are Envoy format strings ("%PROTOCOL%", "%%" for a percent sign), as Istio's
// are; without it they are plain text.
type HeaderEdit struct {
	Format bool `json:"format,omitempty"`

	Set    []NameValue `json:"set,omitempty"`
	Add    []NameValue `json:"add,omitempty"`
	Remove []string    `json:"remove,omitempty"`
}

// NameValue is one field line.
type NameValue struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Rewrite changes the request that is sent on. An empty Host keeps the authority.
type Rewrite struct {
	Host string      `json:"host,omitempty"`
	Path PathRewrite `json:"path,omitzero"`
}

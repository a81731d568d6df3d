// Package translate holds what the translators of all APIs have in common: the Fragment that each
// makes of a resource.Set, and the Context that a home supplies.
//
// Translators (gatewayapi, istio, native) are pure: no clock, no I/O, no logger; they know their API
// and nothing of the others. Package compile merges their fragments. Begin reading at Fragment.
package translate

import (
	"slices"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Context is what a home and the command line supply beside the objects.
type Context struct {
	Labels         map[string]string   // of this process: --labels, matched by Istio selectors
	MoreLabels     map[string][]string // further values of labels given more than once: one process as several workloads
	Namespace      string              // --namespace: where credentialName is looked up first
	EndpointFlags  map[string][]string // --endpoint: "httpbin.default:8000" → host:port addresses
	AssumeClasses  []string            // gatewayClassNames that are ours without a GatewayClass object
	AdoptClasses   []string            // --gateway-class: gatewayClassNames that are ours whatever controllerName their GatewayClass has
	ControllerName string              // of our GatewayClasses: "hakone.dev/gateway-controller"
	ClusterDomain  string              // "cluster.local"
	Files          map[string][]byte   // certificate files named in manifests, read by the home; absent: unreadable

	// Complete says that the Set is all there is, as in Kubernetes: a Service that is not in it does not
	// exist, and one without EndpointSlices has no endpoints. A folder is not: DNS may know more.
	Complete bool

	// GeoDB says that --geoip-db names a database, without which geo steering knows no client's country.
	GeoDB bool
}

// Family is the API that a listener comes from; conflict rules differ.
type Family uint8

// Families.
const (
	GatewayAPI Family = iota + 1
	Istio
	Native // EdgeHosts
)

// Fragment is one translator's share of a snapshot. Upstreams, endpoints, secrets and trust of equal
// name are equal by construction, whichever translator made them; only GRPCWeb may differ, and holds if
// one of them says so.
type Fragment struct {
	Listeners   []*Listener
	Upstreams   map[string]*ir.Upstream
	Endpoints   map[string][]ir.Endpoint
	Secrets     map[ir.SecretRef]*ir.Credential
	Trust       map[ir.TrustRef]*ir.TrustBundle
	Policies    []Policy             // of native alone
	Access      []Access             // of native alone
	Pulls       []Pull               // of native alone
	Unread      []Unread             // of native alone
	Proxies     map[string]*ir.Proxy // by name; tunnels of DestinationRules, and UpstreamProxies
	Known       []ir.KnownHost       // of istio alone: the destinations that ForwardProxies know, the most specific first
	Outbound    []Outbound           // of istio alone: outboundTrafficPolicy, the narrower first
	ProxyAges   map[string]int       // of native alone: age ranks of UpstreamProxies, by name
	Forwards    []Forward            // of native alone
	Caches      []Cache              // of native alone
	Logins      map[ir.SecretRef]*ir.Login
	Passwords   map[ir.SecretRef]*ir.Passwords
	Idle        []Idle
	Diagnostics []diag.Diagnostic
}

// Outbound is an outboundTrafficPolicy of Istio's: what holds for ForwardProxies that say nothing
// themselves. The first whose Namespace is that of the ForwardProxy, or "" (all of them), counts.
type Outbound struct {
	Origin       ir.Origin
	Namespace    string
	RegistryOnly bool
}

// Unread is an object that stands in the source but was not accepted, so that what follows from its absence
// can name the cause. Stands says where, as in "stands in a.yaml:3 but was not accepted (HK5003)".
type Unread struct {
	Object diag.Object
	Hosts  []hostname.Pattern // that it was to serve, as far as that could be read
	Stands string
}

// Idle is a named rule of a route that can match no request, and so is no route.
type Idle struct {
	Object  diag.Object
	Section string
}

// NewFragment returns an empty fragment with its maps made.
func NewFragment() *Fragment {
	return &Fragment{
		Upstreams: map[string]*ir.Upstream{}, Endpoints: map[string][]ir.Endpoint{},
		Secrets: map[ir.SecretRef]*ir.Credential{}, Trust: map[ir.TrustRef]*ir.TrustBundle{},
		ProxyAges: map[string]int{}, Logins: map[ir.SecretRef]*ir.Login{}, Passwords: map[ir.SecretRef]*ir.Passwords{}, Proxies: map[string]*ir.Proxy{},
	}
}

// Is reports whether this process has a label, with this among its values.
func (c Context) Is(label, value string) bool {
	return c.Labels[label] == value || slices.Contains(c.MoreLabels[label], value)
}

// Report adds a diagnostic of the code's own severity.
func (f *Fragment) Report(code diag.Code, obj diag.Object, field, message, fix string) {
	f.Diagnostics = append(f.Diagnostics, diag.New(code, obj, field, message, fix))
}

// Listener is one Gateway API listener or Istio server before merging. Chain.Name is
// "namespace/gateway/section". TLS versions 0, nil suites and nil groups mean "not said here": a
// TLSPolicy or the default decides, in compile.
type Listener struct {
	Family  Family
	Gateway diag.Object
	Section string // listener name or server port name; may be empty for Istio servers
	Order   int    // age rank: the older of two conflicting listeners has the smaller one
	Bind    string
	Port    uint16
	TLS     bool
	Chain   *ir.Chain

	// Forward makes it the port of a forward proxy, which shares its socket with nobody. nil: it is none.
	Forward *ir.ForwardListener `json:",omitempty"`

	// Refused, if not empty, says why the listener is not served. Its chain has hosts and no more, and
	// stays only where a broader listener on the same socket would otherwise take them.
	Refused string `json:",omitempty"`
}

// Policy is one TLSPolicy, parsed. Zero versions, nil suites and nil groups leave the wider scope's.
type Policy struct {
	Origin       ir.Origin
	Order        int                // age rank: the smaller wins among equal targets
	Gateway      *diag.Object       // nil: every gateway
	Family       Family             // of Gateway; 0: either API
	Section      string             // "" : every listener of Gateway
	Hosts        []hostname.Pattern // empty: every host
	MinVersion   uint16
	MaxVersion   uint16
	CipherSuites []uint16
	Groups       []uint16
}

// Access is one ClientCertificatePolicy with its targets. Compile finds the chains and hosts that it
// covers and makes ir.AccessRules of it.
type Access struct {
	Policy  *ir.AccessPolicy
	Order   int            // age rank
	Targets []AccessTarget // empty: every listener that serves one of Hosts
	Hosts   []hostname.Pattern
	Paths   []string // canonical; empty: every path
	Except  []string
}

// AccessTarget is one targetRef. Family 0 is either API.
type AccessTarget struct {
	Field   string // "spec.targetRefs[0]"
	Object  diag.Object
	Family  Family
	Section string
}

// Pull is one OriginPull. Certificate is empty where none is to be presented.
type Pull struct {
	Origin      ir.Origin
	Order       int
	Hosts       []hostname.Pattern
	Certificate ir.SecretRef
}

// Forward is one ForwardProxy; its listeners are among Fragment.Listeners. Compile fills Known, and
// KnownOnly where Outbound decides.
type Forward struct {
	*ir.Forward
	Order  int  // age rank
	Silent bool // it says nothing of outboundTrafficPolicy
}

// Cache is one CachePolicy with its targets. Compile finds the routes that it covers.
type Cache struct {
	Cache   *ir.Cache
	Order   int // age rank
	Targets []AccessTarget
}

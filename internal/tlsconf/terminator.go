// Package tlsconf runs every TLS handshake of the process: it turns a listener of the snapshot, with
// its secrets and trust, into prebuilt configurations for crypto/tls, chooses among them by the
// ClientHello, verifies clients and upstreams, binds session tickets to the policy they were earned
// under, and says of each handshake, good or refused, what happened and why (architecture §5).
//
// It refuses to know HTTP and where records go. Begin reading at Terminator (clients), Originator
// (upstreams), then classify.go for how a reason is found. docs/handshakes.md holds the table of
// modes, causes and alerts.
package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/hakone-gateway/hakone/internal/authz"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/overload"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Options are settings of a Terminator or Originator. Zero values mean the defaults named here.
type Options struct {
	Timeout time.Duration // for the whole handshake, from accepting; default 10 s

	// Of a Terminator: what handshakes take part in, nil for no bounds; and how many records may come
	// after the handshake that carry nothing.
	Bounds      *overload.Bounds
	IdleRecords listen.IdleRecords

	// Of a Terminator that looks into clients' TLS (see Intercepting): Mint makes the certificates where the
	// settings name none, and Distrusted, if not nil, is told of clients that refuse what was made because of
	// who signed it (HK2320). It must not block; what was attached to the connection is there.
	Mint       Mint
	Distrusted func(*listen.Conn, *telemetry.Handshake)

	// Access holds the snapshot's policies on client certificates; nil: there are none.
	Access *authz.Set
}

func (o Options) timeout() time.Duration {
	if o.Timeout == 0 {
		return 10 * time.Second
	}
	return o.Timeout
}

// Terminator terminates TLS for one listener of one snapshot. It is immutable and safe for concurrent
// use; a new snapshot gets a new one by Build, which takes over what has not changed.
type Terminator struct {
	listener *ir.Listener
	names    *chainIndex
	policies map[*ir.TLS]*policy
	secrets  *ir.Secrets
	trust    *ir.Trust
	state    *State
	opts     Options
}

// Result is a completed or refused handshake.
type Result struct {
	// Record is never nil and complete: hand it to a telemetry.Sink. Code is zero exactly if the
	// handshake completed or PassedThrough is set. The remaining fields are set only then.
	Record *telemetry.Handshake

	// PassedThrough says that the chain does not terminate TLS: the hello was looked at and remains to be
	// read from Raw, which is open. Of the other fields only Raw and Chain are set, and Record is none to
	// be recorded.
	PassedThrough bool

	Conn       *tls.Conn    // no deadline is set
	Raw        *listen.Conn // under Conn
	Chain      *ir.Chain
	TLS        *ir.TLS            // Chain.TLS or what a policy narrowed it to
	ClientCert *filter.ClientCert // nil if the client presented none, or policies judge it

	chosen *secret.KeyPair // what was served; nil on resumption
	minted minted
	term   *Terminator // that the handshake was made by, for Session
	class  *class
	peers  []*x509.Certificate
}

// Build prepares the handshakes of a TLS listener. prev may be nil, or the Terminator of the same
// listener in the former snapshot: configurations whose inputs are the same are taken over, and if
// listener and trust are the same pointers, nothing at all is rebuilt. secrets and trust may not be
// nil. state is the process's.
func Build(listener *ir.Listener, secrets *ir.Secrets, trust *ir.Trust, state *State, prev *Terminator, opts Options) *Terminator {
	t := &Terminator{listener: listener, secrets: secrets, trust: trust, state: state, opts: opts}
	if prev != nil && prev.state != state {
		prev = nil
	}
	if prev != nil && prev.listener == listener {
		t.names = prev.names
		if prev.trust == trust && prev.opts.Access == opts.Access {
			t.policies = prev.policies
			return t
		}
	} else {
		t.names = newChainIndex(listener)
	}
	t.buildPolicies(prev)
	return t
}

// buildPolicies makes one policy per ir.TLS and one tls.Config per distinct content, taking over
// those of prev that have the same content.
func (t *Terminator) buildPolicies(prev *Terminator) {
	known := map[string]*class{}
	if prev != nil {
		for _, p := range prev.policies {
			known[p.class.key] = p.class
		}
	}
	t.policies = make(map[*ir.TLS]*policy)
	for _, chain := range t.listener.Chains {
		for _, settings := range allTLS(chain) {
			if t.policies[settings] != nil {
				continue
			}
			bundle := t.trust.ByRef[settings.ClientAuth.Trust]
			access := t.accessOf(&settings.ClientAuth)
			key := classKey(settings, bundle, access)
			if known[key] == nil {
				known[key] = t.state.newClass(settings, bundle, access, key)
			}
			t.policies[settings] = &policy{tls: settings, class: known[key]}
		}
	}
}

// allTLS returns the settings of a chain: its own, and those narrowed by policies.
func allTLS(chain *ir.Chain) []*ir.TLS {
	out := make([]*ir.TLS, 0, 1+len(chain.HostTLS))
	if chain.TLS != nil {
		out = append(out, chain.TLS)
	}
	for _, h := range chain.HostTLS {
		out = append(out, h.TLS)
	}
	return out
}

// Lookup returns the chain and TLS settings that serve host (lower case, no port, "" for none), and
// false if none does. The driver compares them with a connection's own to answer 421.
func (t *Terminator) Lookup(host string) (*ir.Chain, *ir.TLS, bool) {
	e, ok := t.names.find(host)
	if !ok {
		return nil, nil, false
	}
	settings := e.settings(host)
	return e.chain, settings, settings != nil
}

// Listener returns the listener that t was built from.
func (t *Terminator) Listener() *ir.Listener { return t.listener }

// Peer returns what filters may know of the connection, with the default of Forward applied.
func (r *Result) Peer() *filter.Peer {
	forward := r.TLS.ClientAuth.Forward
	switch {
	case forward != "":
	case asksClient(r.TLS.ClientAuth.Mode):
		forward = ir.ForwardSanitizeSet
	default:
		forward = ir.ForwardSanitize
	}
	return &filter.Peer{Remote: r.Record.Remote, Local: r.Record.Local, TLS: true, SNI: r.Record.Hello.SNI,
		ListenPort: r.Raw.Spec().Port, ClientCert: r.ClientCert, Forward: forward, Presented: r.peers}
}

package tlsconf

import (
	"crypto/sha256"
	"crypto/tls"
	"sync"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// maxPeers bounds the certificates of one upstream that are judged again.
const maxPeers = 256

// peers are the certificates that an upstream has shown and that were accepted, where something is fetched
// that may revoke them while connections are kept.
type peers struct {
	mu sync.Mutex // guards of
	of map[peer]tls.ConnectionState
}

// peer is a certificate (SHA-256) and the name that it was accepted for.
type peer struct {
	leaf [sha256.Size]byte
	name string
}

// remember keeps what a handshake was accepted by.
func (p *peers) remember(cs *tls.ConnectionState, name string) {
	key := peer{sha256.Sum256(cs.PeerCertificates[0].Raw), name}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[peer]tls.ConnectionState{}
	}
	if _, known := p.of[key]; !known && len(p.of) >= maxPeers {
		for other := range p.of { // any one
			delete(p.of, other)
			break
		}
	}
	p.of[key] = tls.ConnectionState{PeerCertificates: cs.PeerCertificates, OCSPResponse: cs.OCSPResponse}
}

// Revoked reports whether a certificate with which a connection was made since the last call, or that was
// good at the last call, is now known to be revoked: connections must then be made anew. It waits for nobody, and
// answers that cannot be had change nothing, so that no origin is lost with a responder.
func (o *Originator) Revoked() bool {
	found := false
	for _, b := range o.behind {
		found = b.Revoked() || found
	}
	if !o.fetches {
		return found
	}
	o.peers.mu.Lock()
	defer o.peers.mu.Unlock()
	now := o.state.now()
	for key, cs := range o.peers.of {
		switch o.judge.VerifyOngoingServer(cs.PeerCertificates, cs.OCSPResponse, key.name, now).Code {
		case diag.UpstreamCertRevoked, diag.UpstreamRevokedLocally, diag.UpstreamRevokedOCSP:
			found = true
			delete(o.peers.of, key)
		}
		if now.After(cs.PeerCertificates[0].NotAfter) {
			delete(o.peers.of, key)
		}
	}
	return found
}

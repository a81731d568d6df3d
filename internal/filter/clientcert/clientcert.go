// Package clientcert tells upstreams who the client is: X-Forwarded-Client-Cert in Envoy's format and
// modes, Client-Cert with Client-Cert-Chain (RFC 9440), and the fields of Cloudflare. Copies that a client sends are removed
// unless the mode forwards them, and a certificate that did not verify is never passed on as an
// identity. It is a standard step of every listener. Begin reading at New and Prepare.
package clientcert

import (
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// identity are the fields in which somebody may claim a client's certificate.
const identity = message.NameSet(1<<message.XForwardedClientCert | 1<<message.ClientCert | 1<<message.ClientCertChain |
	1<<message.CfClientCertDER | 1<<message.CfClientCertHash)

type step struct{ xfcc, cert, chain, cfDER, cfHash []byte } // names, only read

// New returns the step; what it does is decided by Peer.Forward and Peer.Identity, or by the policies that
// have let the request in (Exchange.ByPolicy).
func New() filter.Filter {
	return &step{
		xfcc:  []byte(message.XForwardedClientCert.String()),
		cert:  []byte(message.ClientCert.String()),
		chain: []byte(message.ClientCertChain.String()),

		cfDER:  []byte(message.CfClientCertDER.String()),
		cfHash: []byte(message.CfClientCertHash.String()),
	}
}

func (s *step) Request(x *filter.Exchange) filter.Result {
	f := &x.Request.Fields
	dropAliases(f)
	if x.ByPolicy {
		f.DelSet(identity)
		if x.Certified != nil {
			s.all(f, x.Certified)
		}
		return filter.Next
	}
	verified := x.Peer.ClientCert != nil && x.Peer.ClientCert.Verified
	var own *filter.Identity
	if verified {
		own = x.Peer.Identity
	}
	switch mode := x.Peer.Forward; {
	case mode == ir.ForwardAlwaysOnly, mode == ir.ForwardOnly && verified:
		return filter.Next
	case mode == ir.ForwardAppend && own != nil:
		f.DelID(message.ClientCert) // these have no lists to append to (RFC 9440 section 2.4)
		f.DelID(message.ClientCertChain)
		f.DelSet(message.Names(message.CfClientCertDER, message.CfClientCertHash))
		s.appendXFCC(f, own.XFCC)
		s.set(f, own)
	case (mode == ir.ForwardSanitizeSet || mode == "") && own != nil:
		f.DelSet(identity)
		s.all(f, own)
	default:
		f.DelSet(identity)
	}
	return filter.Next
}

// dropAliases removes claims in a spelling that some origins read as one of the fields
// ("Client_Cert"), in every mode: no proxy writes them.
func dropAliases(f *message.Fields) {
	for i := range f.Len() {
		if alias(f.At(i)) {
			f.DelFunc(alias)
			return
		}
	}
}

func alias(l *message.Field) bool {
	if l.ID != message.Other {
		return false
	}
	id := message.Alias(l.Name)
	return id != message.Other && identity.Has(id)
}

func (s *step) Response(*filter.Exchange) filter.Result { return filter.Next }

// all adds every field, where none is left.
func (s *step) all(f *message.Fields, own *filter.Identity) {
	if len(own.XFCC) > 0 {
		f.Append(message.XForwardedClientCert, s.xfcc, own.XFCC)
	}
	s.set(f, own)
}

// set adds the fields of RFC 9440 and Cloudflare's, prepared and living as long as the connection.
func (s *step) set(f *message.Fields, own *filter.Identity) {
	if len(own.Cert) > 0 {
		f.Append(message.ClientCert, s.cert, own.Cert)
	}
	if len(own.Chain) > 0 {
		f.Append(message.ClientCertChain, s.chain, own.Chain)
	}
	if len(own.CfDER) > 0 {
		f.Append(message.CfClientCertDER, s.cfDER, own.CfDER)
		f.Append(message.CfClientCertHash, s.cfHash, own.CfHash)
	}
}

// appendXFCC joins what came with our element into one line, the client farthest from us first.
func (s *step) appendXFCC(f *message.Fields, own []byte) {
	if len(own) == 0 {
		return
	}
	n := len(own)
	for i := range f.Len() {
		if l := f.At(i); l.ID == message.XForwardedClientCert {
			n += len(l.Value) + 1
		}
	}
	b := f.Reserve(n)
	for {
		v, ok := f.Pop(message.XForwardedClientCert)
		if !ok {
			break
		}
		if len(v) > 0 {
			b = append(append(b, v...), ',')
		}
	}
	f.Append(message.XForwardedClientCert, s.xfcc, append(b, own...))
}

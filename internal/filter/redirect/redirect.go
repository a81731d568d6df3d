// Package redirect answers with a Location (Gateway API RequestRedirect, Istio's redirect and
// httpsRedirect). See README.md for how scheme, host, port and path are put together. Begin reading
// at New.
package redirect

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/filter/rewrite"
	"github.com/hakone-gateway/hakone/internal/ir"
)

type redirect struct {
	ir   *ir.Redirect
	path *rewrite.Path // nil: kept
}

// New returns the filter. It always responds, so it stands last.
func New(r *ir.Redirect) (filter.Filter, error) {
	if r.Status < 301 || r.Status > 308 || r.Status > 303 && r.Status < 307 {
		return nil, fmt.Errorf("redirect status %d is not one of 301, 302, 303, 307, 308", r.Status)
	}
	if strings.ContainsFunc(r.Host+r.Scheme, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune(`/?#@\`, c) }) {
		return nil, fmt.Errorf("redirect to %q://%q holds bytes that a URL's authority cannot", r.Scheme, r.Host)
	}
	f := &redirect{ir: r}
	if r.Path.Kind != ir.KeepPath {
		p, err := rewrite.NewPath(&r.Path)
		if err != nil {
			return nil, err
		}
		f.path = p
	}
	return f, nil
}

func (f *redirect) Request(x *filter.Exchange) filter.Result {
	req := x.Request
	b := make([]byte, 0, 128)
	scheme := f.ir.Scheme
	if scheme == "" {
		scheme = req.Scheme
	}
	b = append(append(b, scheme...), "://"...)
	b = f.authority(b, x, scheme)
	path := req.Path
	if len(path) == 0 || path[0] != '/' { // "*" of OPTIONS
		path = []byte("/")
	}
	var detail string
	if f.path == nil {
		b = append(b, path...)
	} else if b, detail = f.path.Append(b, path); detail != "" {
		return filter.Result{Verdict: filter.Respond, Response: &filter.Response{Status: 400, Code: diag.RequestBadPath, Detail: detail}}
	}
	if req.HasQuery {
		b = append(append(b, '?'), req.Query...)
	}
	return filter.Result{Verdict: filter.Respond, Response: &filter.Response{Status: f.ir.Status, Location: string(b), Body: []byte{}}}
}

func (f *redirect) Response(*filter.Exchange) filter.Result { return filter.Next }

// authority appends host and port.
func (f *redirect) authority(b []byte, x *filter.Exchange, scheme string) []byte {
	host, port := split(x.Request.Authority)
	if f.ir.Host != "" {
		h := f.ir.Host
		if strings.Count(h, ":") > 1 && h[0] != '[' {
			h = "[" + h + "]"
		}
		b = append(b, h...)
	} else {
		b = append(b, host...)
	}
	switch {
	case f.ir.Port != 0:
		return withPort(b, bound(x.Peer, port, f.ir.Port), scheme)
	case !f.ir.KeepPort:
		if f.ir.Scheme == "" {
			return withPort(b, bound(x.Peer, port, x.Peer.ListenPort), scheme)
		}
		own, _ := strconv.ParseUint(wellKnown(scheme), 10, 16)
		return withPort(b, bound(x.Peer, port, uint16(own)), scheme)
	case f.ir.Host != "" || len(port) == 0:
		return b
	}
	// The port that the client used, unless it belongs to the scheme that is left, or goes without saying.
	if x.Request.Scheme != scheme && string(port) == wellKnown(x.Request.Scheme) || string(port) == wellKnown(scheme) {
		return b
	}
	return append(append(b, ':'), port...)
}

// bound returns where a declared port can be reached: itself, unless the client named the port that
// this listener is really bound to; then it needs the real one of the target too.
func bound(p *filter.Peer, named []byte, port uint16) uint16 {
	real, mapped := p.PortMap[port]
	if !mapped || p.Local.Port() == p.ListenPort || string(named) != strconv.Itoa(int(p.Local.Port())) {
		return port
	}
	return real
}

func withPort(b []byte, port uint16, scheme string) []byte {
	text := strconv.AppendUint(nil, uint64(port), 10)
	if port == 0 || string(text) == wellKnown(scheme) {
		return b
	}
	return append(append(b, ':'), text...)
}

func wellKnown(scheme string) string {
	switch scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}

// split cuts host[:port]; the host keeps its brackets.
func split(authority []byte) (host, port []byte) {
	i := bytes.LastIndexByte(authority, ':')
	if i < 0 || bytes.IndexByte(authority[i:], ']') >= 0 {
		return authority, nil
	}
	return authority[:i], authority[i+1:]
}

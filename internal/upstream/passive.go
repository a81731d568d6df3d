package upstream

import (
	"fmt"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// maxEjectionTurns bounds by how much an ejection grows that follows others.
const maxEjectionTurns = 10

// ejection is why an origin was taken out by what requests met. It is frozen.
type ejection struct {
	code   diag.Code
	detail string
	at     time.Time
}

// Watched says whether it matters what becomes of requests: whoever holds a connection to the endpoint tells by
// Answered and Failed.
func (e *Endpoint) Watched() bool { return e.origin != nil }

// Answered is told the status of an answer.
func (e *Endpoint) Answered(status int) {
	o := e.origin
	switch {
	case o == nil:
	case status >= 502 && status <= 504:
		o.failed(diag.OriginGatewayError, fmt.Sprintf("the origin answered %d", status))
	default:
		o.succeeded()
	}
}

// Failed is told that there was no answer, and why.
func (e *Endpoint) Failed(err *Error) {
	if e.origin != nil && !e.forgiven(err.Code) {
		e.origin.failed(err.Code, err.Error())
	}
}

// forgiven reports whether a failure says nothing about the origin, but about who asked: pools are shared by
// hosts and protocols, and what one host's client certificate meets, a name that a client chose, or gRPC where
// there is none, must not take an origin from all others.
func (e *Endpoint) forgiven(code diag.Code) bool {
	switch code {
	case diag.UpstreamRequiresCert, diag.UpstreamRejectedCert, diag.UpstreamCredentialMissing, diag.UpstreamNoHTTP2, diag.UpstreamNoWebSocket, diag.UpstreamPoolOverflow, diag.UpstreamRequestLimit:
		return true
	}
	return code >= 3101 && code < 3200 && e.server != nil && e.server.VerifyName == ""
}

// ejected reports whether the origin is taken out at now, in Unix nanoseconds.
func (o *origin) ejected(now int64) bool {
	until := o.out.Load()
	if until == 0 {
		return false
	}
	if now < until {
		return true
	}
	o.out.CompareAndSwap(until, 0)
	return false
}

// succeeded ends a row of failures.
func (o *origin) succeeded() {
	if o.row.Load() != 0 {
		o.row.Store(0)
	}
	if o.turns.Load() != 0 && !o.ejected(time.Now().UnixNano()) {
		o.turns.Store(0)
	}
}

// failed counts a failure, and ejects the origin if it was one too many.
func (o *origin) failed(code diag.Code, detail string) {
	o.failures.Add(1)
	row := o.row.Add(1)
	s := o.pool.settings.Load()
	if s.Passive == nil || row < int32(s.Passive.Failures) {
		return
	}
	o.pool.eject(o, &ejection{code: code, detail: detail, at: time.Now()})
}

// eject takes an origin out, unless as many are as may be.
func (p *originPool) eject(o *origin, why *ejection) {
	s := p.settings.Load().Passive
	if s == nil || !p.mayEject(o, s, why) {
		return
	}
	p.registry.opt.Logger.Warn("origin ejected", "pool", p.name, "origin", o.key.name, "endpoint", o.key.address,
		"code", why.code, "err", why.detail, "dur", time.Duration(o.out.Load()-why.at.UnixNano()))
}

// mayEject takes an origin out and returns true, unless that would be more of them than may be.
func (p *originPool) mayEject(o *origin, s *ir.PassiveHealth, why *ejection) bool {
	now := why.at.UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.ejected(now) {
		return false
	}
	enabled, out := 0, 1
	for _, other := range p.order {
		if other.server.Load().Disabled {
			continue
		}
		enabled++
		if other != o && other.ejected(now) {
			out++
		}
	}
	if out*100 > s.MaxPercent*enabled {
		return false
	}
	row := o.row.Swap(0)
	turns := min(o.turns.Load()+1, maxEjectionTurns)
	o.turns.Store(turns)
	why.detail = fmt.Sprintf("%d requests in a row failed, the last: %s", row, why.detail)
	o.cause.Store(why)
	o.ejections.Add(1)
	o.out.Store(why.at.Add(s.Ejection * time.Duration(turns)).UnixNano())
	return true
}

package forward

import (
	"context"
	"net"
	"time"

	"github.com/hakone-gateway/hakone/internal/acl"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/tcpproxy"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// splice passes the connection through, over a stream that is there (then the client's hello is sent) with what
// was read of it, or a new one. It blocks until that is over.
func (n *Tunnel) splice(stream *upstream.Stream, early []byte) {
	t := n.at
	n.access.Bump, n.access.Result = spliceWord(t), "TCP_TUNNEL"
	if stream == nil {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		defer cancel()
		u, release := t.raw(&n.way)
		defer done(release)
		var err error
		if stream, err = u.Connect(ctx, upstream.Query{Host: n.serverName()}); err != nil {
			no := upstreamRefusal(err)
			if n.hello == nil {
				n.close(no.code, no.detail)
				return
			}
			n.refuseTLS(no.code, no.detail, 80)
			return
		}
		defer stream.Close()
		cancel()
	}
	noteStream(n.access, stream)
	n.handshake(0, "")
	t.tell(n, "splice", "")
	n.relay(stream, n.conn, nil, early)
}

// serverName is what the destination is called: the SNI, else its host.
func (n *Tunnel) serverName() string {
	if n.name != "" {
		return n.name
	}
	return n.host
}

// relay passes bytes on until that is over, and records it.
func (n *Tunnel) relay(stream *upstream.Stream, client net.Conn, pending, early []byte) {
	t := n.at
	var to net.Conn = stream
	if stream.TCP != nil {
		to = stream.TCP
	}
	t.opts.State.spliced.Add(1)
	defer t.opts.State.spliced.Add(-1)
	ctx := context.Background() // the engine ends what it has given away
	if !n.explicit {
		ctx = t.opts.State.running
		t.opts.State.relays.Add(1)
		defer t.opts.State.relays.Add(-1)
	}
	sent, received, code := tcpproxy.Splice(ctx, client, to, tcpproxy.Options{Pending: pending, PendingB: early, Idle: t.opts.Idle, Pipes: t.opts.Pipes})
	n.access.BytesReceived, n.access.BytesSent = sent, received
	if early != nil {
		n.access.BytesReceived += int64(n.helloBytes)
	}
	detail := ""
	if code != 0 {
		detail = "the tunnel ended: " + code.Slug()
		if code == diag.TCPIdle {
			n.access.Result += "_TIMEDOUT"
		}
	}
	n.record(code, detail)
}

// handshake leaves the record of a hello that was passed on.
func (n *Tunnel) handshake(code diag.Code, detail string) {
	if n.hello == nil {
		return
	}
	h, c := n.hello, n.conn
	rec := &telemetry.Handshake{Time: c.Accepted(), Duration: time.Since(c.Accepted()), Conn: c.ID(), Side: telemetry.Downstream, Listener: n.at.listener.Name,
		Chain: n.at.ir.Name, Origin: n.at.ir.Origin.String(), Remote: c.Remote(), Local: c.Local(), Bump: n.access.Bump, Proxy: n.access.Proxy, Code: code, Detail: detail}
	rec.Hello = telemetry.Hello{SNI: h.ServerName, Versions: few(h.Versions), Suites: few(h.Suites), Groups: few(h.Groups), ALPN: few(h.ALPN), JA4: h.JA4, Ticket: h.Ticket, Records: h.Records}
	if len(rec.Hello.SNI) > 255 {
		rec.Hello.SNI = rec.Hello.SNI[:255]
	}
	n.at.opts.Sink.Handshake(rec)
}

// few bounds what a record keeps of a peer's list.
func few[T any](list []T) []T { return append([]T(nil), list[:min(len(list), 64)]...) }

// peekServer sends the client's hello on as it is and reads what the server answers, as far as its certificate
// can be seen: in TLS 1.3 it is encrypted. Only splicing and ending are possible then.
func (n *Tunnel) peekServer(facts *acl.Facts) {
	t := n.at
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	u, release := t.raw(&n.way)
	defer done(release)
	stream, err := u.Connect(ctx, upstream.Query{Host: n.serverName()})
	if err != nil {
		no := upstreamRefusal(err)
		n.access.Bump = "peek"
		n.refuseTLS(no.code, no.detail, 80)
		return
	}
	defer stream.Close()
	noteStream(n.access, stream)
	sent := n.conn.Buffered()
	n.helloBytes = len(sent)
	_ = stream.SetDeadline(time.Now().Add(t.opts.HandshakeTimeout))
	if _, err := stream.Write(sent); err != nil {
		n.refuseTLS(diag.UpstreamClosedEarly, "the destination took no ClientHello: "+err.Error(), 80)
		return
	}
	early, chain := readServer(stream)
	_ = stream.SetDeadline(time.Time{})
	n.facts.Chain = chain
	if n.third(facts, true) == "terminate" {
		n.terminate(n.rule + " at step 3")
		return
	}
	n.splice(stream, early)
}

// stare looks at the server in a handshake of ours. Only intercepting and ending are possible then.
func (n *Tunnel) stare(facts *acl.Facts) {
	if no := n.learn(facts); no != nil {
		n.intercept(facts, false)
		return
	}
	if n.third(facts, false) == "terminate" {
		n.terminate(n.rule + " at step 3")
		return
	}
	n.intercept(facts, false)
}

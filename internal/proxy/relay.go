package proxy

import (
	"errors"
	"io"

	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/message"
)

// relay passes the final answer on, whose head is in x.resp.
func (x *exchange) relay() {
	resp := &x.resp
	http1.RemoveHopByHop(&resp.Fields)
	if !resp.Fields.Names().Has(message.Date) {
		resp.Fields.Append(message.Date, dateName, *x.client.p.date.Load())
	}
	if x.cache != nil && x.received() {
		return
	}
	// An upstream that was asked to expect a body and answers without having said 100 may have passed
	// the body over, or wait for it still: then it would read the body as the next request.
	reusable := !x.Request.Continue || x.invited
	x.noteGRPC(&resp.Fields)
	if x.call.web {
		x.call.state.Head(resp)
	}
	x.access.UpstreamStatus = resp.Status
	x.bind()
	x.responseFilters()
	x.access.Status = resp.Status
	x.noteType()
	x.down.head(resp, resp.Body)
	if err := x.relayBody(reusable); err != nil {
		x.upstreamFailed(err)
	}
}

// dateName is only read.
var dateName = []byte("Date")

// relayBody passes on the body, and before it the head that the client's end holds back.
func (x *exchange) relayBody(reusable bool) error {
	if !x.up.more() {
		if err := x.down.write(nil, true); err != nil {
			return err
		}
	}
	for {
		piece, err := x.up.next()
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return err
		}
		if end || x.up.over() {
			return x.finish(piece, reusable)
		}
		piece, _ = x.outbound(piece, nil, false)
		x.access.BytesSent += int64(len(piece))
		if x.cache != nil {
			x.teePiece(piece)
		}
		if err := x.down.write(piece, !x.up.more()); err != nil {
			return err
		}
	}
}

// finish passes on the last piece and ends both sides. Where that is possible the upstream's connection
// is given back before the last bytes are written, for the request that they bring about.
func (x *exchange) finish(piece []byte, reusable bool) error {
	trailers := x.up.trailers()
	x.noteGRPC(trailers)
	piece, trailers = x.outbound(piece, trailers, true)
	x.access.BytesSent += int64(len(piece))
	if x.cache != nil {
		x.teePiece(piece)
		x.teeEnd(trailers)
	}
	first := x.up.detached() && (x.upload == nil || !x.down.independent())
	if first {
		x.endUpstream(reusable)
	}
	if err := x.down.finish(piece, trailers); err != nil {
		return err
	}
	if !first {
		x.endUpstream(reusable)
	}
	return nil
}

// endUpstream gives the upstream's connection back, or closes it if it is in doubt: after an answer that
// came before the request had been sent, nobody knows what the upstream has read.
func (x *exchange) endUpstream(reusable bool) {
	if x.upload != nil && !x.joinUpload() {
		reusable = false
	}
	if x.up != nil {
		x.up.giveBack(reusable)
		x.up = nil
	}
}

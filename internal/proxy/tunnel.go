package proxy

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/http1"
	"github.com/hakone-gateway/hakone/internal/message"
)

// tunnelIdle is the buffer of a tunnel's direction while little goes over it, in bytes.
const tunnelIdle = 4 << 10

// pipe is one side of a tunnel.
type pipe struct {
	conn       io.ReadWriter
	early      []byte // received before the switch
	closeWrite func() error
}

// tunnel passes on a switch of protocols (RFC 9110 section 7.8) and then bytes both ways, until both
// sides have closed, one fails, or nothing has moved for the idle bound. It returns an error only if the
// switch was not passed on.
func (x *exchange) tunnel() error {
	p := x.client.p
	if x.Request.Upgrade == nil || x.Request.Proto == message.HTTP10 {
		return &http1.Error{Code: diag.UpstreamProtocolError, Detail: "the upstream switches protocols without having been asked"}
	}
	there, err := x.up.tunnel()
	if err != nil {
		return err
	}
	http1.RemoveHopByHop(&x.resp.Fields)
	x.bind()
	x.up.lent().Endpoint.Answered(x.resp.Status)
	x.responseFilters()
	x.access.Status = x.resp.Status
	here, err := x.down.tunnel(&x.resp)
	if err != nil {
		return err
	}
	x.task.active.Store(p.now())
	if !x.task.watch.arm(waitTunnel, p.limits.UpgradeIdle, 0) {
		x.dropUpstream()
		return nil
	}
	var up, down atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() { x.pump(there, here, &up) })
	x.pump(here, there, &down)
	wg.Wait()
	x.access.BytesReceived, x.access.BytesSent = up.Load(), down.Load()
	if x.task.watch.why() == endTime {
		x.fail(diag.UpgradeIdle, "nothing moved on the upgraded connection for "+p.limits.UpgradeIdle.String())
	} else if x.client.cutOff.Load() {
		x.fail(diag.ClientCertWithdrawn, "") // fail has the words
	} else if p.cut.Load() {
		x.fail(diag.Draining, drainCut)
	}
	x.task.watch.disarm()
	x.task.watch.recover()
	x.dropUpstream()
	return nil
}

// pump copies one direction of a tunnel. The orderly end of src is passed on as such; an error, or a
// fault in here, ends both directions.
func (x *exchange) pump(dst, src *pipe, count *atomic.Int64) {
	p := x.client.p
	orderly := false
	var large *[]byte
	defer func() {
		if fault := recover(); fault != nil {
			x.client.fault("passing on a tunnel failed", fault)
		}
		if !orderly {
			x.task.endTunnel()
		}
		if large != nil {
			x.task.putLarge(large)
		}
	}()
	if len(src.early) > 0 {
		if _, err := dst.conn.Write(src.early); err != nil {
			return
		}
		count.Add(int64(len(src.early)))
	}
	buf := make([]byte, tunnelIdle)
	for {
		b := buf
		if large != nil {
			b = *large
		}
		n, err := src.conn.Read(b)
		if n > 0 {
			x.task.active.Store(p.now())
			count.Add(int64(n))
			if _, err := dst.conn.Write(b[:n]); err != nil {
				return
			}
			switch { // a busy direction gets a large buffer, for as long as it is busy
			case large == nil && n == len(buf):
				large = x.task.large()
			case large != nil && n < len(buf):
				x.task.putLarge(large)
				large = nil
			}
			continue
		}
		if errors.Is(err, io.EOF) {
			orderly = dst.closeWrite() == nil
			return
		}
		if err != nil {
			return
		}
	}
}

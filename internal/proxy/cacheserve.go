package proxy

import (
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/hakone-gateway/hakone/internal/httpcache"
	"github.com/hakone-gateway/hakone/internal/message"
)

var ageName = []byte("Age") // only read

// serve answers with an object, whose body may be on its way. hit says that the origin was not asked.
func (x *exchange) serve(o *httpcache.Object, result string, hit bool) {
	k := x.cache
	now := k.now
	if !hit {
		now = time.Now()
	}
	resp := &x.resp
	resp.Reset()
	resp.Proto = message.HTTP11
	f := &resp.Fields
	o.Head(f)
	if k.fill != nil {
		k.fill.Omitted(o, f)
	}
	r := o.Reply(&k.q, f, now)
	resp.Status = r.Status
	if r.Status == 304 && hit {
		if result = "TCP_IMS_HIT"; k.q.Conditional() == "etag" {
			result = "TCP_INM_HIT"
		}
	}
	age := o.Age(now)
	if hit || age > 0 {
		f.Append(message.Other, ageName, strconv.AppendInt(f.Reserve(20), age, 10))
	}
	x.noteServed(o, result, hit, now)
	x.addCacheStatus()
	x.own, k.served = hit, true
	x.responseFilters()
	x.access.Status = resp.Status
	x.noteType()
	if err := x.sendStored(o, &r); err != nil {
		x.storedFailed(err)
	}
	x.closeReader()
}

// noteServed records an answer from the store.
func (x *exchange) noteServed(o *httpcache.Object, result string, hit bool, now time.Time) {
	k := x.cache
	var b [160]byte
	p := append(b[:0], k.name...)
	switch {
	case hit:
		p = append(p, "; hit"...)
	case k.joined:
		p = append(append(append(p, "; fwd="...), k.why...), "; collapsed"...)
	default:
		p = append(append(p, "; fwd="...), k.why...)
		if s := x.access.UpstreamStatus; s != 0 {
			p = strconv.AppendInt(append(p, "; fwd-status="...), int64(s), 10)
		}
		if k.fill != nil {
			p = append(p, "; stored"...)
		}
	}
	p = strconv.AppendInt(append(p, "; ttl="...), o.TTL(now), 10)
	if string(p) != k.told {
		k.told = string(p)
	}
	x.access.Result, x.access.CacheStatus = result, k.told
}

// sendStored sends head and body.
func (x *exchange) sendStored(o *httpcache.Object, r *httpcache.Reply) error {
	resp := &x.resp
	framing := message.Body{Kind: message.Sized, Length: r.Length}
	trailers := &resp.Trailers
	switch {
	case r.Status == 304 || r.Status == 204 || r.Status < 200:
		framing = message.Body{}
	case string(x.Request.Method) == "HEAD":
		framing = message.Body{Kind: message.NoBody, Declared: r.Length >= 0, Length: max(0, r.Length)}
	case r.Length < 0 || r.Parts == nil && r.Status != 206 && o.Complete() && o.Trailers(trailers):
		framing = message.Body{Kind: message.Chunked}
	}
	x.down.head(resp, framing)
	if framing.Kind == message.NoBody || r.Length == 0 && framing.Kind == message.Sized {
		return x.down.finish(nil, nil)
	}
	if r.Parts == nil {
		n := r.Length
		if framing.Kind == message.Chunked {
			n = -1
		}
		if !x.openReader(o, r.From, n) {
			return errDropped
		}
		return x.sendPart(o, trailers, true)
	}
	for _, p := range r.Parts {
		x.access.BytesSent += int64(len(p.Text))
		if err := x.down.write(p.Text, false); err != nil {
			return err
		}
		if !x.openReader(o, p.From, p.N) {
			return errDropped
		}
		if err := x.sendPart(o, nil, false); err != nil {
			return err
		}
		x.closeReader()
	}
	x.access.BytesSent += int64(len(r.Tail))
	return x.down.finish(r.Tail, nil)
}

// openReader begins to read a part of a body. Until closeReader nothing of it that was not read is dropped. It returns
// false if the beginning is gone already.
func (x *exchange) openReader(o *httpcache.Object, from, n int64) bool {
	k := x.cache
	if k.reads == o {
		k.cursor.Aim(from, n)
		return true
	}
	x.closeReader()
	if !o.Open(&k.cursor, from, n) {
		return false
	}
	k.reads = o
	return true
}

func (x *exchange) closeReader() {
	if k := x.cache; k.reads != nil {
		k.cursor.Close()
		k.reads = nil
	}
}

// errDropped is why an answer cannot be read from its beginning any more.
var errDropped = errors.New("the beginning of the answer is not kept")

// sendPart sends what the cursor reads; last says that the answer ends with it.
func (x *exchange) sendPart(o *httpcache.Object, trailers *message.Fields, last bool) error {
	c := &x.cache.cursor
	for {
		piece, wait, err := c.Next()
		switch {
		case errors.Is(err, io.EOF):
			if !last {
				return nil
			}
			if trailers.Len() == 0 && c.ToEnd() {
				o.Trailers(trailers)
			}
			return x.down.finish(nil, trailers)
		case err != nil:
			return err
		case wait != nil:
			if err := x.down.write(nil, true); err != nil {
				return err
			}
			if !x.awaitChange(wait) {
				return errInterrupted
			}
			continue
		}
		x.access.BytesSent += int64(len(piece))
		if last && c.Ended() {
			return x.down.finish(piece, trailers)
		}
		if err := x.down.write(piece, false); err != nil {
			return err
		}
	}
}

// storedFailed ends an answer from the store that could not be sent to its end.
func (x *exchange) storedFailed(err error) {
	var client *clientError
	switch {
	case errors.As(err, &client):
		x.writeFailed()
	case x.task.watch.why() != 0:
		x.interrupted()
	default:
		x.refuse(brokenFill, err.Error())
	}
}

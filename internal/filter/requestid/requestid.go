// Package requestid gives every request an ID: X-Request-Id, a random UUID (RFC 9562 version 4). Access
// log, answers, upstreams and "hakone explain" share it. It is a standard step of every listener.
// Begin reading at New.
package requestid

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/message"
)

// maxLength bounds an ID that a believed proxy gives, in bytes.
const maxLength = 128

type step struct {
	trust filter.Trust
	name  []byte // only read
}

// New returns the step. The ID of a peer that trust believes is kept if it is well-formed; any other
// is replaced, so that a client cannot put its words into the log.
func New(trust filter.Trust) filter.Filter { return &step{trust, []byte(message.XRequestID.String())} }

func (s *step) Request(x *filter.Exchange) filter.Result {
	f := &x.Request.Fields
	if id := Given(x, s.trust); id != nil {
		if f.Count(message.XRequestID) > 1 {
			f.SetID(message.XRequestID, id)
		}
		x.ID = id
		return filter.Next
	}
	id := x.ID // one that the request was given before
	if len(id) == 0 {
		id = Append(f.Reserve(Length))
	}
	f.DelID(message.XRequestID)
	f.Append(message.XRequestID, s.name, id)
	x.ID = id
	return filter.Next
}

// Given returns the well-formed ID of a peer that trust believes, else nil. It is for requests that are
// answered before the step has run.
func Given(x *filter.Exchange, trust filter.Trust) []byte {
	if id, ok := x.Request.Fields.Get(message.XRequestID); ok && wellFormed(id) && trust.Believes(x.Peer.Remote.Addr()) {
		return id
	}
	return nil
}

// Response tells the client the ID, in place of one that the upstream has made up.
func (s *step) Response(x *filter.Exchange) filter.Result {
	if len(x.ID) > 0 {
		f := &x.Response.Fields
		f.DelID(message.XRequestID)
		f.Append(message.XRequestID, s.name, x.ID)
	}
	return filter.Next
}

// Length is that of a generated ID, in bytes.
const Length = 36

const hexDigits = "0123456789abcdef"

// Append appends a new ID to dst. The numbers come from the runtime's per-thread ChaCha8, seeded by
// the operating system; the ID is no secret.
func Append(dst []byte) []byte {
	var u [16]byte
	binary.LittleEndian.PutUint64(u[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(u[8:], rand.Uint64())
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	for i, c := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

func wellFormed(id []byte) bool {
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' && c != ':' && c != '=' && c != '+' && c != '/' {
			return false
		}
	}
	return len(id) > 0 && len(id) <= maxLength
}

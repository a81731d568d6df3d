package http2

import "github.com/hakone-gateway/hakone/internal/message"

// Block is one complete header block: the fragments of HEADERS and its CONTINUATIONs.
type Block struct {
	Data   []byte
	Stream uint32 // put into errors
	End    bool   // END_STREAM: no body follows
}

// Limits, errors: see Request.
var _ = message.Request{}

package proxy

import "github.com/hakone-gateway/hakone/internal/diag"

// Admission says whether a connection may go on under the configuration, CAs and revocation lists that
// hold at the moment: *tlsconf.Session. Both methods are safe for concurrent use, and cost next to
// nothing where nothing has changed.
//
// Where the code is ClientCertWithdrawn the client would not be let in any more: new requests and
// streams are refused with it (421), and what is in progress is cut at the end of the grace; with
// AccessWithdrawn it is cut at once. With any
// other code (Draining) the connection ends when what is in progress is done.
type Admission interface {
	// Admits judges; false and the code if the connection may not go on. After a change of trust it
	// verifies certificates, which takes up to a millisecond: it is for requests and streams that begin.
	Admits() (diag.Code, bool)

	// Withdrawn returns the last judgement, made by whoever: 0, or the code with a sentence for logs. It
	// is for sweepers.
	Withdrawn() (diag.Code, string)
}

//go:build !linux

package tcpproxy

import (
	"net"
	"time"
)

// canSplice says that bytes are copied on this system.
const canSplice = false

// kernel is empty on this system.
type kernel struct{}

// runDirect is never called: no end has a socket of its own here.
func (f *flow) runDirect() { f.runCopy() }

// awaitSent cannot ask on this system.
func awaitSent(*net.TCPConn, time.Duration) {}

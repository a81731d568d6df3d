//go:build !linux

package proxy

import "net"

// hungUp needs POLLRDHUP; elsewhere a client that went away is noticed when it is written to.
func hungUp(*net.TCPConn) bool { return false }

// plainReader is of no use here.
type plainReader struct{}

// readPlain is for Linux; elsewhere plain connections are read like those of TLS.
func (c *conn) readPlain() (h *http1Client, ok bool) { return nil, false }

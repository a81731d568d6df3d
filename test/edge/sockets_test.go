//go:build e2e

package edge

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/hakone-gateway/hakone/test/rawupstream"
)

// newSockets serves a.test before an origin that takes WebSockets below /socket and sends back what comes in
// them; /slow it answers with a body that never ends. /socket and /slow are for clients of CA A. change may
// change the manifests before the start.
func newSockets(t *testing.T, lines ...string) *world {
	t.Helper()
	w := newWorld(t, "a.test", "b.test")
	w.up = rawupstream.Start(t, func(m *rawupstream.Message, c net.Conn, rest *bufio.Reader) bool {
		switch {
		case m.Field("Upgrade") != "":
			sum := sha1.Sum([]byte(m.Field("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
			_, _ = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
			_, _ = io.Copy(c, rest)
			return false
		case m.Path() == "/slow":
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
			_, _ = rest.ReadByte() // until the gateway goes
			return false
		}
		return rawupstream.Reply(c, 200, "", m.Line()+"\n")
	})
	w.files["hosts.yaml"] = edgeHost("edge", w.up.Addr, "a.test", "b.test")
	w.files["policies.yaml"] = policy("socket", append([]string{"hosts: [a.test]", "paths: [/socket, /slow]", trusts("a")}, lines...)...)
	w.start()
	return w
}

// upgrade asks for a WebSocket over HTTP/1.1.
func upgrade(host, path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

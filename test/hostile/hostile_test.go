//go:build e2e

package hostile

import (
	"testing"

	"golang.org/x/net/http2"
)

// TestHTTP2 attacks with frames.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	trials := []trial{
		{name: "rapid reset", code: "HK4302", away: http2.ErrCodeEnhanceYourCalm, run: rapidReset},
		{name: "provoked resets", code: "HK4302", away: http2.ErrCodeEnhanceYourCalm, run: provokedReset},
		{name: "CONTINUATION", code: "HK4304", away: http2.ErrCodeEnhanceYourCalm, run: continuation(1000)},
		{name: "empty CONTINUATION", code: "HK4304", away: http2.ErrCodeEnhanceYourCalm, run: continuation(0)},
		{name: "SETTINGS", code: "HK4303", away: http2.ErrCodeEnhanceYourCalm, run: frames(settingsFlood)},
		{name: "PING", code: "HK4303", away: http2.ErrCodeEnhanceYourCalm, run: frames(pingFlood)},
		{name: "PRIORITY", code: "HK4303", away: http2.ErrCodeEnhanceYourCalm, run: frames(priorityFlood)},
		{name: "empty DATA", code: "HK4303", away: http2.ErrCodeEnhanceYourCalm, run: frames(emptyDataFlood)},
		{name: "unknown frames", code: "HK4303", away: http2.ErrCodeEnhanceYourCalm, run: frames(unknownFlood)},
		{name: "zero windows", code: "HK4204", args: []string{"--write-timeout", "2s"}, run: zeroWindow},
		{name: "answers unread", code: "HK4204", args: []string{"--write-timeout", "2s"}, run: unread},
		{name: "overflow of the connection's window", code: "HK4305", away: http2.ErrCodeFlowControl, run: windowOverflow(0)},
		{name: "overflow of a stream's window", code: "HK4305", run: windowOverflow(1)},
		{name: "body beyond the window", code: "HK4305", run: beyondWindow},
		{name: "tiny windows", code: "HK4309", away: http2.ErrCodeEnhanceYourCalm, run: tinyWindows},
		{name: "slow head", code: "HK4201", args: []string{"--header-timeout", "1s"}, run: slowHead},
		{name: "slow body", code: "HK4202", args: []string{"--body-idle-timeout", "1s"}, run: slowBody},
		{name: "huge head", code: "HK4304", run: hugeHead},
		{name: "HPACK bomb", code: "HK4002", run: bomb},
		{name: "streams beyond the limit", code: "HK4308", run: manyStreams},
		{name: "invalid HPACK", code: "HK4306", away: http2.ErrCodeCompression, run: only(badCompression)},
		{name: "frame of a wrong size", code: "HK4310", away: http2.ErrCodeFrameSize, run: only(badFrameSize)},
		{name: "frame in a wrong place", code: "HK4301", away: http2.ErrCodeProtocol, run: only(badProtocol)},
		{name: "SETTINGS unacknowledged", code: "HK4307", args: []string{"--header-timeout", "2s"}, run: unacknowledged},
		{name: "no preface", code: "HK4312", run: notHTTP2},
	}
	for _, c := range trials {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t)
		})
	}
}

// TestConnections attacks with handshakes, TLS records, connections and slowness.
func TestConnections(t *testing.T) {
	t.Parallel()
	trials := []trial{
		{name: "renegotiation", code: "HK1109", run: renegotiate},
		{name: "KeyUpdate", code: "HK1110", run: keyUpdate},
		{name: "silent connections", code: "HK1103", kind: "handshake", args: []string{"--handshake-timeout", "1s"}, run: silent},
		{name: "unfinished handshakes", code: "HK1104", kind: "handshake", args: []string{"--handshake-timeout", "1s"}, run: halfHandshakes},
		{name: "handshakes", code: "HK4404", args: []string{"--max-handshakes", "16", "--handshake-timeout", "1s"}, alone: true, run: halfHandshakes},
		{name: "connections of one address", code: "HK4403", args: []string{"--max-connections-per-address", "50"}, run: connections(1)},
		{name: "connections of many addresses", code: "HK4402", args: []string{"--max-total-connections", "300", "--max-connections-per-address", "100"}, alone: true, run: connections(50)},
		{name: "connections of one listener", code: "HK1107", args: []string{"--max-connections", "200"}, alone: true, run: connections(50)},
		{name: "slowhttptest -H", code: "HK4201", args: []string{"--header-timeout", "2s"}, run: slowhttptest("-H")},
		{name: "slowhttptest -B", code: "HK4202", args: []string{"--body-idle-timeout", "1s"}, run: slowhttptest("-B", "-s", "8192", "-t", "POST")},
		{name: "slowhttptest -X", code: "HK4204", args: []string{"--write-timeout", "1s"}, run: slowhttptest("-X", "-w", "1", "-y", "2", "-n", "3", "-z", "1", "-k", "1")},
		// 5,000 requests at once, each of which holds its buffers.
		{name: "h2load with HTTP/2", memory: 256, run: h2load("-c", "50", "-m", "100", "-n", "20000")},
		{name: "h2load with HTTP/1.1", run: h2load("--h1", "-c", "200", "-n", "20000")},
	}
	for _, c := range trials {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t)
		})
	}
}

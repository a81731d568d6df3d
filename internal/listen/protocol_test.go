package listen

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
)

// TestPlainAnswersAreWhole reads answers to clients of another protocol as an HTTP client does.
func TestPlainAnswersAreWhole(t *testing.T) {
	_, header := OtherProtocolAnswer([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), "HTTP")
	for _, answer := range [][]byte{TLSOnProxyAnswer(), header} {
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
		if err != nil {
			t.Errorf("%q: %v", answer, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || !bytes.HasSuffix(answer, append([]byte("\r\n\r\n"), body...)) {
			t.Errorf("%q: the body is %q, %v", answer, body, err)
		}
	}
}

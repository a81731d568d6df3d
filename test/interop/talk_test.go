//go:build e2e

package interop

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// rawRequest is the preface, SETTINGS and one GET on stream 1, as bytes.
func rawRequest(host, path string) string {
	var out, block bytes.Buffer
	out.WriteString(http2.ClientPreface)
	fr := http2.NewFramer(&out, nil)
	_ = fr.WriteSettings() // a buffer takes everything
	enc := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: host}, {Name: ":path", Value: path}} {
		_ = enc.WriteField(f)
	}
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	return out.String()
}

// transcript is what a program printed so far. Safe for concurrent use.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(b)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// talk runs a program, gives it input, and returns what it printed when it ended by itself or had
// printed one of the texts. Standard input stays open until then.
func talk(t *testing.T, path string, args []string, input string, texts ...string) string {
	t.Helper()
	cmd := exec.Command(path, args...)
	var heard transcript
	cmd.Stdout, cmd.Stderr = &heard, &heard
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }() // it is killed, or ends as its peer wants
	defer func() { _ = cmd.Process.Kill(); <-ended }()
	if _, err := in.Write([]byte(input)); err != nil {
		t.Logf("%s did not take its input: %v", path, err)
	}
	for limit := time.Now().Add(15 * time.Second); time.Now().Before(limit); {
		text := heard.String()
		for _, want := range texts {
			if strings.Contains(text, want) {
				return text
			}
		}
		select {
		case <-ended:
			return heard.String()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return heard.String() + "\n(no end within 15 s)"
}

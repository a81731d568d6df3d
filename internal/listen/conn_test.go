package listen

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"
)

// TestPlaintextAlert keeps the last bytes however they are cut, and knows an alert from other records.
func TestPlaintextAlert(t *testing.T) {
	alert := []byte{21, 3, 3, 0, 2, 2, 48}
	for _, c := range []struct {
		raw  []byte
		want uint8
		ok   bool
	}{
		{alert, 48, true},
		{append(make([]byte, 100), alert...), 48, true},
		{alert[:6], 0, false},
		{append(slices.Clone(alert), 0), 0, false},
		{[]byte{23, 3, 3, 0, 2, 2, 48}, 0, false},
		{[]byte{21, 3, 3, 0, 2, 1, 48}, 0, false}, // a warning
		{nil, 0, false},
	} {
		for _, step := range []int{1, 2, 3, 5, 200} {
			conn := &Conn{watching: true}
			for chunk := range slices.Chunk(c.raw, step) {
				conn.watch(chunk)
			}
			if got, ok := conn.PlaintextAlert(); got != c.want || ok != c.ok {
				t.Errorf("%v in steps of %d: %d %v", c.raw, step, got, ok)
			}
		}
	}
	done := &Conn{}
	done.watch(alert)
	if _, ok := done.PlaintextAlert(); ok {
		t.Error("bytes after the handshake were kept")
	}
}

// TestCork gathers writes, keeps their order and bounds what it holds.
func TestCork(t *testing.T) {
	here, there := pair(t)
	var want []byte
	put := func(n int, b byte) {
		t.Helper()
		p := bytes.Repeat([]byte{b}, n)
		want = append(want, p...)
		if got, err := here.Write(p); got != n || err != nil {
			t.Fatal(got, err)
		}
	}
	read := make(chan []byte)
	go func() { b, _ := io.ReadAll(there); read <- b }()
	put(10, 'a')
	here.Cork()
	put(20, 'b')
	here.Cork()
	put(30, 'c')
	if err := here.Uncork(); err != nil || here.BytesWritten() != 10 {
		t.Errorf("an inner Uncork wrote: %d bytes, %v", here.BytesWritten(), err)
	}
	put(corkBuffer, 'd') // exceeds the bound together: one vectored write
	if here.BytesWritten() != int64(len(want)) {
		t.Errorf("%d bytes written of %d", here.BytesWritten(), len(want))
	}
	put(corkBuffer+1, 'e') // exceeds it alone
	put(40, 'f')
	if err := here.Flush(); err != nil || here.BytesWritten() != int64(len(want)) {
		t.Errorf("Flush: %d of %d bytes, %v", here.BytesWritten(), len(want), err)
	}
	put(50, 'g')
	if err := here.Uncork(); err != nil || here.cork.buf != nil {
		t.Errorf("Uncork: %v", err)
	}
	here.Cork()
	put(60, 'h')
	_ = here.SetWriteDeadline(time.Unix(1, 0)) // as crypto/tls does when it closes
	here.Close()
	if got := <-read; !bytes.Equal(got, want) {
		t.Errorf("%d bytes arrived of %d", len(got), len(want))
	}
}

// TestCorkError shows an error of gathered bytes at the next call.
func TestCorkError(t *testing.T) {
	here, _ := pair(t)
	here.Cork()
	if _, err := here.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = here.SetWriteDeadline(time.Unix(1, 0))
	if here.Flush() == nil {
		t.Fatal("Flush past the deadline succeeds")
	}
	if _, err := here.Write([]byte("y")); err == nil {
		t.Error("Write after a failed Flush succeeds")
	}
	if here.Uncork() == nil {
		t.Error("Uncork after a failed Flush succeeds")
	}
}

// TestCorkAllocations shows that a turn allocates nothing.
func TestCorkAllocations(t *testing.T) {
	here, there := pair(t)
	go func() { _, _ = io.Copy(io.Discard, there) }()
	head, body := make([]byte, 200), make([]byte, 1000)
	if n := testing.AllocsPerRun(100, func() {
		here.Cork()
		_, _ = here.Write(head)
		_, _ = here.Write(body)
		_ = here.Uncork()
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestCloseLinger delivers an answer although the peer is still sending.
func TestCloseLinger(t *testing.T) {
	here, there := pair(t)
	_, _ = there.Write(make([]byte, 30_000))
	_, _ = here.Write([]byte("answer"))
	done := make(chan error, 1)
	go func() { done <- here.CloseLinger(64<<10, 5*time.Second) }()
	got, err := io.ReadAll(there)
	if string(got) != "answer" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	there.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestCloseLingerUpload delivers it also to a peer that sends far more than the bound before it looks.
func TestCloseLingerUpload(t *testing.T) {
	here, there := pair(t)
	_, _ = here.Write([]byte("answer"))
	done := make(chan error, 1)
	go func() { done <- here.CloseLinger(64<<10, time.Second) }()
	_ = there.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	block := make([]byte, 256<<10)
	for {
		if _, err := there.Write(block); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the upload was not held up but ended: %v", err)
			}
			break
		}
	}
	if got, err := io.ReadAll(there); string(got) != "answer" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	there.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestOnClose runs hooks once.
func TestOnClose(t *testing.T) {
	here, _ := pair(t)
	n := 0
	here.OnClose(func() { n++ })
	_, _ = here.Close(), here.Close()
	here.OnClose(func() { n += 10 })
	if n != 11 {
		t.Errorf("hooks ran %d", n)
	}
	var _ net.Conn = here
}

// TestAnswers checks the plain answers' lengths and the detection on plain ports.
func TestAnswers(t *testing.T) {
	for _, a := range [][]byte{TLSOnPlaintextAnswer(), PlaintextOnTLSAnswer([]byte("GET /"))} {
		head, body, ok := bytes.Cut(a, []byte("\r\n\r\n"))
		if !ok || !bytes.HasSuffix(head, append([]byte("Content-Length: "), appendCount(nil, len(body))...)) || len(body) > 99 {
			t.Errorf("%q", a)
		}
	}
	for in, want := range map[string]bool{"\x16\x03\x01": true, "\x16\x03\x03\x02": true, "GET": false, "\x16\x03": false, "\x16\x02\x01": false} {
		if LooksLikeTLS([]byte(in)) != want {
			t.Errorf("%q", in)
		}
	}
}

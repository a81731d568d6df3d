package upstream

import (
	"errors"
	"io"
	"net"
	"strconv"
	"syscall"
)

// posted is a tunnel made by POST, as Envoy's tcp_proxy makes one: what is sent is the body of the request and
// what is received that of the answer, both in chunks (RFC 9112 section 7.1). A Read that fails for want of bytes
// can be repeated.
type posted struct {
	net.Conn

	// Owned by whoever reads.
	chunked bool
	raw     [4096]byte
	have    []byte // of raw
	state   chunkState
	size    uint64 // left of the chunk
	digits  int
	line    int // bytes of an extension or trailer

	// Owned by whoever writes.
	out    []byte
	closed bool
}

type chunkState int

const (
	chunkSize  chunkState = iota // in the digits
	chunkSkip                    // in an extension, to the end of the line
	chunkData                    // in the data
	chunkAfter                   // in the line end behind the data
	chunkTrail                   // in the trailers
	chunkDone
)

// maxChunkLine bounds extensions and trailers.
const maxChunkLine = 8 << 10

var errChunk = errors.New("the proxy broke the chunked coding of a tunnel made by POST")

func newPosted(c net.Conn, chunked bool) *posted { return &posted{Conn: c, chunked: chunked} }

// Read returns what the destination sent.
func (p *posted) Read(b []byte) (int, error) {
	if !p.chunked {
		return p.Conn.Read(b)
	}
	if len(b) == 0 {
		return 0, nil
	}
	for {
		for len(p.have) > 0 && p.state != chunkData && p.state != chunkDone {
			c := p.have[0]
			p.have = p.have[1:]
			if err := p.step(c); err != nil {
				return 0, err
			}
		}
		switch {
		case p.state == chunkDone:
			return 0, io.EOF
		case p.state == chunkData && len(p.have) > 0:
			n := copy(b, p.have[:min(uint64(len(p.have)), p.size)])
			p.have, p.size = p.have[n:], p.size-uint64(n)
			if p.size == 0 {
				p.state = chunkAfter
			}
			return n, nil
		}
		n, err := p.Conn.Read(p.raw[:])
		p.have = p.raw[:n]
		if n == 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
}

// step takes one byte that is no data.
func (p *posted) step(c byte) error {
	switch p.state {
	case chunkSize:
		d, err := strconv.ParseUint(string(c), 16, 8)
		switch {
		case err == nil && p.digits < 15:
			p.digits, p.size = p.digits+1, p.size<<4|d
		case p.digits > 0 && (c == '\r' || c == ';' || c == ' '):
			p.state = chunkSkip
		default:
			return errChunk
		}
	case chunkSkip:
		if p.line++; p.line > maxChunkLine {
			return errChunk
		}
		if c == '\n' {
			p.state, p.line, p.digits = chunkData, 0, 0
			if p.size == 0 {
				p.state = chunkTrail
			}
		}
	case chunkAfter:
		if p.line++; c != "\r\n"[min(p.line-1, 1)] {
			return errChunk
		}
		if p.line == 2 {
			p.state, p.line = chunkSize, 0
		}
	case chunkTrail:
		if p.size++; p.size > maxChunkLine {
			return errChunk
		}
		switch {
		case c == '\n' && p.line == 0:
			p.state = chunkDone
		case c == '\n':
			p.line = 0
		case c != '\r':
			p.line++
		}
	}
	return nil
}

// Write sends b as one chunk.
func (p *posted) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	p.out = strconv.AppendUint(p.out[:0], uint64(len(b)), 16)
	p.out = append(append(append(p.out, "\r\n"...), b...), "\r\n"...)
	if _, err := p.Conn.Write(p.out); err != nil {
		return 0, err
	}
	if cap(p.out) > 1<<16 {
		p.out = nil
	}
	return len(b), nil
}

// CloseWrite ends the body.
func (p *posted) CloseWrite() error {
	if p.closed {
		return nil
	}
	p.closed = true
	_, err := p.Conn.Write([]byte("0\r\n\r\n"))
	return err
}

// isReset reports whether the peer ended the connection without waiting.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

package tcpproxy

import "sync"

// DefaultPipes is how many pipes there are at most at once. Each takes two file descriptors and, while it
// holds bytes, up to 256 KiB of the kernel's memory.
const DefaultPipes = 1024

// keptPipes is how many of them are kept for later while nobody needs them.
const keptPipes = 64

// Pipes is the store of the pipes that bytes go through. A flow takes one when there are bytes for it and
// gives it back when there are none. Where none is to be had, because of the bound, of file descriptors or of
// the user's quota of pipe memory, bytes are copied. The methods of a nil *Pipes make and close pipes without
// a bound. Safe for concurrent use.
type Pipes struct {
	bound int // fixed after construction

	mu     sync.Mutex // guards the rest
	free   []*pipe
	open   int
	closed bool  // what comes back is not kept
	copied int64 // turns for which there was none
}

// NewPipes returns a store of at most bound pipes; 0 is DefaultPipes.
func NewPipes(bound int) *Pipes {
	if bound == 0 {
		bound = DefaultPipes
	}
	return &Pipes{bound: bound}
}

// pipe is one pipe. Both ends do not block.
type pipe struct{ r, w, size int }

// get returns an empty pipe, nil if there is none.
func (p *Pipes) get() *pipe {
	if p == nil {
		return openPipe()
	}
	p.mu.Lock()
	if n := len(p.free); n > 0 {
		one := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return one
	}
	if p.open >= p.bound {
		p.copied++
		p.mu.Unlock()
		return nil
	}
	p.open++
	p.mu.Unlock()
	one := openPipe()
	if one == nil {
		p.mu.Lock()
		p.open--
		p.copied++
		p.mu.Unlock()
	}
	return one
}

// put takes a pipe back; one that is not empty is closed.
func (p *Pipes) put(one *pipe, empty bool) {
	if p == nil {
		one.close()
		return
	}
	p.mu.Lock()
	if empty && !p.closed && len(p.free) < keptPipes {
		p.free = append(p.free, one)
		p.mu.Unlock()
		return
	}
	p.open--
	p.mu.Unlock()
	one.close()
}

// Stats returns how many pipes are open, how many of them nobody uses, and for how many turns there was none.
func (p *Pipes) Stats() (open, free int, copied int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, len(p.free), p.copied
}

// Close closes the pipes that nobody uses, and the others when they come back.
func (p *Pipes) Close() {
	p.mu.Lock()
	p.closed = true
	free := p.free
	p.free, p.open = nil, p.open-len(free)
	p.mu.Unlock()
	for _, one := range free {
		one.close()
	}
}

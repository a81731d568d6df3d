package demo

import (
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// pipe writes whole lines to an output that others write to as well, and tells once when the output
// is gone ("hakone demo | head").
type pipe struct {
	out  io.Writer
	gone func()
	mu   *sync.Mutex // shared by pipes that may lead to one terminal
}

// Write implements io.Writer.
func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	n, err := p.out.Write(b)
	p.mu.Unlock()
	if err != nil {
		p.gone()
	}
	return n, err
}

// catchBrokenPipe makes writing to a closed stdout an error instead of the end of the process, so that
// what the demo made is removed. Programs that it starts are not affected.
func catchBrokenPipe() (stop func()) {
	signals := make(chan os.Signal, 1) // nobody reads it: the error of the write says the same
	signal.Notify(signals, syscall.SIGPIPE)
	return func() { signal.Stop(signals) }
}

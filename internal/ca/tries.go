package ca

import (
	"context"
	"sync"
	"time"
)

const (
	// tryAgain is how long a failure is remembered: anybody may ask for lists and answers, and each try
	// holds up those who issue.
	tryAgain = 30 * time.Second
	// tryFor bounds one try.
	tryFor = 30 * time.Second
)

// tries has things made that anybody may ask for: each by one goroutine at a time, and not again soon after
// a failure. It is safe for concurrent use.
type tries struct {
	mu sync.Mutex // guards what follows
	of map[string]*try
}

// try is one that is in progress or has failed.
type try struct {
	done  chan struct{} // closed at its end
	err   error         // before done is closed
	until time.Time     // not again before
}

// remembered is a failure that others were told of before.
type remembered struct{ error }

// Unwrap returns the failure.
func (r remembered) Unwrap() error { return r.error }

// do calls attempt, or waits for the call in progress, or returns the error of the last. attempt gets a context
// that outlives the caller's: others wait for its outcome.
func (t *tries) do(ctx context.Context, what string, now func() time.Time, attempt func(context.Context) error) error {
	t.mu.Lock()
	if x := t.of[what]; x != nil {
		select {
		case <-x.done:
			if left := x.until.Sub(now()); left > 0 && left <= tryAgain {
				t.mu.Unlock()
				return remembered{x.err}
			}
		default:
			t.mu.Unlock()
			select {
			case <-x.done:
				if x.err != nil {
					return remembered{x.err}
				}
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	x := &try{done: make(chan struct{})}
	if t.of == nil {
		t.of = map[string]*try{}
	}
	t.of[what] = x
	t.mu.Unlock()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryFor)
	defer cancel()
	err := attempt(within)
	t.mu.Lock()
	defer t.mu.Unlock()
	if x.err = err; err != nil {
		x.until = now().Add(tryAgain)
	} else {
		delete(t.of, what)
	}
	close(x.done)
	return err
}

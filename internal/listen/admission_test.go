package listen

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// few admits so many connections at once.
type few struct {
	mu    sync.Mutex
	open  int
	bound int
	shed  int
}

func (f *few) Accept(netip.Addr) diag.Code {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open >= f.bound {
		f.shed++
		return diag.OverloadConnections
	}
	f.open++
	return 0
}

func (f *few) Release(netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
}

func (f *few) counts() (open, shed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open, f.shed
}

// TestAdmission bounds the connections of all sockets together, and lets others in when some have gone.
func TestAdmission(t *testing.T) {
	conns, refused := make(chan *Conn, 4), make(chan string, 4)
	bound := &few{bound: 1}
	s := NewSet(Options{Handle: func(c *Conn) { conns <- c }, Refused: func(c *Conn, code diag.Code) { refused <- c.Spec().Name + " " + code.String() }, Admission: bound})
	defer s.Close()
	p := s.Prepare(context.Background(), []Spec{{Name: "a", Address: "127.0.0.1:0"}, {Name: "b", Address: "127.0.0.1:0"}})
	p.Commit()
	dial := func(i int) net.Conn {
		c, err := net.Dial("tcp", p.Results[i].Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial(0)
	first := <-conns
	second := dial(1)
	if got := <-refused; got != "b HK4402" {
		t.Errorf("refused: %s", got)
	}
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("the connection was not closed")
	}
	if n := s.Open("b"); n != 0 {
		t.Errorf("%d connections of b are open", n)
	}
	first.Close()
	dial(1)
	(<-conns).Close()
	if open, shed := bound.counts(); open != 0 || shed != 1 {
		t.Errorf("%d open, %d shed", open, shed)
	}
}

// TestFlood connects far more often than the bound allows: what is held never exceeds it, every
// connection is served or refused, and the count is right afterwards.
func TestFlood(t *testing.T) {
	const bound, flood = 8, 400
	bounds := &few{bound: bound}
	var mu sync.Mutex
	held, most, served, refused := 0, 0, 0, 0
	release := make(chan struct{})
	s := NewSet(Options{Admission: bounds, Refused: func(*Conn, diag.Code) { mu.Lock(); refused++; mu.Unlock() }, Handle: func(c *Conn) {
		mu.Lock()
		served, held = served+1, held+1
		most = max(most, held)
		mu.Unlock()
		<-release
		mu.Lock()
		held--
		mu.Unlock()
		c.Close()
	}})
	p := s.Prepare(context.Background(), []Spec{{Name: "a", Address: "127.0.0.1:0"}})
	p.Commit()
	addr := p.Results[0].Addr.String()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range flood / 8 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
			}
		})
	}
	all.Wait()
	for until := time.Now().Add(5 * time.Second); ; {
		mu.Lock()
		n := served + refused
		mu.Unlock()
		if n == flood || time.Now().After(until) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(release)
	s.Close()
	mu.Lock()
	defer mu.Unlock()
	if served != bound || most > bound || refused != flood-bound {
		t.Errorf("%d served, at most %d at once, %d refused", served, most, refused)
	}
}

// TestOnWait tells before every read from the network while the handshake runs, not of peeked bytes.
func TestOnWait(t *testing.T) {
	here, there := pair(t)
	n := 0
	here.OnWait(func() { n++ })
	here.pending = []byte("x")
	_, _ = here.Read(make([]byte, 9))
	if n != 0 {
		t.Error("told of a read that does not wait")
	}
	_, _ = there.Write([]byte("y"))
	_, _ = here.Read(make([]byte, 9))
	if n != 1 {
		t.Errorf("told %d times", n)
	}
	here.HandshakeDone()
	_, _ = there.Write([]byte("z"))
	if _, _ = here.Read(make([]byte, 9)); n != 1 {
		t.Error("told after the handshake")
	}
}

package listen

import (
	"context"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKeepAliveIsInherited looks at what an accepted connection has from its socket.
func TestKeepAliveIsInherited(t *testing.T) {
	got := make(chan *Conn, 1)
	set := NewSet(Options{Handle: func(c *Conn) { got <- c }, KeepAlive: 77 * time.Second})
	plan := set.Prepare(context.Background(), []Spec{{Name: "*:1", Address: "127.0.0.1:0"}})
	if err := plan.Results[0].Err; err != nil {
		t.Fatal(err)
	}
	plan.Commit()
	defer set.Close()
	client, err := net.Dial("tcp", plan.Results[0].Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c := <-got
	defer c.Close()
	raw, err := c.TCP().SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		for _, o := range []struct{ level, option, want int }{{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 77},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4}, {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}} {
			if n, err := unix.GetsockoptInt(int(fd), o.level, o.option); n != o.want || err != nil {
				t.Errorf("option %d/%d is %d, %v, want %d", o.level, o.option, n, err, o.want)
			}
		}
	})
}

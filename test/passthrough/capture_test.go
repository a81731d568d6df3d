package passthrough

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/test/program"
)

// inNamespace runs f in a network namespace of its own. Sockets that f makes on its goroutine belong to it, and
// so do programs that it starts; the thread ends with the test.
func inNamespace(t *testing.T, f func(run func(program string, args ...string))) {
	t.Helper()
	ip, nft := program.Find(t, "ip"), program.Find(t, "nft")
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the runtime throws the thread away
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("a network namespace needs root: %v", err)
			return
		}
		f(func(program string, args ...string) {
			t.Helper()
			path := map[string]string{"ip": ip, "nft": nft}[program]
			if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
				t.Errorf("%s %s: %v: %s", program, strings.Join(args, " "), err, out)
			}
		})
	}()
	<-done
}

// captured opens a listening socket and returns its address with the connections.
func captured(t *testing.T, spec listen.Spec) (netip.AddrPort, chan *listen.Conn) {
	t.Helper()
	got := make(chan *listen.Conn, 1)
	set := listen.NewSet(listen.Options{Handle: func(c *listen.Conn) { got <- c }})
	plan := set.Prepare(context.Background(), []listen.Spec{spec})
	if err := plan.Results[0].Err; err != nil {
		t.Error(err)
		plan.Abort()
		return netip.AddrPort{}, nil
	}
	plan.Commit()
	t.Cleanup(set.Close)
	return plan.Results[0].Addr.(*net.TCPAddr).AddrPort(), got
}

// connect connects and returns what the listener saw.
func connect(t *testing.T, to string, got chan *listen.Conn) string {
	t.Helper()
	d := net.Dialer{Timeout: 3 * time.Second}
	c, err := d.Dial("tcp", to)
	if err != nil {
		t.Errorf("connect to %s: %v", to, err)
		return ""
	}
	defer c.Close()
	select {
	case c := <-got:
		defer c.Close()
		dst, ok := c.OriginalDestination() // on this thread: which addresses are the machine's depends on it
		return fmt.Sprint(dst, " ", ok)
	case <-time.After(3 * time.Second):
		t.Errorf("a connection to %s did not arrive", to)
	}
	return ""
}

// TestCapture has the kernel bring connections to a listener and asks for their destination, as docs/passthrough.md
// has the rules.
func TestCapture(t *testing.T) {
	t.Run("redirect", func(t *testing.T) {
		inNamespace(t, func(run func(string, ...string)) {
			run("ip", "link", "set", "lo", "up")
			run("ip", "route", "add", "203.0.113.0/24", "dev", "lo")
			run("ip", "-6", "route", "add", "2001:db8::/32", "dev", "lo")
			addr, got := captured(t, listen.Spec{Name: "*:15001", Address: "[::]:0", Port: 15001})
			if got == nil {
				return
			}
			run("nft", fmt.Sprintf("add table inet hakone; add chain inet hakone output { type nat hook output priority -100; }; add rule inet hakone output tcp dport { 80, 443 } redirect to :%d", addr.Port()))
			for to, want := range map[string]string{
				"203.0.113.5:443":                        "203.0.113.5:443 true",
				"203.0.113.9:80":                         "203.0.113.9:80 true",
				"[2001:db8::7]:443":                      "[2001:db8::7]:443 true",
				fmt.Sprintf("127.0.0.1:%d", addr.Port()): "invalid AddrPort false",
				fmt.Sprintf("[::1]:%d", addr.Port()):     "invalid AddrPort false",
			} {
				if s := connect(t, to, got); s != want {
					t.Errorf("%s was seen as %q, want %q", to, s, want)
				}
			}
		})
	})
	t.Run("tproxy", func(t *testing.T) {
		inNamespace(t, func(run func(string, ...string)) {
			run("ip", "link", "set", "lo", "up")
			run("ip", "addr", "add", "10.9.9.1/32", "dev", "lo")
			run("ip", "route", "add", "203.0.113.0/24", "dev", "lo", "src", "10.9.9.1")
			run("ip", "rule", "add", "fwmark", "1", "lookup", "100")
			run("ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo", "table", "100")
			addr, got := captured(t, listen.Spec{Name: "*:15001", Address: "0.0.0.0:0", Port: 15001, Transparent: true})
			if got == nil {
				return
			}
			port := addr.Port()
			run("nft", fmt.Sprintf("add table ip hakone; add chain ip hakone output { type route hook output priority mangle; }; add rule ip hakone output ip daddr 203.0.113.0/24 tcp dport { 80, 443, %d } meta mark set 1;"+
				"add chain ip hakone pre { type filter hook prerouting priority mangle; }; add rule ip hakone pre meta mark 1 meta l4proto tcp tproxy to :%d", port, port))
			for to, want := range map[string]string{
				"203.0.113.5:443":                   "203.0.113.5:443 true",
				fmt.Sprintf("203.0.113.5:%d", port): fmt.Sprintf("203.0.113.5:%d true", port), // the listener's port, another machine
				fmt.Sprintf("10.9.9.1:%d", port):    "invalid AddrPort false",
				fmt.Sprintf("127.0.0.1:%d", port):   "invalid AddrPort false",
			} {
				if s := connect(t, to, got); s != want {
					t.Errorf("%s was seen as %q, want %q", to, s, want)
				}
			}
		})
	})
}

//go:build e2e

package hostile

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hakone-gateway/hakone/test/program"
)

// sclient runs openssl s_client, types lines at it, and ends it when the time is over. It returns what was printed.
func (a *arena) sclient(until time.Time, line string, pause time.Duration, args ...string) string {
	cmd := exec.Command(program.Find(a.t, "openssl"), append([]string{"s_client", "-connect", a.g.Addr(443), "-bind", attacker + ":0", "-servername", host, "-alpn", "h2"}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err != nil {
		a.t.Error(err)
		return ""
	}
	if err := cmd.Start(); err != nil {
		a.t.Error(err)
		return ""
	}
	stop := time.AfterFunc(time.Until(until), func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	for time.Now().Before(until) {
		if _, err := io.WriteString(in, line); err != nil {
			break // sent away
		}
		time.Sleep(pause)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	return out.String()
}

// renegotiate asks for a new handshake within a connection of TLS 1.2, again and again.
func renegotiate(a *arena, until time.Time) {
	for time.Now().Before(until) {
		text := a.sclient(until, "R\n", 20*time.Millisecond, "-tls1_2")
		if strings.Count(text, "RENEGOTIATING") > 1 && strings.Count(text, "verify return") > 2 {
			a.t.Errorf("a renegotiation went through\n%s", program.Tail(text, 2000))
		}
	}
}

// keyUpdate changes keys as fast as s_client takes the command.
func keyUpdate(a *arena, until time.Time) {
	for time.Now().Before(until) {
		a.sclient(until, "K\n", time.Millisecond, "-tls1_3")
	}
}

// hold opens connections from addresses with a given first text, holds them and closes them at the end.
func (a *arena) hold(until time.Time, n int, address func(i int) string, text string) {
	var mu sync.Mutex
	var open []net.Conn
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := worker; i < n && time.Now().Before(until); i += 4 {
				c := a.dial(address(i), 443)
				if c == nil {
					continue
				}
				_, _ = io.WriteString(c, text) // it may have been shed
				mu.Lock()
				open = append(open, c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	time.Sleep(time.Until(until))
	for _, c := range open {
		c.Close()
	}
}

// silent connects and says nothing.
func silent(a *arena, until time.Time) {
	a.hold(until, 500, func(int) string { return attacker }, "")
}

// halfHandshakes sends the first bytes of a ClientHello.
func halfHandshakes(a *arena, until time.Time) {
	a.hold(until, 500, func(int) string { return attacker }, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
}

// connections opens a thousand, from so many addresses.
func connections(addresses int) func(*arena, time.Time) {
	return func(a *arena, until time.Time) {
		a.hold(until, 1000, func(i int) string { return fmt.Sprintf("127.1.0.%d", 1+i%addresses) }, "")
	}
}

// slowhttptest runs the program of that name for as long as an attack lasts.
func slowhttptest(args ...string) func(*arena, time.Time) {
	return func(a *arena, until time.Time) {
		seconds := max(4, int(time.Until(until).Seconds()+0.5))
		all := append([]string{"-c", "300", "-r", "200", "-i", "10", "-l", strconv.Itoa(seconds), "-p", "3", "-u", "http://" + a.g.Addr(80) + "/bytes/3000000"}, args...)
		r := program.Run(a.t, program.Command{Path: program.Find(a.t, "slowhttptest"), Args: all, Limit: time.Duration(seconds)*time.Second + 30*time.Second})
		if lastStatus(r.Out) != "YES" {
			a.t.Errorf("slowhttptest says that the service was not available, exit %d\n%s", r.Code, program.Tail(r.Out+r.Err, 1500))
		}
	}
}

// lastStatus is what slowhttptest said last of the service.
func lastStatus(out string) string {
	out = regexp.MustCompile(`\x1b\[[0-9;]*[mHJ]`).ReplaceAllString(out, "")
	all := regexp.MustCompile(`service available:\s*(\w+)`).FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1][1]
}

// h2load runs a bounded load, all of which must be answered.
func h2load(args ...string) func(*arena, time.Time) {
	return func(a *arena, _ time.Time) {
		r := program.Run(a.t, program.Command{Path: program.Find(a.t, "h2load"), Args: append(args, "--connect-to="+a.g.Addr(443), "https://"+host+"/hello")})
		m := regexp.MustCompile(`status codes: (\d+) 2xx`).FindStringSubmatch(r.Out)
		if r.Code != 0 || m == nil || m[1] != "20000" {
			a.t.Errorf("h2load: want 20000 answers, exit %d\n%s", r.Code, program.Tail(r.Out+r.Err, 1500))
		}
	}
}

// Package testnet makes small networks for tests out of network namespaces: hosts with an address each
// on one Ethernet, so that programs can have the ports and addresses that a document gives them. It needs
// root and ends the test with the reason without it; everything is removed when the test ends.
//
// Begin reading at New.
package testnet

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/program"
)

// Net is one network. Its hosts see each other, and nothing else.
type Net struct {
	tb    testing.TB
	ip    string // the program
	id    string
	hosts int
}

// Host is one member of a Net.
type Host struct {
	Address string // IPv4
	space   string
	net     *Net
}

// New makes a network without hosts.
func New(tb testing.TB) *Net {
	tb.Helper()
	n := &Net{tb: tb, ip: program.Find(tb, "ip"), id: fmt.Sprintf("hk%06x", rand.IntN(1<<24))}
	n.make(n.id)
	n.run("-n", n.id, "link", "add", "bridge", "type", "bridge")
	n.run("-n", n.id, "link", "set", "bridge", "up")
	return n
}

// make makes a namespace that goes when the test ends.
func (n *Net) make(space string) {
	n.tb.Helper()
	n.run("netns", "add", space)
	n.tb.Cleanup(func() { _ = exec.Command(n.ip, "netns", "del", space).Run() })
	n.run("-n", space, "link", "set", "lo", "up")
}

// Host adds a host. Addresses are counted from 10.203.0.1.
func (n *Net) Host() *Host {
	n.tb.Helper()
	n.hosts++
	h := &Host{Address: fmt.Sprintf("10.203.0.%d", n.hosts), space: fmt.Sprintf("%s-%d", n.id, n.hosts), net: n}
	n.make(h.space)
	port := fmt.Sprintf("port%d", n.hosts)
	n.run("-n", n.id, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", h.space)
	n.run("-n", n.id, "link", "set", port, "master", "bridge", "up")
	n.run("-n", h.space, "addr", "add", h.Address+"/24", "dev", "eth0")
	n.run("-n", h.space, "link", "set", "eth0", "up")
	return h
}

// On returns the command as it is run on the host.
func (h *Host) On(c program.Command) program.Command {
	c.Args = append([]string{"netns", "exec", h.space, c.Path}, c.Args...)
	c.Path = h.net.ip
	return c
}

// Prefix is what stands before a command line that is to run on the host.
func (h *Host) Prefix() []string { return []string{h.net.ip, "netns", "exec", h.space} }

// Names gives the host a table of names, in the form of /etc/hosts, for programs that are started after it.
func (h *Host) Names(table string) {
	h.net.tb.Helper()
	dir := "/etc/netns/" + h.space
	if err := os.MkdirAll(dir, 0o755); err != nil {
		h.net.tb.Fatalf("names of %s: %v", h.space, err)
	}
	h.net.tb.Cleanup(func() { os.RemoveAll(dir) })
	for file, text := range map[string]string{"hosts": "127.0.0.1 localhost\n" + table, "resolv.conf": "# no name servers\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			h.net.tb.Fatalf("names of %s: %v", h.space, err)
		}
	}
}

func (n *Net) run(args ...string) {
	n.tb.Helper()
	if out, err := exec.Command(n.ip, args...).CombinedOutput(); err != nil {
		n.tb.Fatalf("ip %s: %v: %s (network namespaces need root)", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
}

//go:build e2e

package egress

import (
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testnet"
)

// on runs a program on a host and fails the test if that fails.
func (w *world) on(h *testnet.Host, line string) {
	w.Helper()
	words := strings.Fields(line)
	if r := program.Run(w, h.On(program.Command{Path: program.Find(w, words[0]), Args: words[1:]})); r.Code != 0 {
		w.Fatalf("%s: %s", line, r.Err)
	}
}

// router makes the gateway's host the way to addresses of others, and lets the kernel bring it what goes to ports 80 and 443
// there.
func (w *world) router(mode string, others ...string) {
	w.Helper()
	w.on(w.hakone, "sysctl -qw net.ipv4.ip_forward=1")
	for _, a := range others {
		w.on(w.workload, "ip route add "+a+"/32 via "+w.hakone.Address)
	}
	switch mode {
	case "Transparent":
		w.on(w.hakone, "nft add table ip hakone")
		w.on(w.hakone, "nft add chain ip hakone pre { type nat hook prerouting priority -100 ; }")
		w.on(w.hakone, "nft add rule ip hakone pre ip daddr != "+w.hakone.Address+" tcp dport { 80, 443 } redirect to :3129")
	case "TProxy":
		w.on(w.hakone, "ip rule add fwmark 1 lookup 100")
		w.on(w.hakone, "ip route add local 0.0.0.0/0 dev lo table 100")
		w.on(w.hakone, "nft add table ip hakone")
		w.on(w.hakone, "nft add chain ip hakone prerouting { type filter hook prerouting priority mangle ; }")
		w.on(w.hakone, "nft add rule ip hakone prerouting ip daddr "+w.hakone.Address+" accept")
		w.on(w.hakone, "nft add rule ip hakone prerouting iifname eth0 ip saddr "+w.workload.Address+" meta l4proto tcp tcp dport { 80, 443 } meta mark set 1 tproxy to :3129")
	}
}

// taking is the ForwardProxy with a listener that takes captured connections.
func (w *world) taking(mode, more string) map[string]string {
	return map[string]string{"egress.yaml": strings.Replace(w.egress(), "  interception:\n", "  - {name: taken, port: 3129, mode: "+mode+"}\n  interception:\n", 1) + more}
}

// to runs curl on the workload's host, which believes that a name is at an address.
func (w *world) to(name, address string, args ...string) program.Result {
	w.Helper()
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	return program.Run(w, w.workload.On(program.Command{Path: program.Find(w, "curl"), Dir: w.dir,
		Args: append([]string{"-sS", "--max-time", "20", "--resolve", name + ":80:" + address, "--resolve", name + ":443:" + address}, args...)}))
}

// TestCaptured takes connections by REDIRECT and by TPROXY: to names that only the workload knows, to forged ones, and
// to addresses that a rule forbids whatever they are called.
func TestCaptured(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"Transparent", "TProxy"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t)
			inside, secret := w.net.Host(), w.net.Host()
			cert := w.public.Issue(testcaSpec("inside.test"))
			w.origin(inside, cert)
			w.origin(secret, cert)
			w.router(mode, w.dest.Address, inside.Address, secret.Address)
			w.start(w.taking(mode, `    rules:
    - {action: Peek, acls: [step1]}
    - {action: Splice, acls: [through]}
    - {action: Bump, acls: [all]}
  acls:
  - {name: step1, type: at_step, values: [SslBump1]}
  - {name: through, type: "ssl::server_name", values: [pinned.test, hidden.test]}
  - {name: secret, type: dst, values: [`+secret.Address+`]}
  access:
  - {action: Deny, acls: [secret]}
  - {action: Allow, acls: [all]}
`))
			w.title(w.to("example.com", w.dest.Address, "http://example.com/"))
			w.title(w.to("example.com", w.dest.Address, "--cacert", "mesh.crt", "https://example.com/"))
			w.title(w.to("pinned.test", w.dest.Address, "--cacert", "public.crt", "https://pinned.test/"))
			if r := w.to("example.com", w.dest.Address, "--cacert", "public.crt", "https://example.com/"); r.Code != 60 {
				t.Errorf("the connection was not taken: exit %d\n%s", r.Code, r.Err)
			}

			// Names that the gateway cannot look up.
			w.title(w.to("inside.test", inside.Address, "http://inside.test/"))
			w.title(w.to("inside.test", inside.Address, "--cacert", "mesh.crt", "https://inside.test/"))
			r := w.to("hidden.test", inside.Address, "-i", "--cacert", "mesh.crt", "https://hidden.test/")
			w.has("a name that nobody can verify does not keep the connection from being looked into", r.Out, `503`, `HK4521`)
			r = w.to("other.inside.test", inside.Address, "-i", "--cacert", "mesh.crt", "https://other.inside.test/")
			w.has("a name that the destination's certificate does not hold", r.Out, `503`, `HK4521`)

			// A known name with somebody else's address: the name counts.
			w.title(w.to("example.com", inside.Address, "--cacert", "mesh.crt", "https://example.com/"))
			w.has("a forged Host", w.to("example.com", secret.Address, "http://example.com/seen").Out, `host=example\.com plain`)

			// An address that a rule forbids, under names that lead nowhere.
			w.has("a forbidden address, plain", w.to("inside.test", secret.Address, "-i", "http://inside.test/").Out, `^HTTP/1.1 403`, `deny secret`)
			w.has("a forbidden address, bumped", w.to("inside.test", secret.Address, "-i", "--cacert", "mesh.crt", "https://inside.test/").Out, ` 403`, `deny secret`)
			w.has("a forbidden address, spliced", w.to("hidden.test", secret.Address, "-i", "--cacert", "mesh.crt", "https://hidden.test/").Out, ` 403`, `deny secret`)
			w.has("a connection to the listener itself", w.to("inside.test", w.hakone.Address, "-i", "http://"+w.hakone.Address+":3129/").Out, `^HTTP/1.1 400`, `HK4510`)
		})
	}
}

// TestCapturedMadeUpNames has a workload that may only get to one domain call addresses of its choice by names that it
// has made up under that domain.
func TestCapturedMadeUpNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	elsewhere := w.net.Host()
	w.origin(elsewhere, w.public.Issue(testcaSpec("elsewhere.test")))
	w.router("Transparent", w.dest.Address, elsewhere.Address)
	w.start(w.taking("Transparent", `    rules:
    - {action: Peek, acls: [step1]}
    - {action: Splice, acls: [through]}
    - {action: Bump, acls: [all]}
  acls:
  - {name: step1, type: at_step, values: [SslBump1]}
  - {name: through, type: "ssl::server_name", values: [.through.example.com]}
  - {name: ours, type: dstdomain, values: [.example.com]}
  access:
  - {action: Allow, acls: [ours]}
  - {action: Deny, acls: [all]}
`))
	w.title(w.to("example.com", w.dest.Address, "--cacert", "mesh.crt", "https://example.com/"))
	r := w.to("a.example.com", elsewhere.Address, "-i", "http://a.example.com/")
	w.has("plain", r.Out, `^HTTP/1.1 403`, `counts alone`)
	r = w.to("a.example.com", elsewhere.Address, "-i", "--cacert", "mesh.crt", "https://a.example.com/")
	w.has("looked into", r.Out, ` 503`, `HK4521`)
	r = w.to("a.through.example.com", elsewhere.Address, "-i", "--cacert", "mesh.crt", "https://a.through.example.com/")
	w.has("not spliced by that name", r.Out, ` 503`, `HK4521`)
}

// TestCapturedIPv6 takes connections over IPv6.
func TestCapturedIPv6(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i, h := range []*testnet.Host{w.workload, w.hakone, w.dest} {
		w.on(h, "ip -6 addr add fd00:203::"+string(rune('1'+i))+"/64 dev eth0 nodad")
	}
	w.on(w.hakone, "sysctl -qw net.ipv6.conf.all.forwarding=1")
	w.on(w.workload, "ip -6 route add fd00:203::3/128 via fd00:203::2")
	w.on(w.hakone, "nft add table ip6 hakone")
	w.on(w.hakone, "nft add chain ip6 hakone pre { type nat hook prerouting priority -100 ; }")
	w.on(w.hakone, "nft add rule ip6 hakone pre ip6 daddr fd00:203::3 tcp dport { 80, 443 } redirect to :3129")
	w.hakone.Names("fd00:203::3 example.com\n")
	w.start(w.taking("Transparent", ""))
	w.title(w.to("example.com", "fd00:203::3", "http://example.com/"))
	w.title(w.to("example.com", "fd00:203::3", "--cacert", "mesh.crt", "https://example.com/"))
	w.title(w.to("other.test", "fd00:203::3", "--cacert", "mesh.crt", "https://other.test/")) // unknown to the gateway
}

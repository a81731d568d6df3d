//go:build linux

package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// Squid as its experts set it up for one core, and the same of Hakone. Each setting that is not a default is there
// because Squid is faster or does more nearly the same work with it:
//
//   - one worker; made certificates are kept in memory only (the file of security_file_certgen is rewritten with each);
//     all its helpers are there from the start;
//   - the access log through a buffer, written by the process itself;
//   - the same bytes of memory for answers, and the largest object that Hakone keeps by default;
//   - one session ticket a handshake and AES-128-GCM, by openssl.cnf, as the other peers have it;
//   - destinations are verified, against the same CA. Both resolve names at the same server.

const squidConf = `workers 1
pid_filename {{.Own}}/squid.pid
cache_log {{.Own}}/cache.log
coredump_dir {{.Own}}
netdb_filename none
visible_hostname squid.bench.test
shutdown_lifetime 0 seconds
logfile_rotate 0
max_filedescriptors 20000
pinger_enable off
dns_nameservers {{.NameServer}}
hosts_file none
buffered_logs on
access_log {{if .AccessLog}}stdio:{{.Own}}/access.log buffer-size=64KB{{else}}none{{end}}
cache_store_log none
cache_mem 256 MB
maximum_object_size_in_memory 4 MB
memory_cache_shared off
memory_pools on
client_persistent_connections on
server_persistent_connections on
client_idle_pconn_timeout 5 minutes
quick_abort_min 0 KB
half_closed_clients off
sslcrtd_program /usr/lib/squid/security_file_certgen
sslcrtd_children 4 startup=4 idle=1
tls_outgoing_options cafile={{.PKI.CA}} min-version=1.2
acl step1 at_step SslBump1
acl spliced ssl::server_name .splice.test
acl first myportname first firstrsa
ssl_bump bump step1 first
ssl_bump peek step1
ssl_bump splice spliced
ssl_bump bump all
http_access allow all
http_port 127.0.0.1:{{.Doors.MTLS}} name=first ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=64MB tls-cert={{.Egress.PKI.ECDSA}} tls-key={{.Egress.PKI.ECDSAKey}}
http_port {{.SquidOther}}:{{.Doors.MTLSEnd}} name=firstrsa ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=64MB tls-cert={{.Egress.PKI.RSA}} tls-key={{.Egress.PKI.RSAKey}}
http_port 127.0.0.1:{{.Doors.ECDSA}} ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=64MB tls-cert={{.Egress.PKI.ECDSA}} tls-key={{.Egress.PKI.ECDSAKey}}
http_port 127.0.0.1:{{.Doors.RSA}} ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=64MB tls-cert={{.Egress.PKI.RSA}} tls-key={{.Egress.PKI.RSAKey}}
`

// squidOpenSSL is openssl.cnf for Squid.
const squidOpenSSL = `openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = default
[default]
NumTickets = 1
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
`

// squidOther is the address of Squid's fourth door: it tells made certificates apart by the address that it listens on, not
// the port, and would show those of the other CA.
const squidOther = "127.0.0.2"

// SquidOther is for templates.
func (c configData) SquidOther() string { return squidOther }

// address is where clients find a door.
func (t *target) address(door int) string {
	if t.name == squid && door == t.MTLSEnd {
		return fmt.Sprintf("%s:%d", squidOther, door)
	}
	return fmt.Sprintf("127.0.0.1:%d", door)
}

// NameServer is for templates.
func (c configData) NameServer() string { return nameServer }

// squidCommand writes Squid's configuration and fills in how to start it.
func squidCommand(c *command, data configData) error {
	conf := filepath.Join(data.Own, "squid.conf")
	if err := render(conf, squidConf, data); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(data.Own, "openssl.cnf"), []byte(squidOpenSSL), 0o644); err != nil {
		return err
	}
	// Squid becomes its own user.
	proxy, err := user.Lookup("proxy")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(proxy.Uid)
	gid, _ := strconv.Atoi(proxy.Gid)
	if err := os.Chown(data.Own, uid, gid); err != nil {
		return fmt.Errorf("W11 needs root: %w", err)
	}
	for _, file := range []string{data.PKI.CA, data.Egress.PKI.ECDSA, data.Egress.PKI.ECDSAKey, data.Egress.PKI.RSA, data.Egress.PKI.RSAKey} {
		if err := os.Chown(file, uid, gid); err != nil {
			return err
		}
	}
	if err := os.Chmod(data.Dir, 0o711); err != nil {
		return err
	}
	c.Env = []string{"OPENSSL_CONF=" + filepath.Join(data.Own, "openssl.cnf")}
	c.Args = []string{program(squid), "-N", "-f", conf}
	return nil
}

// resolving runs args in a mount namespace whose only name server is the benchmark's, and nothing else of it is different.
func resolving(own string, args []string) ([]string, error) {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(own, "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver "+nameServer+"\n"), 0o644); err != nil {
		return nil, err
	}
	return append([]string{unshare, "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, file}, args...), nil
}

// hakoneEgress writes the manifests of the two ports and returns the arguments that map them.
func hakoneEgress(c configData, folder string) ([]string, error) {
	var b strings.Builder
	read := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			panic(err) // written by this process
		}
		return base64.StdEncoding.EncodeToString(text)
	}
	fmt.Fprintf(&b, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: roots}\nbinaryData:\n  ca.crt: %s\n", read(c.PKI.CA))
	for i, ca := range []struct{ name, cert, key string }{{"ecdsa", c.Egress.PKI.ECDSA, c.Egress.PKI.ECDSAKey}, {"rsa", c.Egress.PKI.RSA, c.Egress.PKI.RSAKey}} {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\ndata:\n  tls.crt: %s\n  tls.key: %s\n", ca.name, read(ca.cert), read(ca.key))
		fmt.Fprintf(&b, hakoneForward, ca.name, 3128+i, ca.name, hakonePeek)
		fmt.Fprintf(&b, hakoneForward, ca.name+"-first", 3130+i, ca.name, "{action: Bump, acls: [all]}")
	}
	if err := os.WriteFile(filepath.Join(folder, "egress.yaml"), []byte(b.String()), 0o600); err != nil {
		return nil, err
	}
	return []string{"--port-map", fmt.Sprintf("3128=%d,3129=%d,3130=%d,3131=%d", c.Doors.ECDSA, c.Doors.RSA, c.Doors.MTLS, c.Doors.MTLSEnd)}, nil
}

// hakoneForward is a port's ForwardProxy. Its arguments are its name, the port, the CA's name and the rules of interception.
const hakoneForward = `---
apiVersion: hakone.dev/v1alpha1
kind: ForwardProxy
metadata: {name: %[1]s}
spec:
  listeners: [{name: proxy, port: %[2]d}]
  acls:
  - {name: step1, type: at_step, values: [SslBump1]}
  - {name: spliced, type: "ssl::server_name", values: [.splice.test]}
  access: [{action: Allow, acls: [all]}]
  interception:
    caRef: {name: %[3]s}
    memoryBytes: 67108864
    rules: [%[4]s]
  upstream:
    caRef: {kind: ConfigMap, name: roots, key: ca.crt}
    systemRoots: false
    allowLoopback: true
  cache: {memoryBytes: 268435456}
`

const hakonePeek = "{action: Peek, acls: [step1]}, {action: Splice, acls: [spliced]}, {action: Bump, acls: [all]}"

// Package squid runs Debian's Squid with the configuration of the document on an intercepting proxy, as the
// peer of tests: its paths led into a folder of the test, and nothing else changed.
//
// Begin reading at Start.
package squid

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "embed"

	"github.com/hakone-gateway/hakone/test/program"
	"github.com/hakone-gateway/hakone/test/testca"
)

// Document is squid.conf as the document has it.
//
//go:embed squid.conf
var Document string

// Squid is a running proxy.
type Squid struct {
	Dir string // /etc/squid, /var/lib/squid and logs of this one
	CA  *testca.Pair

	tb     testing.TB
	stderr func() string
	more   string // Options.More, with what Start adds
	run    program.Command
	ports  []string // of http_port and https_port
}

// Options say how to start.
type Options struct {
	On     func(program.Command) program.Command // where to run; nil: here
	Config string                                // instead of Document
	More   string                                // directives before it, such as auth_param
	CA     *testca.Pair                          // of bump.crt and bump.key; nil: made as the document does, with openssl
	Hosts  string                                // of hosts_file
	Roots  []byte                                // PEM of the CAs of destinations, which stand for the system's
	Files  map[string]string                     // further files of /etc/squid
}

// Start starts Squid and waits until it has opened its port. It is ended with the test.
func Start(tb testing.TB, o Options) *Squid {
	tb.Helper()
	dir, err := os.MkdirTemp("", "squid")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		os.RemoveAll(dir)
		left, _ := filepath.Glob("/dev/shm/" + filepath.Base(dir) + "-*")
		for _, segment := range left {
			os.Remove(segment)
		}
	})
	s := &Squid{Dir: dir, CA: o.CA, tb: tb}
	s.certificates(o)
	for name, text := range o.Files {
		s.write(name, text)
	}
	s.write("hosts", "127.0.0.1 localhost\n"+o.Hosts)
	if o.Roots != nil {
		s.write("roots.pem", string(o.Roots))
		o.More = "tls_outgoing_options cafile=/etc/squid/roots.pem\n" + o.More
	}
	s.more = o.More
	config := o.Config
	if config == "" {
		config = Document
	}
	s.write("squid.conf", s.Localised(o.More+"\n"+config)+s.own())
	s.makeDatabase()
	s.handOver()
	on := o.On
	if on == nil {
		on = func(c program.Command) program.Command { return c }
	}
	bin := program.Find(tb, "squid")
	// Its name is that of segments of shared memory: two of one name fail when they start at once.
	own := []string{"-N", "-n", filepath.Base(dir), "-f", dir + "/squid.conf"}
	if out := program.Run(tb, program.Command{Path: bin, Args: append(own, "-z")}); out.Code != 0 { // as its unit does
		tb.Fatalf("squid -z: %s%s", out.Out, out.Err)
	}
	s.run = on(program.Command{Path: bin, Args: own})
	for _, m := range regexp.MustCompile(`(?m)^https?_port (?:\S+:)?(\d+)`).FindAllStringSubmatch(o.More+"\n"+config, -1) {
		s.ports = append(s.ports, m[1])
	}
	s.Restart()
	return s
}

// Stop kills it.
func (s *Squid) Stop() {
	s.tb.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(string(s.read("squid.pid"))))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		s.tb.Fatalf("squid: stop: %v", err)
	}
	for _, file := range []string{"squid.pid", "cache.log"} {
		_ = os.Remove(filepath.Join(s.Dir, file))
	}
}

// Restart starts it again after Stop.
func (s *Squid) Restart() {
	s.tb.Helper()
	s.stderr = program.Start(s.tb, s.run)
	s.await("it listens", s.listens)
}

// listens reports whether the ports are open. The log says so before they are.
func (s *Squid) listens() bool {
	pid, err := os.ReadFile(filepath.Join(s.Dir, "squid.pid"))
	if err != nil {
		return false
	}
	open := ""
	for _, table := range []string{"tcp", "tcp6"} {
		b, _ := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/net/" + table)
		open += string(b)
	}
	for _, port := range s.ports {
		n, _ := strconv.Atoi(port)
		if !regexp.MustCompile(fmt.Sprintf(`:%04X [0-9A-F]+:0000 0A`, n)).MatchString(open) {
			return false
		}
	}
	return true
}

// ChangeCA gives it another CA to sign with, which it uses when it is started again.
func (s *Squid) ChangeCA(ca *testca.Pair) {
	s.tb.Helper()
	s.CA = ca
	s.write("bump.crt", string(ca.ChainPEM()))
	s.write("bump.key", string(ca.KeyPEM()))
	if err := os.RemoveAll(s.Dir + "/ssl_db"); err != nil {
		s.tb.Fatal(err)
	}
	s.makeDatabase()
	s.handOver()
}

func (s *Squid) makeDatabase() {
	s.tb.Helper()
	if out := program.Run(s.tb, program.Command{Path: "/usr/lib/squid/security_file_certgen", Args: []string{"-c", "-s", s.Dir + "/ssl_db", "-M", "20MB"}}); out.Code != 0 {
		s.tb.Fatalf("security_file_certgen: %s%s", out.Out, out.Err)
	}
}

// certificates makes bump.crt, bump.key and bump_dhparam.pem.
func (s *Squid) certificates(o Options) {
	if s.CA == nil {
		testca.OpenSSL(s.tb, s.Dir, "req", "-new", "-newkey", "rsa:2048", "-days", "3650", "-nodes", "-x509", "-subj", "/O=Company/CN=Company proxy", "-keyout", "bump.key", "-out", "bump.crt")
		s.CA = testca.ParsePair(s.tb, s.read("bump.crt"), s.read("bump.key"))
	} else {
		s.write("bump.crt", string(s.CA.ChainPEM()))
		s.write("bump.key", string(s.CA.KeyPEM()))
	}
	// The document makes 2048 bits with openssl dhparam, which takes minutes; the group of RFC 7919 is as good.
	testca.OpenSSL(s.tb, s.Dir, "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", "bump_dhparam.pem")
}

// Localised leads the paths of a configuration into the folder.
func (s *Squid) Localised(config string) string {
	return strings.NewReplacer(
		"/usr/lib64/squid/", "/usr/lib/squid/", "/var/lib/squid/ssl_db", s.Dir+"/ssl_db", "/etc/squid", s.Dir, "/var/spool/squid", s.Dir+"/spool",
	).Replace(config)
}

// own are the settings that a second Squid on a machine needs.
func (s *Squid) own() string {
	return strings.ReplaceAll(`
pid_filename DIR/squid.pid
access_log stdio:DIR/access.log
cache_log DIR/cache.log
hosts_file DIR/hosts
netdb_filename none
visible_hostname squid.corp.example
shutdown_lifetime 0 seconds
logfile_rotate 0
`, "DIR", s.Dir)
}

// handOver gives the folder to the user that Squid becomes.
func (s *Squid) handOver() {
	proxy, err := user.Lookup("proxy")
	if err != nil {
		s.tb.Fatal(err)
	}
	uid, _ := strconv.Atoi(proxy.Uid)
	gid, _ := strconv.Atoi(proxy.Gid)
	if err := os.MkdirAll(s.Dir+"/spool", 0o755); err != nil {
		s.tb.Fatal(err)
	}
	err = filepath.Walk(s.Dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, gid)
	})
	if err == nil {
		err = os.Chmod(s.Dir, 0o755)
	}
	if err != nil {
		s.tb.Fatalf("Squid's folder: %v (Squid needs root to become its own user)", err)
	}
}

// Reconfigure gives Squid another configuration and waits until it holds.
func (s *Squid) Reconfigure(config string) {
	s.tb.Helper()
	accepting := func() int {
		b, _ := os.ReadFile(s.Dir + "/cache.log")
		return strings.Count(string(b), "Accepting ")
	}
	before := accepting()
	s.write("squid.conf", s.Localised(s.more+"\n"+config)+s.own())
	pid, err := strconv.Atoi(strings.TrimSpace(string(s.read("squid.pid"))))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGHUP)
	}
	if err != nil {
		s.tb.Fatalf("squid: reconfigure: %v", err)
	}
	s.await("it accepts connections with another configuration", func() bool { return accepting() > before })
}

// Log returns the lines of access.log.
func (s *Squid) Log() []string {
	b, _ := os.ReadFile(s.Dir + "/access.log")
	return strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })
}

// AwaitLog waits for a line after the first skip ones that matches, and returns it.
func (s *Squid) AwaitLog(skip int, expression string) string {
	s.tb.Helper()
	re := regexp.MustCompile(expression)
	var found string
	s.await("access.log holds "+expression, func() bool {
		lines := s.Log()
		for _, line := range lines[min(skip, len(lines)):] {
			if re.MatchString(line) {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

func (s *Squid) await(what string, done func() bool) {
	s.tb.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			log, _ := os.ReadFile(s.Dir + "/cache.log")
			s.tb.Fatalf("squid: waited in vain until %s\n%s\n%s\n%s", what, strings.Join(s.Log(), "\n"), program.Tail(string(log), 3000), s.stderr())
		}
	}
}

func (s *Squid) read(name string) []byte {
	b, err := os.ReadFile(filepath.Join(s.Dir, name))
	if err != nil {
		s.tb.Fatal(err)
	}
	return b
}

func (s *Squid) write(name, text string) {
	s.tb.Helper()
	if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o644); err != nil {
		s.tb.Fatal(err)
	}
}

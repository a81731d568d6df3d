// Package server wires everything: it starts source, control loop, data plane, telemetry and admin,
// and stops them in order.
//
// It is the only package that knows both sides. Begin reading at Run.
package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/listen"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// ControllerName is what a GatewayClass names to be ours.
const ControllerName = "hakone.dev/gateway-controller"

// Version is the release.
const Version = "0.1.0"

// Config is everything that "hakone run" can be told.
type Config struct {
	Folders  []string
	Settings control.Settings

	Address string            // IP address that listeners bind; empty: all
	PortMap map[uint16]uint16 // declared port → bound port

	Admin          string // unix:PATH or HOST:PORT
	AdminFallback  bool   // if Admin is taken, use a socket of this process's own instead of failing
	AdminTokenFile string
	AdminCert      string
	AdminKey       string
	AdminClientCA  string

	SecretGrace  time.Duration
	DrainTimeout time.Duration
	Wait         bool
	AccessLog    AccessLog
	LogStore     LogStore
	TrustedNets  []string // CIDRs of proxies in front
	TrustedHops  int      // number of proxies in front, whatever their address
	ProxyHeader  []uint   // declared ports whose connections begin with a PROXY header
	GeoIPDB      string   // .mmdb with countries, for origin pools that steer by them; empty: none
	ForwardCert  string   // Envoy's forward_client_cert_details; empty: SANITIZE_SET
	Limits       Limits
	Authority    Authority
	Revocation   Revocation
	Logger       *slog.Logger

	// Tap sees every record beside the logs; the demo prints its live line from it. It may be nil.
	Tap telemetry.Sink
	// Ready is called once, when the first generation serves. It may be nil.
	Ready func(admin.Status)
}

// AccessLog says where and how requests are logged.
type AccessLog struct {
	Format string // json, envoy, istio, off
	File   string // path, or - for Stdout
	Stdout io.Writer
}

// Limits are the bounds and deadlines of the data side. Zero values mean the defaults that the flags
// show.
type Limits struct {
	MaxConnections    int
	MaxRequestHeader  int
	MaxRequestFields  int
	MaxResponseHeader int
	MaxRequestBody    int64
	HandshakeTimeout  time.Duration
	HeaderTimeout     time.Duration
	BodyIdleTimeout   time.Duration
	WriteTimeout      time.Duration
	IdleTimeout       time.Duration
	UpgradeIdle       time.Duration
	TCPIdle           time.Duration
	UpstreamIdle      time.Duration // negative: none
	WithdrawnGrace    time.Duration // negative: none
	RequestsPerConn   int

	MaxMemory     uint64 // bytes
	MaxTotal      int    // connections of all listeners
	MaxPerAddress int    // connections; negative: no bound
	MaxHandshakes int
	IdleRecords   listen.IdleRecords
	HTTP2         mux.Limits    // of clients' connections, and in part of those to upstreams
	UpstreamPing  time.Duration // silence of an upstream with streams open after which it is asked for life; negative: never
}

// ConfigError is a fault in what the process was told: wrong usage rather than a failure.
type ConfigError struct {
	What, Cause, Fix string
}

// Error returns what and cause.
func (e *ConfigError) Error() string {
	if e.Cause == "" {
		return e.What
	}
	return e.What + ": " + e.Cause
}

// check refuses what cannot work before anything is started.
func (c *Config) check() error {
	for _, dir := range c.Folders {
		st, err := os.Stat(dir)
		if err != nil {
			return &ConfigError{"the configuration folder cannot be read", err.Error(), "correct --config"}
		}
		if !st.IsDir() {
			return &ConfigError{fmt.Sprintf("--config %s is no folder", dir), "", "name the folder that holds the manifests"}
		}
	}
	if c.Address != "" {
		if _, err := netip.ParseAddr(c.Address); err != nil {
			return &ConfigError{fmt.Sprintf("--address %q is no IP address", c.Address), "", "give an IP address such as 127.0.0.1"}
		}
	}
	if err := c.checkProxyHeader(); err != nil {
		return err
	}
	if _, err := parsePrefixes(c.TrustedNets); err != nil {
		return err
	}
	for _, b := range c.Bounds() {
		if err := b.check(); err != nil {
			return err
		}
	}
	switch ir.ForwardMode(c.ForwardCert) {
	case "", ir.ForwardSanitize, ir.ForwardOnly, ir.ForwardAppend, ir.ForwardSanitizeSet, ir.ForwardAlwaysOnly:
	default:
		return &ConfigError{fmt.Sprintf("--forward-client-cert %q is no mode", c.ForwardCert), "", "use SANITIZE, FORWARD_ONLY, APPEND_FORWARD, SANITIZE_SET or ALWAYS_FORWARD_ONLY"}
	}
	return nil
}

func parsePrefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			a, addrErr := netip.ParseAddr(s)
			if addrErr != nil {
				return nil, &ConfigError{fmt.Sprintf("--trusted-proxies %q is no CIDR", s), "", "write it as 10.0.0.0/8"}
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// adminAccess reads the files that open a TCP admin address to changes.
func (c *Config) adminAccess() (admin.Access, error) {
	var a admin.Access
	if c.AdminCert != "" {
		pair, err := tls.LoadX509KeyPair(c.AdminCert, c.AdminKey)
		if err != nil {
			return a, &ConfigError{"the admin certificate cannot be used", err.Error(), "correct --admin-cert and --admin-key"}
		}
		a.Certificate = &pair
	}
	if c.AdminClientCA != "" {
		b, err := os.ReadFile(c.AdminClientCA)
		if err != nil {
			return a, &ConfigError{"the admin client CA cannot be read", err.Error(), "correct --admin-client-ca"}
		}
		a.ClientCAs = x509.NewCertPool()
		if !a.ClientCAs.AppendCertsFromPEM(b) {
			return a, &ConfigError{"--admin-client-ca holds no certificate", "", "point it at a PEM file"}
		}
		if a.Certificate == nil {
			return a, &ConfigError{"--admin-client-ca needs TLS", "", "give --admin-cert and --admin-key too"}
		}
	}
	if c.AdminTokenFile != "" {
		b, err := os.ReadFile(c.AdminTokenFile)
		if err != nil {
			return a, &ConfigError{"the admin tokens cannot be read", err.Error(), "correct --admin-token-file"}
		}
		a.Tokens = map[string]string{}
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			role, token, ok := strings.Cut(line, ":")
			if !ok || token == "" || role != "viewer" && role != "operator" {
				return a, &ConfigError{"a line of --admin-token-file is no ROLE:TOKEN", "", "write operator:SECRET or viewer:SECRET"}
			}
			a.Tokens[token] = role
		}
	}
	return a, nil
}

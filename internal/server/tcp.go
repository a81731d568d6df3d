package server

import (
	"fmt"
	"math"

	"github.com/hakone-gateway/hakone/internal/tcpproxy"
)

// tcp returns the limits of connections that are not HTTP.
func (l Limits) tcp() tcpproxy.Limits {
	return tcpproxy.Limits{Idle: l.TCPIdle, Write: l.WriteTimeout}
}

// checkProxyHeader refuses what is no port.
func (c *Config) checkProxyHeader() error {
	for _, port := range c.ProxyHeader {
		if port < 1 || port > math.MaxUint16 {
			return &ConfigError{fmt.Sprintf("--proxy-protocol %d is no port", port), "", "name ports as Gateways declare them: --proxy-protocol 80,443"}
		}
	}
	return nil
}

// proxyHeader returns the ports, which checkProxyHeader has looked at.
func (c *Config) proxyHeader() []uint16 {
	var out []uint16
	for _, port := range c.ProxyHeader {
		out = append(out, uint16(port))
	}
	return out
}

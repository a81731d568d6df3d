package server

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestBounds gives each kind of flag values at and beyond its ends.
func TestBounds(t *testing.T) {
	bounds := func(set func(*Config)) error {
		var c Config
		set(&c)
		return c.check()
	}
	for _, tt := range []struct {
		name string
		set  func(*Config)
		want []string // words of the error; none if it is good
	}{
		{"nothing", func(*Config) {}, nil},
		{"fields", func(c *Config) { c.Limits.MaxRequestFields = -1 }, []string{"--max-request-fields -1 ", "0 for the default, or 1 to 2147483647"}},
		{"idle", func(c *Config) { c.Limits.IdleTimeout = -time.Second }, []string{"--idle-timeout -1s ", "or 1ms to 8760h"}},
		{"too long", func(c *Config) { c.Limits.IdleTimeout = 8761 * time.Hour }, []string{"--idle-timeout 8761h "}},
		{"header", func(c *Config) { c.Limits.HeaderTimeout = -1 }, []string{"--header-timeout -1ns "}},
		{"body", func(c *Config) { c.Limits.BodyIdleTimeout = time.Nanosecond }, []string{"--body-idle-timeout 1ns "}},
		{"write", func(c *Config) { c.Limits.WriteTimeout = -time.Second }, []string{"--write-timeout -1s "}},
		{"drain", func(c *Config) { c.DrainTimeout = -time.Second }, []string{"--drain-timeout -1s ", "0 for cutting them at once"}},
		{"hops", func(c *Config) { c.TrustedHops = -1 }, []string{"--trusted-hops -1 ", "0 for none"}},
		{"reset rate", func(c *Config) { c.Limits.HTTP2.ResetRate = -1 }, []string{"--http2-reset-rate -1 "}},
		{"no reset burst", func(c *Config) { c.Limits.HTTP2.ResetBurst = -1 }, nil},
		{"control burst", func(c *Config) { c.Limits.HTTP2.ControlBurst = -2 }, []string{"--http2-control-burst -2 ", "-1 for no bound"}},
		{"stream window", func(c *Config) { c.Limits.HTTP2.StreamWindow = 1 }, []string{"--http2-stream-window 1 ", "16KiB to 2147483647"}},
		{"least stream window", func(c *Config) { c.Limits.HTTP2.StreamWindow = 16 << 10 }, nil},
		{"connection window", func(c *Config) { c.Limits.HTTP2.ConnWindow = 1 << 10 }, []string{"--http2-connection-window 1KiB ", "64KiB to"}},
		{"greatest window", func(c *Config) { c.Limits.HTTP2.ConnWindow = 1 << 31 }, []string{"--http2-connection-window 2048MiB "}},
		{"connections", func(c *Config) { c.Limits.MaxConnections = -1 }, []string{"--max-connections -1 "}},
		{"per address", func(c *Config) { c.Limits.MaxPerAddress = -1 }, nil},
		{"memory", func(c *Config) { c.Limits.MaxMemory = 1 << 20 }, []string{"--max-memory 1MiB ", "64MiB and more"}},
		{"never asked", func(c *Config) { c.Limits.HTTP2.PingInterval = -1 }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := bounds(tt.set)
			var bad *ConfigError
			if tt.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.As(err, &bad) || bad.Fix == "" {
				t.Fatalf("%v", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q lacks %q", err, w)
				}
			}
		})
	}
}

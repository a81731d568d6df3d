package cli

import (
	"errors"
	"time"

	"github.com/spf13/pflag"

	"github.com/hakone-gateway/hakone/internal/http2/mux"
	"github.com/hakone-gateway/hakone/internal/server"
)

// registerLimits adds the flags for bounds and deadlines. Each refusal they cause has a code of its
// own, named in the usage text.
func registerLimits(f *pflag.FlagSet, l *server.Limits) {
	f.IntVar(&l.MaxConnections, "max-connections", 100_000, "open connections per listener (HK1107)")
	f.Var(bytesVar(&l.MaxMemory, 0), "max-memory", "heap and stacks of the process (HK4401)")
	f.IntVar(&l.MaxTotal, "max-total-connections", 0, "open connections of all listeners (HK4402)")
	f.IntVar(&l.MaxPerAddress, "max-connections-per-address", 0, "open connections of an IPv4 address or IPv6 /64 that is no trusted proxy (HK4403); -1 for no bound")
	f.IntVar(&l.MaxHandshakes, "max-handshakes", 0, "TLS handshakes in progress (HK4404)")
	f.Var(bytesVar(&l.MaxRequestHeader, 64<<10), "max-request-header", "bytes of a request head (HK4002)")
	f.IntVar(&l.MaxRequestFields, "max-request-fields", 128, "field lines of a request head (HK4003)")
	f.Var(bytesVar(&l.MaxResponseHeader, 64<<10), "max-response-header", "bytes of an upstream's response head (HK3210)")
	f.Var(bytesVar(&l.MaxRequestBody, 0), "max-request-body", "bytes of a request body (HK4010)")
	f.IntVar(&l.RequestsPerConn, "max-requests-per-connection", 0, "requests of one downstream connection")
	f.DurationVar(&l.HandshakeTimeout, "handshake-timeout", 10*time.Second, "TLS handshake (HK1104)")
	f.DurationVar(&l.HeaderTimeout, "header-timeout", server.DefaultHeaderTimeout, "request head, from its first byte (HK4201)")
	f.DurationVar(&l.BodyIdleTimeout, "body-idle-timeout", 60*time.Second, "silence within a body (HK4202)")
	f.DurationVar(&l.WriteTimeout, "write-timeout", 60*time.Second, "client takes no byte of the response (HK4204)")
	f.DurationVar(&l.IdleTimeout, "idle-timeout", server.DefaultIdleTimeout, "kept-alive connection without a request (HK4206)")
	l.WithdrawnGrace = 30 * time.Second
	f.Var((*optional)(&l.WithdrawnGrace), "withdrawn-grace", "what is in progress for a client whose certificate is not accepted any more (HK2304)")
	l.UpstreamIdle = 5 * time.Minute
	f.Var((*optional)(&l.UpstreamIdle), "upstream-idle-timeout", "silence of an upstream that owes an answer or more of it, but not to gRPC nor to bodies in HTTP/2 without content-length (HK4208)")
	f.DurationVar(&l.UpgradeIdle, "upgrade-idle-timeout", time.Hour, "upgraded connection without a byte (HK4207)")
	f.DurationVar(&l.TCPIdle, "tcp-idle-timeout", time.Hour, "connection of a TCP or TLS route without a byte, where the route has no bound of its own (HK4551)")
	f.IntVar(&l.IdleRecords.Burst, "tls-idle-record-burst", 100, "TLS records that carry nothing, such as KeyUpdate, that a client may send at once (HK1110)")
	f.IntVar(&l.IdleRecords.Rate, "tls-idle-record-rate", 10, "the same, per second in the long run (HK1110)")
	registerHTTP2(f, &l.HTTP2)
	l.UpstreamPing = mux.DefaultPingClient
	f.Var((*optional)(&l.UpstreamPing), "http2-upstream-ping-interval", "HTTP/2: silence with streams open after which an upstream is asked for life; servers of gRPC end connections that ask more often than every 5 minutes")
}

// registerHTTP2 adds the flags for HTTP/2 connections of clients; some hold for those to upstreams too.
func registerHTTP2(f *pflag.FlagSet, l *mux.Limits) {
	f.IntVar(&l.MaxStreams, "http2-max-streams", mux.DefaultMaxStreams, "HTTP/2: streams of a connection at once (HK4308)")
	f.Var(bytesVar(&l.StreamWindow, mux.DefaultStreamWindow), "http2-stream-window", "HTTP/2: bytes of a request body, or of an upstream's answer, that may wait to be passed on (HK4305)")
	f.Var(bytesVar(&l.ConnWindow, mux.DefaultConnWindow), "http2-connection-window", "HTTP/2: the same, of all streams of a connection (HK4305)")
	f.IntVar(&l.ResetBurst, "http2-reset-burst", mux.DefaultResetBurst, "HTTP/2: streams that cost us work for nothing, at once (HK4302); -1 for no bound")
	f.IntVar(&l.ResetRate, "http2-reset-rate", mux.DefaultResetRate, "HTTP/2: the same, per second in the long run (HK4302)")
	f.IntVar(&l.ControlBurst, "http2-control-burst", mux.DefaultControlBurst, "HTTP/2: frames that carry nothing, from clients or upstreams, at once (HK4303); -1 for no bound")
	f.IntVar(&l.ControlRate, "http2-control-rate", mux.DefaultControlRate, "HTTP/2: the same, per second in the long run (HK4303)")
	l.PingInterval, l.PingTimeout = mux.DefaultPingServer, mux.DefaultPingTimeout
	f.Var((*optional)(&l.PingInterval), "http2-ping-interval", "HTTP/2: silence with streams open after which the client is asked for life")
	f.Var((*optional)(&l.PingTimeout), "http2-ping-timeout", "HTTP/2: how long client or upstream may take to answer (HK4311)")
}

// addRanges adds to the usage of each flag what it may be besides its default.
func addRanges(f *pflag.FlagSet, c *server.Config) {
	for _, b := range c.Bounds() {
		f.Lookup(b.Flag).Usage += "; " + b.Usage()
	}
}

// optional is the value of a flag whose 0 means none, which Limits call negative.
type optional time.Duration

// Set implements pflag.Value.
func (o *optional) Set(text string) error {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil || d < 0:
		return errors.New("no duration")
	case d == 0:
		d = -1
	}
	*o = optional(d)
	return nil
}

// String implements pflag.Value.
func (o *optional) String() string { return max(time.Duration(*o), 0).String() }

// Type implements pflag.Value.
func (o *optional) Type() string { return "duration" }

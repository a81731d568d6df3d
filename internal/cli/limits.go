package cli

import (
	"errors"
	"time"

	"github.com/spf13/pflag"

	"github.com/hakone-gateway/hakone/internal/server"
)

// registerLimits adds the flags for bounds and deadlines. Each refusal they cause has a code of its
// own, named in the usage text.
func registerLimits(f *pflag.FlagSet, l *server.Limits) {
	f.IntVar(&l.MaxConnections, "max-connections", 100_000, "open connections per listener (HK1107)")
	f.IntVar(&l.MaxRequestHeader, "max-request-header", 64<<10, "bytes of a request head (HK4002)")
	f.IntVar(&l.MaxRequestFields, "max-request-fields", 128, "field lines of a request head (HK4003)")
	f.IntVar(&l.MaxResponseHeader, "max-response-header", 64<<10, "bytes of an upstream's response head (HK3210)")
	f.Int64Var(&l.MaxRequestBody, "max-request-body", 0, "bytes of a request body, 0 for no bound (HK4010)")
	f.IntVar(&l.RequestsPerConn, "max-requests-per-connection", 0, "requests of one downstream connection, 0 for no bound")
	f.DurationVar(&l.HandshakeTimeout, "handshake-timeout", 10*time.Second, "TLS handshake (HK1104)")
	f.DurationVar(&l.HeaderTimeout, "header-timeout", 15*time.Second, "request head, from its first byte (HK4201)")
	f.DurationVar(&l.BodyIdleTimeout, "body-idle-timeout", 60*time.Second, "silence within a body (HK4202)")
	f.DurationVar(&l.WriteTimeout, "write-timeout", 60*time.Second, "client takes no byte of the response (HK4204)")
	f.DurationVar(&l.IdleTimeout, "idle-timeout", 5*time.Minute, "kept-alive connection without a request (HK4206)")
	l.WithdrawnGrace = 30 * time.Second
	f.Var((*grace)(&l.WithdrawnGrace), "withdrawn-grace", "what is in progress for a client whose certificate is not accepted any more (HK2304)")
	f.DurationVar(&l.UpgradeIdle, "upgrade-idle-timeout", time.Hour, "upgraded connection without a byte (HK4207)")
}

// grace is the value of a flag whose 0 means none, which a Limits calls negative.
type grace time.Duration

// Set implements pflag.Value.
func (g *grace) Set(text string) error {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return err
	case d < 0:
		return errors.New("must not be negative; 0 is no grace")
	case d == 0:
		d = -1
	}
	*g = grace(d)
	return nil
}

// String implements pflag.Value.
func (g *grace) String() string { return max(time.Duration(*g), 0).String() }

// Type implements pflag.Value.
func (g *grace) Type() string { return "duration" }

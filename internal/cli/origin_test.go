package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

func TestWriteOrigins(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *time.Time { t := now.Add(d); return &t }
	var out bytes.Buffer
	writeOrigins(Streams{Out: &out}, []upstream.PoolStatus{
		{Name: "edge/app", State: upstream.PoolDegraded, Code: diag.PoolBelowMinimum, Detail: "1 of at least 2 origins healthy", Origins: []upstream.OriginStatus{
			{Name: "a b", Address: "192.0.2.1:443", Enabled: true, Health: upstream.OriginHealthy, Since: at(-3 * time.Hour), Checked: at(-2 * time.Second), RTT: 1.234, Requests: 7},
			{Name: "c", Address: "192.0.2.2:443", Enabled: true, Health: upstream.OriginUnhealthy, Code: diag.UpstreamRejectedCert, Reason: "alert 48", Failures: 2},
			{Name: "d", Address: "192.0.2.3:443", Enabled: true, Health: upstream.OriginEjected, Code: diag.OriginGatewayError, Reason: "5 requests in a row failed", EjectedUntil: at(20 * time.Second)},
			{Name: "e", Address: "192.0.2.4:443", Health: upstream.OriginDisabled, Since: at(-100 * 24 * time.Hour)},
		}}}, now)
	want := `POOL                      ORIGIN  ADDRESS        ENABLED  HEALTH     SINCE      CHECKED  RTT     REQUESTS  FAILURES  REASON
edge/app (below minimum)  a b     192.0.2.1:443  yes      healthy    3h0m0s ago  2s ago   1.2 ms  7         0         -
edge/app (below minimum)  c       192.0.2.2:443  yes      unhealthy  -          -        -       0         2         HK3107 alert 48
edge/app (below minimum)  d       192.0.2.3:443  yes      ejected    -          -        -       0         0         HK3224 5 requests in a row failed (out for 20s more)
edge/app (below minimum)  e       192.0.2.4:443  no       disabled   100 d ago  -        -       0         0         -

! pool edge/app: 1 of at least 2 origins healthy
`
	if squeeze(out.String()) != squeeze(want) {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	writeOrigins(Streams{Out: &out}, nil, now)
	if out.String() != "no origin pool is used by a route\n" {
		t.Errorf("got %q", out.String())
	}
}

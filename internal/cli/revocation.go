package cli

import (
	"github.com/spf13/pflag"

	"github.com/hakone-gateway/hakone/internal/revocation"
	"github.com/hakone-gateway/hakone/internal/server"
)

// registerRevocation adds the flags for fetching and stapling answers about revocation.
func registerRevocation(f *pflag.FlagSet, r *server.Revocation) {
	f.StringVar(&r.Dir, "revocation-cache", "", "directory in which fetched revocation lists and OCSP answers are kept over restarts")
	f.DurationVar(&r.Wait, "revocation-wait", revocation.DefaultWait, "how long a handshake or request waits for an answer about revocation where a policy is Hard (HK2142)")
	f.DurationVar(&r.Refresh, "revocation-refresh", revocation.DefaultRefresh, "fetched revocation lists and OCSP answers in use are renewed at the latest after this, however long they are valid")
	f.StringVar(&r.Addresses, "revocation-addresses", "all", "addresses that lists and answers are fetched from: all, or public; link-local ones never are")
	f.StringVar(&r.Stapling, "ocsp-stapling", "on", "staple OCSP answers to served certificates that name a responder: on or off")
}

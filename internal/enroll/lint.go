package enroll

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/hakone-gateway/hakone/internal/certlint"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// PullFindings judges a client certificate that is to be presented to origins. Names do not matter
// there, and neither does version 1 to most: that is told as information.
func PullFindings(pair *secret.KeyPair, now time.Time) []secret.Finding {
	found := certlint.Leaf(certlint.Input{Pair: pair, Client: true}, now)
	out := found[:0]
	for _, f := range found {
		switch f.Code {
		case diag.CertNoSAN, diag.CertRSA:
			continue
		case diag.CertVersion1:
			f.Severity = diag.Info
		}
		out = append(out, f)
	}
	return out
}

func shortDigest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

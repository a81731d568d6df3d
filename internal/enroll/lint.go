package enroll

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/hakone-gateway/hakone/internal/certlint"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// PullFindings judges a client certificate that is to be presented to origins. Version 1 does
// not matter to most: that is told as information.
func PullFindings(pair *secret.KeyPair, now time.Time) []secret.Finding {
	found := certlint.Leaf(certlint.Input{Pair: pair, Client: true}, now)
	for i := range found {
		if found[i].Code == diag.CertVersion1 {
			found[i].Severity = diag.Info
		}
	}
	return found
}

func shortDigest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

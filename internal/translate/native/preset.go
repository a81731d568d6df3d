package native

import (
	"crypto/tls"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// preset is what a Preset sets. Zero values set nothing.
type preset struct {
	min, max       uint16
	suites, groups []uint16
}

// presetOf returns the settings of a preset; false if there is none of that name. They follow the
// three levels of Mozilla's server-side TLS guidelines, as far as Go can offer them.
func presetOf(name v1alpha1.Preset) (preset, bool) {
	groups := []uint16{uint16(tls.X25519MLKEM768), uint16(tls.X25519), uint16(tls.CurveP256), uint16(tls.CurveP384)}
	switch name {
	case "", v1alpha1.PresetCustom:
		return preset{}, true
	case v1alpha1.PresetModern:
		// The suites only matter if the policy lowers the floor by hand.
		return preset{tls.VersionTLS13, tls.VersionTLS13, forwardSecretAEAD(), groups}, true
	case v1alpha1.PresetIntermediate:
		return preset{tls.VersionTLS12, tls.VersionTLS13, forwardSecretAEAD(), groups}, true
	case v1alpha1.PresetOld:
		return preset{tls.VersionTLS10, tls.VersionTLS13, allButRC4(), append(groups, uint16(tls.CurveP521))}, true
	}
	return preset{}, false
}

func forwardSecretAEAD() []uint16 {
	return suitesOf(func(id uint16) bool { return suiteRank(id) == 0 })
}

// allButRC4 leaves out what RFC 7465 forbids to negotiate.
func allButRC4() []uint16 {
	return suitesOf(func(id uint16) bool { return !strings.Contains(tlsname.Suite(id), "RC4") })
}

// suitesOf returns the offerable suites that keep admits, in Go's order of preference.
func suitesOf(keep func(uint16) bool) []uint16 {
	ids := slices.DeleteFunc(tlsname.OfferableSuites(), func(id uint16) bool { return !keep(id) })
	slices.SortStableFunc(ids, func(a, b uint16) int { return suiteRank(a) - suiteRank(b) })
	return ids
}

// suiteRank is the place of a suite's family in Go's order of preference.
func suiteRank(id uint16) int {
	name := tlsname.Suite(id)
	aead, forwardSecret := strings.Contains(name, "GCM") || strings.Contains(name, "POLY1305"), strings.HasPrefix(name, "TLS_ECDHE_")
	switch {
	case strings.Contains(name, "RC4"):
		return 6
	case strings.HasSuffix(name, "CBC_SHA256"):
		return 5
	case strings.Contains(name, "3DES"):
		return 4
	case forwardSecret && aead:
		return 0
	case forwardSecret:
		return 1
	case aead:
		return 2
	}
	return 3
}

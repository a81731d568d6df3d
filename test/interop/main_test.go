//go:build e2e

package interop

import (
	"os"
	"testing"
)

// TestMain lets this program be the server of the conformance suite too.
func TestMain(m *testing.M) {
	if settings := os.Getenv(behindEnv); settings != "" {
		os.Exit(serveBehind(settings))
	}
	os.Exit(m.Run())
}

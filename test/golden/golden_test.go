package golden

import (
	"bytes"
	"testing"
)

func TestCertificatesAreTheSameEachTime(t *testing.T) {
	for _, name := range []string{"httpbin", "edwards", "ca"} {
		a, _ := Certificate(name)
		b, _ := Certificate(name)
		if !bytes.Equal(a, b) {
			t.Errorf("two certificates for %s differ, so goldens cannot hold fingerprints", name)
		}
	}
}

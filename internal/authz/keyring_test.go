package authz

import (
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// Whoever asks a host for its keys has them made: a host of a thousand policies must not cost a thousand keys.
func TestPoliciesShareTheKeyThatIsMade(t *testing.T) {
	k := NewKeyring()
	s := &ir.Session{Algorithm: algES256, Duration: time.Hour}
	one, _, err := k.ring("a/one", s, nil).keys(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	two, all, err := k.ring("a/two", s, nil).keys(time.Now())
	if err != nil || one != two || len(all) != 1 {
		t.Errorf("%v: %s and %s, %d keys", err, one.id, two.id, len(all))
	}
}

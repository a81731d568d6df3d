package authz

import (
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// Whoever asks a host for its keys has them made: a host of a thousand policies must not cost a thousand keys.
func TestPoliciesShareTheKeyThatIsMade(t *testing.T) {
	k := NewKeyring()
	ringOf := func(policy string, s *ir.Session) *ring { r, _ := k.ring(policy, s, nil); return r }
	s := &ir.Session{Algorithm: algES256, Duration: time.Hour}
	one, _, err := ringOf("a/one", s).keys(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	two, all, err := ringOf("a/two", s).keys(time.Now())
	if err != nil || one != two || len(all) != 1 {
		t.Errorf("%v: %s and %s, %d keys", err, one.id, two.id, len(all))
	}
}

// A Set that is made and discarded leaves the keys of the one that serves alone; keys of policies that are
// gone are forgotten.
func TestDiscardedSetChangesNoKeys(t *testing.T) {
	keys := NewKeyring()
	of := func(algorithm string) *Set {
		return NewSet([]*ir.AccessPolicy{{Name: "ns/p", Session: &ir.Session{Algorithm: algorithm}}}, nil, nil, Settings{Keys: keys}, nil)
	}
	serving := of("ES256")
	serving.Serve(keys)
	signs := func() string { return serving.Policy("ns/p").session.ring.current.id }
	was := signs()
	next := of("RS256")
	if got := signs(); got != was {
		t.Errorf("%q signs after a discarded set, %q before", got, was)
	}
	next.Serve(keys)
	if got := signs(); got == was {
		t.Error("the new set serves, and its key does not sign")
	}
	NewSet(nil, nil, nil, Settings{Keys: keys}, nil).Serve(keys)
	if len(keys.rings) != 0 {
		t.Errorf("%d rings are kept of no policy", len(keys.rings))
	}
}

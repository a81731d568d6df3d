//go:build e2e

package egress

import (
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/ordeal"
)

// What make soak does for minutes, for seconds.

func TestManyDestinationsUnderSmallBounds(t *testing.T) { ordeal.Hosts(t, 1200, 200) }
func TestBadPeers(t *testing.T)                         { ordeal.Rude(t, 8, 6*time.Second) }
func TestDisksWithoutRoom(t *testing.T)                 { ordeal.Full(t, time.Second) }
func TestParentsDieAndComeBack(t *testing.T)            { ordeal.Parents(t, 2, 1200*time.Millisecond) }
func TestChangesUnderLoad(t *testing.T)                 { ordeal.Reloads(t, 8) }

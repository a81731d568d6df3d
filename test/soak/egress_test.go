//go:build soak

package soak

import (
	"testing"
	"time"

	"github.com/hakone-gateway/hakone/test/ordeal"
)

// The way out for minutes; test/egress has the same for seconds.

func TestTenThousandDestinations(t *testing.T)           { ordeal.Hosts(t, 10_000, 320) }
func TestBadPeersOfTheForwardProxy(t *testing.T)         { ordeal.Rude(t, 60, 40*time.Second) }
func TestDisksWithoutRoomForTheWayOut(t *testing.T)      { ordeal.Full(t, 10*time.Second) }
func TestParentsThatDie(t *testing.T)                    { ordeal.Parents(t, 8, 3*time.Second) }
func TestChangesOfTheForwardProxyUnderLoad(t *testing.T) { ordeal.Reloads(t, 60) }

package dataplane

import "github.com/hakone-gateway/hakone/internal/telemetry"

// Mint returns what became of certificates made for interceptions.
func (p *Plane) Mint() telemetry.MintState { return p.forwards.state.Mint() }

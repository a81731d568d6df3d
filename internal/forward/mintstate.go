package forward

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/mint"
	"github.com/hakone-gateway/hakone/internal/secret"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// Mint returns what became of made certificates, of authorities that are gone too.
func (s *State) Mint() telemetry.MintState {
	s.mu.Lock()
	out := s.minted
	all := make([]*mint.Authority, 0, len(s.authorities))
	for _, k := range s.authorities {
		all = append(all, k.authority)
	}
	s.mu.Unlock()
	out.Expires = map[string]time.Time{}
	for _, a := range all {
		n := a.Stats()
		addMinted(&out, n)
		out.Leaves += n.Leaves
		out.Bytes += n.Bytes
		out.DiskLeaves += n.DiskLeaves
		out.DiskBytes += n.DiskBytes
		if n.DiskFailing {
			out.DiskFailing++
		}
		if ca := a.CA(); ca != nil {
			out.Expires[secret.Subject(ca)] = ca.NotAfter
		}
	}
	return out
}

// addMinted adds what is counted since the start.
func addMinted(to *telemetry.MintState, n mint.Stats) {
	to.Minted += n.Minted
	to.Hits += n.Hits
	to.DiskHits += n.DiskHits
	to.Refused += n.Refused
	to.DiskBroken += n.DiskBroken
	to.DiskDropped += n.DiskDropped
}

package authz

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// Where the keys are published that identity cookies are signed with (RFC 7517): at every host with a
// policy that has a session; the second at those with the preset.
const (
	KeysPath           = "/.well-known/hakone/jwks.json"
	KeysPathCloudflare = "/cdn-cgi/access/certs"
)

// Keys returns the answer to a GET of one of those paths, and false if the path is none of them or the host
// has no such policy.
func (s *Set) Keys(x *Index, host, path []byte, now time.Time) ([]byte, bool) {
	preset := string(path) == KeysPathCloudflare
	if x == nil || !preset && string(path) != KeysPath {
		return nil, false
	}
	found := false
	keys := []json.RawMessage{}
	x.sites(host, func(site *site) bool {
		for _, n := range site.rules {
			p := s.at(x.rules[n].slot)
			if p == nil || p.session == nil || preset && p.ir.Preset != ir.PresetCloudflare {
				continue
			}
			found = true
			_, all, _ := p.session.ring.keys(now)
			for _, k := range all {
				if !slices.ContainsFunc(keys, func(have json.RawMessage) bool { return bytes.Equal(have, k.jwk) }) {
					keys = append(keys, k.jwk)
				}
			}
		}
		return true
	})
	if !found {
		return nil, false
	}
	body, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		return nil, false
	}
	return append(body, '\n'), true
}

// Problem says why a policy's identity cookies cannot be signed, "" if they can or there are none. It makes
// no key.
func (p *Policy) Problem() string {
	if p.session == nil || p.ir.Session.Key == "" {
		return ""
	}
	if _, err := p.session.key.get(); err != nil {
		return err.Error()
	}
	return ""
}

package control

import (
	"maps"
	"slices"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// share lets next point to the families of last that did not change, so that whoever compares
// pointers sees that only, say, the secrets are new (architecture, invariant 3).
func share(last, next *ir.Snapshot) {
	if last == nil {
		return
	}
	if last.Config.Revision == next.Config.Revision {
		next.Config = last.Config
	}
	if last.Endpoints.Revision == next.Endpoints.Revision {
		next.Endpoints = last.Endpoints
	}
	if last.Secrets.Revision == next.Secrets.Revision {
		next.Secrets = last.Secrets
	}
	if last.Trust.Revision == next.Trust.Revision {
		next.Trust = last.Trust
	}
}

// withdraws reports whether next takes something away that last accepted: a raised floor, a CA, a
// certificate by a revocation list. Members that lag behind must not go on with the older generation.
func withdraws(last, next *ir.Snapshot) bool {
	if last == nil {
		return false
	}
	if last.Trust != next.Trust {
		return true
	}
	before := floors(last.Config)
	for name, floor := range floors(next.Config) {
		old, ok := before[name]
		if !ok { // a host that had no settings of its own had its chain's
			old, ok = before[floorOf{chain: name.chain}]
		}
		if ok && floor > old {
			return true
		}
	}
	return false
}

// floorOf names the floor of a chain, or of a host of it that a policy singles out.
type floorOf struct {
	chain string
	host  hostname.Pattern
}

func floors(c *ir.Config) map[floorOf]uint16 {
	m := map[floorOf]uint16{}
	for _, l := range c.Listeners {
		for _, chain := range l.Chains {
			if chain.TLS == nil {
				continue
			}
			m[floorOf{chain: chain.Name}] = chain.TLS.MinVersion
			for _, h := range chain.HostTLS {
				m[floorOf{chain.Name, h.Host}] = h.TLS.MinVersion
			}
		}
	}
	return m
}

// logSecrets names every secret that was rotated, withdrawn or came back, with its fingerprint and
// the listeners that use it.
func (l *Loop) logSecrets(last, next *ir.Snapshot) {
	if last == nil || last.Secrets == next.Secrets {
		return
	}
	users := chainsBySecret(next.Config)
	for _, ref := range slices.Sorted(maps.Keys(next.Secrets.ByRef)) {
		now, before := next.Secrets.ByRef[ref], last.Secrets.ByRef[ref]
		if before == nil {
			continue
		}
		switch {
		case now.Pair == nil && before.Pair != nil:
			l.opts.Logger.Error("secret is gone, its hosts refuse handshakes", "secret", ref, "code", now.Code, "listeners", users[ref])
		case now.Pair != nil && before.Pair == nil:
			l.opts.Logger.Info("secret is there, its hosts serve", "secret", ref, "fingerprint", now.Pair.Fingerprint, "listeners", users[ref])
		case now.Pair != nil && now.Pair.Digest != before.Pair.Digest:
			l.opts.Logger.Info("secret was rotated", "secret", ref, "fingerprint", now.Pair.Fingerprint, "before", before.Pair.Fingerprint,
				"listeners", users[ref], "code", diag.SecretRotated)
		}
	}
}

// chainsBySecret returns which chains use a secret.
func chainsBySecret(c *ir.Config) map[ir.SecretRef][]string {
	users := map[ir.SecretRef][]string{}
	for _, l := range c.Listeners {
		for _, chain := range l.Chains {
			if chain.TLS == nil {
				continue
			}
			for _, ref := range chain.TLS.Certificates {
				users[ref] = append(users[ref], chain.Name)
			}
		}
	}
	return users
}

package control

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

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
// certificate by a revocation list, or what a policy on client certificates lets in. Members that lag behind must not go on with the older generation.
func withdraws(last, next *ir.Snapshot) bool {
	if last == nil {
		return false
	}
	if last.Trust != next.Trust || last.Config != next.Config && access(last.Config) != access(next.Config) {
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

// access names everything that policies on client certificates say, and where, and what egress lets through:
// proxies and forward proxies. Whether a change of it lets in more or fewer is not looked at.
func access(c *ir.Config) ir.Revision {
	rules := map[string][]ir.AccessRule{}
	for _, l := range c.Listeners {
		for _, chain := range l.Chains {
			if len(chain.Access) > 0 {
				rules[chain.Name] = chain.Access
			}
		}
	}
	var forwards []ir.Revision
	for _, f := range c.Forwards {
		forwards = append(forwards, f.Revision)
	}
	return ir.HashOf([]any{c.AccessPolicies, rules, c.Proxies, forwards})
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

// logSecrets names every secret that was rotated, withdrawn or came back, with its fingerprint and the
// listeners and upstreams that use it. Users are compared, not references: a secret that is looked up
// in two namespaces has another reference while it is missing.
func (l *Loop) logSecrets(last, next *ir.Snapshot) {
	if last == nil || last.Secrets == next.Secrets {
		return
	}
	l.logLogins(last.Secrets, next.Secrets)
	before := credentialsInUse(last)
	var changes []secretChange
	for _, u := range credentialsInUse(next).inOrder() {
		c, ok := changeOf(before[u.user], u)
		if !ok {
			continue
		}
		if c.secret = u.name(); u.Origin.Object.Kind != "Secret" { // it is gone; the one before still has its name
			c.secret = before[u.user].name()
		}
		if i := slices.IndexFunc(changes, func(x secretChange) bool { return x.message == c.message && x.secret == c.secret }); i >= 0 {
			changes[i].users = append(changes[i].users, u.user.name)
			continue
		}
		c.users = []string{u.user.name}
		changes = append(changes, c)
	}
	for _, c := range changes {
		args := append([]any{"secret", c.secret}, c.args...)
		l.opts.Logger.Log(context.Background(), c.level, c.message, append(args, "listeners", c.users)...)
	}
}

// secretChange is one line of the log.
type secretChange struct {
	level   slog.Level
	message string
	secret  string
	args    []any
	users   []string
}

// changeOf says what became of a credential in use; false if nothing did, or if it is new.
func changeOf(before, now inUse) (secretChange, bool) {
	if before.Credential == nil || now.Credential == nil {
		return secretChange{}, false
	}
	switch {
	case now.Pair == nil && before.Pair != nil:
		return secretChange{level: slog.LevelError, message: "secret is gone, its hosts refuse handshakes", args: []any{"code", now.Code}}, true
	case now.Pair != nil && before.Pair == nil:
		return secretChange{message: "secret is there, its hosts serve", args: []any{"fingerprint", now.Pair.Fingerprint}}, true
	case now.Pair != nil && now.Pair.Digest != before.Pair.Digest:
		return secretChange{message: "secret was rotated",
			args: []any{"fingerprint", now.Pair.Fingerprint, "before", before.Pair.Fingerprint, "code", diag.SecretRotated}}, true
	}
	return secretChange{}, false
}

// user is a place where a credential is used: a chain or upstream by name, and which of its several.
type user struct {
	name  string
	index int
}

// inUse is a credential at such a place.
type inUse struct {
	*ir.Credential
	user user
	ref  ir.SecretRef
}

// name returns "namespace/name" of the secret, or the reference where there is none.
func (u inUse) name() string {
	if o := u.Origin.Object; o.Kind == "Secret" {
		return o.Namespace + "/" + o.Name
	}
	return string(u.ref)
}

type uses map[user]inUse

// inOrder returns the uses by name.
func (m uses) inOrder() []inUse {
	return slices.SortedFunc(maps.Values(m), func(a, b inUse) int {
		return cmp.Or(strings.Compare(a.user.name, b.user.name), cmp.Compare(a.user.index, b.user.index))
	})
}

// credentialsInUse returns the credentials of every chain and upstream of a snapshot.
func credentialsInUse(s *ir.Snapshot) uses {
	m := uses{}
	add := func(name string, i int, ref ir.SecretRef) {
		u := user{name, i}
		m[u] = inUse{s.Secrets.ByRef[ref], u, ref}
	}
	for _, l := range s.Config.Listeners {
		for _, chain := range l.Chains {
			if chain.TLS == nil {
				continue
			}
			for i, ref := range chain.TLS.Certificates {
				add(chain.Name, i, ref)
			}
		}
	}
	for _, up := range s.Config.Upstreams {
		if up.TLS != nil && up.TLS.Certificate != "" {
			add(up.Name, 0, up.TLS.Certificate)
		}
	}
	for _, p := range s.Config.Proxies {
		if p.TLS != nil && p.TLS.Certificate != "" {
			add("upstream proxy "+p.Name, 0, p.TLS.Certificate)
		}
	}
	for _, f := range s.Config.Forwards {
		if t := f.Template.TLS; t != nil && t.Certificate != "" {
			add("forward proxy "+f.Name, 0, t.Certificate)
		}
		if f.Interception != nil {
			add("forward proxy "+f.Name, 1, f.Interception.CA)
		}
	}
	return m
}

// hostsOf lists the hosts of each listener, in order.
func hostsOf(s *ir.Snapshot) map[string][]string {
	m := make(map[string][]string, len(s.Config.Listeners))
	for _, l := range s.Config.Listeners {
		var hosts []string
		for _, c := range l.Chains {
			for _, h := range c.Hosts {
				hosts = append(hosts, h.String())
			}
		}
		slices.Sort(hosts)
		m[l.Name] = slices.Compact(hosts)
	}
	return m
}

// logHosts names the hosts that are new and those that are served no longer, by listener.
func (l *Loop) logHosts(last, next *ir.Snapshot) {
	if last == nil || last.Config == next.Config {
		return
	}
	before, now := hostsOf(last), hostsOf(next)
	names := slices.Concat(slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(now)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if added := without(now[name], before[name]); added != nil {
			l.opts.Logger.Info("hosts are new", "listener", name, "hosts", some(added))
		}
		if gone := without(before[name], now[name]); gone != nil {
			l.opts.Logger.Info("hosts are served no longer", "listener", name, "hosts", some(gone))
		}
	}
}

// without returns the names of list that other has not. Both are sorted.
func without(list, other []string) []string {
	var out []string
	for _, s := range list {
		if _, found := slices.BinarySearch(other, s); !found {
			out = append(out, s)
		}
	}
	return out
}

// some keeps lines of the log short: ten names at most.
func some(names []string) []string {
	if len(names) > 10 {
		return append(slices.Clone(names[:10]), fmt.Sprintf("and %d more", len(names)-10))
	}
	return names
}

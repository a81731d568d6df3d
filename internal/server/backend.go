package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/status"
	"github.com/hakone-gateway/hakone/internal/tlsname"
)

// Reload reads the folders again.
func (p *process) Reload() { p.source.Reload() }

// Metrics answers /metrics.
func (p *process) Metrics() http.Handler { return p.record.metrics.Handler() }

// Explain tells what was recorded under a request ID or connection number.
func (p *process) Explain(ctx context.Context, id string) (json.RawMessage, bool) {
	return p.record.explain(ctx, id)
}

// Status tells what is served.
func (p *process) Status() admin.Status {
	st := p.loop.State()
	p.mu.Lock()
	draining := p.draining
	p.mu.Unlock()
	out := admin.Status{
		Resources: overloadStatus(p.bounds.State()),
		Version:   Version, PID: os.Getpid(), Started: p.started, Folders: p.cfg.Folders, Namespace: p.cfg.Settings.Namespace,
		AppliedAt: st.Time, Draining: draining, Diagnostics: st.Diagnostics, Listeners: []admin.ListenerStatus{}, Upstreams: []admin.UpstreamStatus{},
	}
	if out.Diagnostics == nil {
		out.Diagnostics = []diag.Diagnostic{}
	}
	for _, k := range st.Kept {
		out.Kept = append(out.Kept, k.Object().String())
	}
	for _, b := range st.Broken {
		out.Kept = append(out.Kept, nameOf(b))
	}
	if st.Generation == nil {
		return out
	}
	snap := st.Generation.Snapshot
	out.Epoch, out.Revision = st.Generation.Epoch, st.Generation.Hash
	out.Revisions = admin.Revisions{Config: snap.Config.Revision, Endpoints: snap.Endpoints.Revision, Secrets: snap.Secrets.Revision, Trust: snap.Trust.Revision}
	out.Objects = status.Build(status.Input{Translated: st.Result.Status, Config: snap.Config, Applied: st.Applied, Set: st.Set, Diagnostics: st.Diagnostics, Controller: ControllerName,
		Addresses: p.addresses(), Now: metav1.NewTime(st.Time)})
	for i, l := range snap.Config.Listeners {
		ls := admin.ListenerStatus{ListenerResult: st.Applied.Listeners[i], TLS: l.TLS, Connections: int64(p.plane.Connections(l.Name))}
		for _, c := range l.Chains {
			ls.Chains = append(ls.Chains, chainStatus(c, snap.Secrets))
		}
		out.Listeners = append(out.Listeners, ls)
	}
	for _, u := range snap.Config.Upstreams {
		us := admin.UpstreamStatus{Name: u.Name, Endpoints: len(snap.Endpoints.ByUpstream[u.Name]), TLS: u.TLS != nil}
		if u.Resolve != nil {
			us.DNS = fmt.Sprintf("%s:%d", u.Resolve.Host, u.Resolve.Port)
		}
		out.Upstreams = append(out.Upstreams, us)
	}
	return out
}

// nameOf names a broken secret for people.
func nameOf(b control.BrokenSecret) string {
	if paths, isFiles := strings.CutPrefix(string(b.Ref), "file:"); isFiles {
		return "certificate file " + strings.ReplaceAll(paths, "|", " with key ")
	}
	return "Secret " + string(b.Ref)
}

// addresses are what Gateways report as their own: the address that listeners bind, if it is one.
func (p *process) addresses() []string {
	if p.cfg.Address == "" {
		return nil
	}
	return []string{p.cfg.Address}
}

func chainStatus(c *ir.Chain, secrets *ir.Secrets) admin.ChainStatus {
	cs := admin.ChainStatus{Name: c.Name, Display: c.Display, Hosts: []string{}}
	for _, h := range c.Hosts {
		cs.Hosts = append(cs.Hosts, h.String())
	}
	for _, vh := range c.VirtualHosts {
		cs.Routes += len(vh.Routes)
	}
	if c.TLS == nil {
		return cs
	}
	cs.MinVersion, cs.MaxVersion, cs.ClientAuth = tlsname.Version(c.TLS.MinVersion), tlsname.Version(c.TLS.MaxVersion), string(c.TLS.ClientAuth.Mode)
	for _, h := range c.HostTLS {
		cs.HostFloors = append(cs.HostFloors, admin.HostTLS{Host: h.Host.String(), MinVersion: tlsname.Version(h.TLS.MinVersion)})
	}
	for _, ref := range c.TLS.Certificates {
		credential := secrets.ByRef[ref]
		notAfter, ok := credential.NotAfter()
		switch {
		case ok && (cs.NotAfter == nil || notAfter.Before(*cs.NotAfter)):
			cs.NotAfter, cs.Certificate = &notAfter, credential.Pair.Fingerprint
		case !ok && cs.Certificate == "" && credential != nil:
			cs.Certificate = credential.Code.Slug()
		}
	}
	if cs.Certificate == "" {
		cs.Certificate = diag.CredentialMissing.Slug()
	}
	return cs
}

// Health judges the process: it is live as long as it answers, ready when a listener serves and it
// does not drain, degraded when a certificate is near its end or an object is left out.
func (p *process) Health() admin.Health {
	st := p.loop.State()
	p.mu.Lock()
	draining := p.draining
	p.mu.Unlock()
	h := admin.Health{Live: true, Ready: st.Usable() && !draining}
	add := func(name string, ok bool, bad, detail string) {
		c := admin.Check{Name: name, State: "ok"}
		if !ok {
			c.State, c.Detail = bad, detail
		}
		h.Checks = append(h.Checks, c)
	}
	add("config", st.Generation != nil, "failed", "no generation has been applied")
	if refused := refusedListeners(st.Applied); st.Usable() {
		add("listeners", refused == "", "degraded", refused)
	} else {
		add("listeners", false, "failed", strings.TrimSuffix("no listener serves; "+refused, "; "))
	}
	add("drain", !draining, "failed", "the process is draining")
	short := shedding(p.bounds.State())
	add("overload", short == "", "degraded", short)
	low := lowPools(p.plane.Pools())
	add("origins", low == "", "degraded", low)
	unkept := p.record.logs.trouble()
	add("logs", unkept == "", "degraded", unkept)
	failed := control.Failed(st.Diagnostics)
	add("objects", len(failed) == 0, "degraded", first(failed))
	if st.Generation != nil {
		detail := cmp.Or(notForARestart(st), expiring(st.Generation.Snapshot, time.Now(), p.authority.expiries(time.Now())...))
		add("certificates", detail == "", "degraded", detail)
		detail = p.revoker.ill()
		add("stapling", detail == "", "degraded", detail)
	}
	return h
}

// refusedListeners names the listeners that do not serve, and why the first does not.
func refusedListeners(applied *ir.Applied) string {
	if applied == nil {
		return ""
	}
	var names []string
	why := ""
	for _, l := range applied.Listeners {
		if l.Code != 0 {
			names = append(names, l.Name)
			why = cmp.Or(why, fmt.Sprintf("%s %s", l.Code, l.Detail))
		}
	}
	if names == nil {
		return ""
	}
	return fmt.Sprintf("%s does not serve: %s", some(names), why)
}

// some lists at most five names.
func some(names []string) string {
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	}
	return strings.Join(names, ", ")
}

// notForARestart says which certificates serve only because this process remembers them.
func notForARestart(st control.State) string {
	var names []string
	for _, b := range st.Broken {
		names = append(names, nameOf(b))
	}
	for _, k := range st.Kept {
		if k.Kind == resource.KindSecret {
			names = append(names, k.Object().String())
		}
	}
	if names == nil {
		return ""
	}
	return some(names) + " is broken: its last good certificate serves, a restart would not serve it"
}

func first(ds []diag.Diagnostic) string {
	if len(ds) == 0 {
		return ""
	}
	s := ds[0].String()
	if len(ds) > 1 {
		s += fmt.Sprintf(" (and %d more)", len(ds)-1)
	}
	return s
}

// Dump returns one part of what runs.
func (p *process) Dump(what string) (any, error) {
	st := p.loop.State()
	if st.Generation == nil {
		return map[string]any{}, nil
	}
	d := st.Generation.Snapshot.Dump()
	switch what {
	case "snapshot":
		return d, nil
	case "listeners":
		return withoutRoutes(d.Config), nil
	case "routes":
		return routesOf(d.Config), nil
	case "upstreams":
		return map[string]any{"upstreams": d.Config.Upstreams, "endpoints": d.Endpoints.ByUpstream, "pools": p.plane.UpstreamStats()}, nil
	case "proxies":
		return map[string]any{"proxies": d.Config.Proxies, "forwards": d.Config.Forwards, "logins": d.Secrets.Logins, "passwords": d.Secrets.Passwords}, nil
	case "certs":
		return map[string]any{"secrets": d.Secrets, "trust": d.Trust}, nil
	}
	return nil, admin.ErrNoDump
}

func withoutRoutes(c *ir.Config) []ir.Listener {
	var out []ir.Listener
	for _, l := range c.Listeners {
		shown := *l
		shown.Chains = nil
		for _, chain := range l.Chains {
			bare := *chain
			bare.VirtualHosts = nil
			shown.Chains = append(shown.Chains, &bare)
		}
		out = append(out, shown)
	}
	return out
}

// routeRow is one route in the dump of routes.
type routeRow struct {
	Listener string    `json:"listener"`
	Chain    string    `json:"chain"`
	Hosts    []string  `json:"hosts"`
	Route    *ir.Route `json:"route"`
}

func routesOf(c *ir.Config) []routeRow {
	out := []routeRow{}
	for _, l := range c.Listeners {
		for _, chain := range l.Chains {
			for _, vh := range chain.VirtualHosts {
				var hosts []string
				for _, h := range vh.Hosts {
					hosts = append(hosts, h.String())
				}
				for _, r := range vh.Routes {
					out = append(out, routeRow{l.Name, chain.Name, hosts, r})
				}
			}
		}
	}
	return out
}

// policyName makes an object name of a scope. Scopes that read alike once their odd characters are gone
// ("*.a.example", "any.a.example") are told apart by a digest.
func policyName(parts []string) string {
	if len(parts) == 1 {
		return parts[0]
	}
	s := strings.ToLower(strings.Join(parts, "-"))
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, strings.ReplaceAll(s, "*", "any"))
	return strings.Trim(s[:min(len(s), 200)], "-.") + "-" + string(ir.HashOf(parts))[:8]
}

package backend

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/translate"
)

// flagged returns the --endpoint addresses for a port of a target. Keys may be written
// name.namespace:port, with the full service name, with the external host, or name:port where no
// other namespace has a Service of that name; "|subset" after the port narrows it. A key without
// subset gives the addresses of all subsets.
func (r *Resolver) flagged(t target, port uint32, subset string) []string {
	if len(r.ctx.EndpointFlags) == 0 {
		return nil
	}
	hosts := []string{t.host}
	if t.internal() {
		short := t.name + "." + t.namespace
		hosts = []string{short, short + ".svc", t.host}
		if r.onlyOne(t) {
			hosts = append(hosts, t.name)
		}
	}
	number := ":" + strconv.FormatUint(uint64(port), 10)
	suffixes := []string{number}
	if subset != "" {
		suffixes = []string{number + "|" + subset, number}
	}
	for _, suffix := range suffixes {
		for _, h := range hosts {
			if a := r.ctx.EndpointFlags[h+suffix]; len(a) > 0 {
				return a
			}
		}
	}
	return nil
}

// onlyOne reports whether no Service of another namespace has the target's name.
func (r *Resolver) onlyOne(t target) bool {
	for _, s := range r.set.Services() {
		if s.Name == t.name && s.Namespace != t.namespace {
			return false
		}
	}
	return true
}

// fromFlags reads host:port addresses. The command line has refused malformed ones already; what is
// still wrong here is left out.
func (r *Resolver) fromFlags(addresses []string) []ir.Endpoint {
	origin := ir.Origin{Object: flagObject(), Field: "--endpoint"}
	var out []ir.Endpoint
	for _, a := range addresses {
		host, portText, err := net.SplitHostPort(a)
		n, perr := strconv.ParseUint(portText, 10, 16)
		if err != nil || perr != nil || n == 0 || !isAddress(host) && !isDNSName(host) {
			r.report(diag.EndpointInvalid, origin, fmt.Sprintf("%q is not HOST:PORT", a), "Write an address such as 127.0.0.1:8000.")
			continue
		}
		out = append(out, ir.Endpoint{Host: strings.ToLower(host), Port: uint16(n), Origin: origin})
	}
	return out
}

func flagObject() diag.Object { return diag.Object{Kind: "CommandLine", Name: "hakone"} }

// UnusedFlags reports every key of --endpoint that gives no upstream of used its addresses. used has
// the endpoints of the whole snapshot.
func UnusedFlags(ctx translate.Context, used map[string][]ir.Endpoint) []diag.Diagnostic {
	domain := ctx.ClusterDomain
	if domain == "" {
		domain = "cluster.local"
	}
	var ds []diag.Diagnostic
	for _, key := range slices.Sorted(maps.Keys(ctx.EndpointFlags)) {
		host, rest, _ := strings.Cut(key, ":")
		host = strings.TrimSuffix(strings.TrimSuffix(host, "."+domain), ".svc")
		if !names(used, host, rest) {
			ds = append(ds, diag.New(diag.EndpointFlagUnused, flagObject(), "--endpoint", fmt.Sprintf("no route leads to %s yet", key), "Add the route, or correct the flag; hakone dump upstreams lists the names."))
		}
	}
	return ds
}

// names reports whether host:rest gives an upstream of used its endpoints.
func names(used map[string][]ir.Endpoint, host, rest string) bool {
	for name, endpoints := range used {
		if len(endpoints) == 0 || endpoints[0].Origin.Field != "--endpoint" {
			continue
		}
		h, r, _ := strings.Cut(strings.TrimSuffix(name, grpcSuffix), ":")
		bare, _, _ := strings.Cut(r, "|")
		first, _, _ := strings.Cut(h, ".")
		if (h == host || strings.TrimSuffix(h, ".") == host || first == host) && (r == rest || bare == rest) {
			return true
		}
	}
	return false
}

func isDNSName(s string) bool {
	p, err := hostname.Parse(s)
	return err == nil && p.IsExact()
}

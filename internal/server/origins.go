package server

import (
	"fmt"
	"net/http"
	"net/netip"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/telemetry"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// originEndpoints serve how the origins of pools are.
func (p *process) originEndpoints() []admin.Endpoint {
	return []admin.Endpoint{{Method: http.MethodGet, Pattern: "/origins", Role: "viewer", Handler: func(w http.ResponseWriter, _ *http.Request) {
		answer(w, p.plane.Pools(), nil)
	}}}
}

// locator reads --geoip-db; nil without it.
func (c *Config) locator() (*upstream.Locator, error) {
	if c.GeoIPDB == "" {
		return nil, nil
	}
	l, err := upstream.NewLocator(c.GeoIPDB, c.Logger)
	if err != nil {
		return nil, &ConfigError{"the database of countries cannot be used", err.Error(), "point --geoip-db at a file in MaxMind's format (.mmdb) with countries, such as GeoLite2-Country.mmdb"}
	}
	return l, nil
}

// locate is what the data side asks; nil without a database.
func locate(l *upstream.Locator) func(netip.Addr) upstream.Place {
	if l == nil {
		return nil
	}
	return l.Locate
}

// originState is what metrics show of origins.
func (p *process) originState() telemetry.OriginState {
	var s telemetry.OriginState
	s.Passed, s.Missed = p.plane.Checks()
	for _, pool := range p.plane.Pools() {
		state := telemetry.PoolState{Name: pool.Name, Healthy: pool.State == upstream.PoolHealthy, Origins: map[string]bool{}, Ejected: map[string]int64{}}
		for _, o := range pool.Origins {
			fine := o.Health == upstream.OriginHealthy || o.Health == upstream.OriginUnchecked
			state.Origins[o.Name] = state.Origins[o.Name] || fine
			state.Ejected[o.Name] += o.Ejections
		}
		s.Pools = append(s.Pools, state)
	}
	return s
}

// lowPools names pools that are below their minimum of healthy origins, "" if none is.
func lowPools(pools []upstream.PoolStatus) string {
	var names []string
	why := ""
	for _, p := range pools {
		if p.State != upstream.PoolDegraded && p.State != upstream.PoolDown {
			continue
		}
		names = append(names, p.Name)
		if why == "" {
			why = fmt.Sprintf("%s %s", p.Code, p.Detail)
		}
	}
	if names == nil {
		return ""
	}
	return fmt.Sprintf("%s: %s", some(names), why)
}

package server

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// egressEndpoints serve the ledger of destinations outside.
func (p *process) egressEndpoints() []admin.Endpoint {
	return []admin.Endpoint{
		{Method: http.MethodGet, Pattern: admin.EgressPath, Role: "viewer", Handler: func(w http.ResponseWriter, r *http.Request) {
			answer(w, &admin.Egress{Report: p.ledger.Report(r.URL.Query().Get("host"), time.Now()), Proxies: p.plane.Proxies()}, nil)
		}},
		{Method: http.MethodPost, Pattern: admin.EgressPath + "/acknowledge", Role: "operator", Handler: p.acknowledge},
	}
}

// acknowledge ends alerts.
func (p *process) acknowledge(w http.ResponseWriter, r *http.Request) {
	var ask admin.EgressAcknowledge
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&ask); err != nil {
		answer(w, nil, &admin.Problem{Status: http.StatusBadRequest, Title: "the body is no request to acknowledge: " + err.Error(), Fix: `send {"host": "www.example.com"} or {"all": true}`})
		return
	}
	if (ask.Host == "") != ask.All {
		answer(w, nil, &admin.Problem{Status: http.StatusBadRequest, Title: "neither a host is named nor all, or both are", Fix: `send {"host": "www.example.com"} or {"all": true}`})
		return
	}
	answer(w, &admin.EgressAcknowledged{Alerts: p.ledger.Acknowledge(ask.Host)}, nil)
}

// egressState is what metrics show of destinations outside.
func (p *process) egressState() telemetry.EgressState {
	c := p.ledger.Counts(time.Now())
	s := telemetry.EgressState{Hosts: c.Hosts, Open: c.Open, Raised: c.Raised}
	for _, x := range p.plane.Proxies() {
		for _, a := range x.Addresses {
			state := telemetry.ProxyAddressState{Proxy: x.Name, Address: a.Address, Healthy: a.Healthy, Tunnels: a.Open, Good: a.Connects, Failed: a.Failures,
				Took: map[float64]uint64{}, TookCount: uint64(a.Took.Count), TookSum: a.Took.Sum}
			for i, b := range a.Took.Bounds {
				state.Took[b] = uint64(a.Took.Counts[i])
			}
			s.Addresses = append(s.Addresses, state)
		}
	}
	return s
}

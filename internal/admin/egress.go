package admin

import (
	"github.com/hakone-gateway/hakone/internal/egress"
	"github.com/hakone-gateway/hakone/internal/upstream"
)

// EgressPath is where the ledger of destinations outside is: GET for all or, with ?host=NAME, one; POST to
// EgressPath/acknowledge ends alerts.
const EgressPath = "/egress"

// Egress is what is known of destinations outside and of the proxies in front of them.
type Egress struct {
	egress.Report
	Proxies []upstream.ProxyStatus `json:"proxies"`
}

// EgressAcknowledge asks to end the alerts of a host, or all if All is set.
type EgressAcknowledge struct {
	Host string `json:"host,omitempty"`
	All  bool   `json:"all,omitempty"`
}

// EgressAcknowledged is how many alerts ended.
type EgressAcknowledged struct {
	Alerts int `json:"alerts"`
}

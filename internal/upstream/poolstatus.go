package upstream

import (
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// States of a pool. Below its minimum of healthy origins a pool serves only if it has no fallback, or none
// that is better off.
const (
	PoolHealthy  = "healthy"
	PoolDegraded = "below minimum"
	PoolDown     = "no healthy origin"
	PoolDisabled = "disabled"
)

// Health of an origin. One that was not checked yet, or has no monitor, counts as healthy.
const (
	OriginHealthy   = "healthy"
	OriginUnchecked = "unchecked"
	OriginUnhealthy = "unhealthy"
	OriginEjected   = "ejected"
	OriginDraining  = "draining"
	OriginDisabled  = "disabled"
)

// PoolStatus is how an origin pool is.
type PoolStatus struct {
	Name     string         `json:"pool"` // "namespace/name"
	Display  string         `json:"displayName,omitempty"`
	State    string         `json:"state"`
	Enabled  bool           `json:"enabled"`
	Healthy  int            `json:"healthy"` // origins that take new clients
	Minimum  int            `json:"minimum"`
	Steering string         `json:"steering"`
	Fallback string         `json:"fallback,omitempty"`
	Code     diag.Code      `json:"code,omitempty"`
	Detail   string         `json:"detail,omitempty"` // why State is not healthy
	Origins  []OriginStatus `json:"origins"`
}

// OriginStatus is how one origin of a pool is. Times are nil where there is none.
type OriginStatus struct {
	Name         string     `json:"origin"`
	Address      string     `json:"address"` // host:port as configured
	Enabled      bool       `json:"enabled"`
	Share        float64    `json:"weight"`
	Health       string     `json:"health"`
	Code         diag.Code  `json:"code,omitempty"`
	Reason       string     `json:"reason,omitempty"`
	Since        *time.Time `json:"since,omitempty"` // of Health
	Checked      *time.Time `json:"checked,omitempty"`
	RTT          float64    `json:"rttMillis,omitempty"` // of the last check
	Active       int32      `json:"active"`              // requests in progress
	Requests     int64      `json:"requests"`
	Failures     int64      `json:"failures"` // of requests: no connection, no answer, 502, 503, 504
	Ejections    int64      `json:"ejections"`
	EjectedUntil *time.Time `json:"ejectedUntil,omitempty"`
}

package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/hakone-gateway/hakone/internal/admin"
)

// endpoints are the parts of the admin API that rooms of their own serve, one function a file.
func (p *process) endpoints() []admin.Endpoint {
	return slices.Concat(p.calendarEndpoints(), p.pullEndpoints(), p.authorityEndpoints(), p.originEndpoints(), p.egressEndpoints(), p.cacheEndpoints(), p.record.logs.endpoints())
}

// answer writes what an endpoint found, or its error: a *admin.Problem as it is.
func answer(w http.ResponseWriter, v any, err error) {
	status, media := http.StatusOK, "application/json"
	if err != nil {
		problem := &admin.Problem{Status: http.StatusInternalServerError, Title: err.Error()}
		errors.As(err, &problem)
		status, media, v = problem.Status, "application/problem+json", problem
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

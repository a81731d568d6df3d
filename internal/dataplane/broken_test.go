package dataplane

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/ir"
)

// A policy that only turns out broken when it is made is told of once for each change.
func TestBrokenPolicyIsTold(t *testing.T) {
	var log bytes.Buffer
	p := New(Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	snap := &ir.Snapshot{Config: &ir.Config{AccessPolicies: []*ir.AccessPolicy{{Name: "ns/p", Allow: []ir.CertificateRule{{Serials: []string{"xyz"}}}}}}}
	for range 2 {
		p.access = p.compileAccess(snap)
	}
	if got := log.String(); strings.Count(got, "lets nobody in") != 1 || !strings.Contains(got, "ns/p") || !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "xyz") {
		t.Errorf("log: %s", got)
	}
}

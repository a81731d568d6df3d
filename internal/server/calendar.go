package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/calendar"
	"github.com/hakone-gateway/hakone/internal/control"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/source/file"
	"github.com/hakone-gateway/hakone/internal/telemetry"
)

// calendarEndpoints serve what expires.
func (p *process) calendarEndpoints() []admin.Endpoint {
	return []admin.Endpoint{{Method: http.MethodGet, Pattern: "/certificates/calendar", Role: "viewer", Handler: func(w http.ResponseWriter, r *http.Request) {
		c, err := p.calendar(r.Context())
		answer(w, c, err)
	}}}
}

// calendar lists what this process uses, beside what its folders hold as they stand. The folders are
// read for it, so that a change the process could not take shows.
func (p *process) calendar(ctx context.Context) (*admin.Calendar, error) {
	st := p.loop.State()
	now := time.Now()
	if st.Generation == nil {
		return nil, &admin.Problem{Status: http.StatusServiceUnavailable, Title: "nothing has been applied yet", Fix: "wait until hakone status shows listeners"}
	}
	served := calendar.Of(st.Generation.Snapshot, now)
	ctx, cancel := context.WithTimeout(ctx, reloadWithin)
	defer cancel()
	out := &admin.Calendar{Time: now}
	fresh, err := Expiring(ctx, p.cfg.Folders, p.cfg.Settings, now)
	if err != nil {
		out.Unread = err.Error()
	} else {
		calendar.Compare(served, fresh)
	}
	out.Entries = append(served, p.authority.expiries(now)...)
	calendar.Sort(out.Entries)
	return out, nil
}

// Expiring lists everything that expires of what folders hold, as it stands.
func Expiring(ctx context.Context, folders []string, settings control.Settings, now time.Time) ([]calendar.Entry, error) {
	set, _, err := file.New(folders, slog.New(slog.DiscardHandler)).Load(ctx)
	if err != nil {
		return nil, err
	}
	return calendar.Of(control.Snapshot(set, settings), now), nil
}

// expiries are the calendar's entries as metrics show them.
func expiries(st control.State, authority []calendar.Entry) []telemetry.Expiry {
	all := authority
	if st.Generation != nil {
		all = append(calendar.Of(st.Generation.Snapshot, time.Now()), all...)
	}
	var out []telemetry.Expiry
	for _, e := range all {
		out = append(out, telemetry.Expiry{Kind: string(e.Kind), Object: e.Object, Name: e.Name, At: e.NotAfter})
	}
	return out
}

// expiring names what has less than a tenth of its life left, or none at all: a credential that is
// missing, or the first in the calendar.
func expiring(s *ir.Snapshot, now time.Time, authority ...calendar.Entry) string {
	for ref, c := range s.Secrets.ByRef {
		if c.Pair == nil {
			return fmt.Sprintf("%s: %s", ref, c.Code.Slug())
		}
	}
	alarms, first := 0, ""
	for _, e := range append(calendar.Of(s, now), authority...) {
		if !e.Alarming() {
			continue
		}
		if alarms++; first == "" {
			word := "expires"
			if e.State == calendar.Expired {
				word = "expired"
			}
			first = fmt.Sprintf("%s %s (%s) %s %s", e.Kind, e.Name, e.Object, word, e.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	if alarms > 1 {
		first += fmt.Sprintf(" (and %d more: hakone cert calendar)", alarms-1)
	}
	return first
}

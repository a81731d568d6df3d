package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/inspect"
)

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// writeItem prints one thing that was found, a line a fact.
func writeItem(w io.Writer, i *inspect.Item) {
	kind := string(i.Kind)
	if i.CA {
		kind = "CA certificate"
	}
	fmt.Fprintf(w, "%s  %s (%s)\n", kind, i.Place(), i.Form)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-12s %s\n", name, value)
		}
	}
	line("subject", i.Subject)
	line("issuer", i.Issuer)
	line("serial", i.Serial)
	if i.Version > 0 && i.Version < 3 {
		line("version", fmt.Sprint(i.Version))
	}
	line("names", strings.Join(i.Names, ", "))
	if i.NotAfter != nil {
		line("valid", validity(time.Time(*i.NotBefore), time.Time(*i.NotAfter), time.Now()))
	}
	if i.Encrypted {
		line("key", "encrypted")
	}
	line("key", i.Key)
	line("belongs to", i.BelongsTo)
	line("signature", i.Signature)
	line("usages", strings.Join(i.Usages, ", "))
	if i.PathLength != nil {
		line("path length", fmt.Sprint(*i.PathLength))
	}
	line("constraints", strings.Join(i.Constraints, ", "))
	line("fingerprint", prefixed("sha256:", i.Fingerprint))
	line("pin", prefixed("sha256/", i.SPKI))
	line("CRL", strings.Join(i.CRLs, ", "))
	line("OCSP", strings.Join(i.Responders, ", "))
	line("number", i.Number)
	if i.Entries != nil {
		line("entries", fmt.Sprint(*i.Entries))
	}
	line("status", i.Status)
	if i.ThisUpdate != nil {
		line("this update", time.Time(*i.ThisUpdate).UTC().Format(time.RFC3339))
	}
	if i.NextUpdate != nil {
		line("next update", time.Time(*i.NextUpdate).UTC().Format(time.RFC3339))
	}
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// validity words dates with what is left of them.
func validity(from, to, now time.Time) string {
	s := from.UTC().Format(time.DateOnly) + " to " + to.UTC().Format(time.DateOnly)
	switch {
	case now.After(to):
		return s + ", expired " + daysWords(now.Sub(to)) + " ago"
	case now.Before(from):
		return s + ", begins in " + daysWords(from.Sub(now))
	}
	return s + ", " + daysWords(to.Sub(now)) + " left"
}

// daysWords renders a time span in days, and in hours or minutes where it is short.
func daysWords(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return plural(int(d/time.Minute), "minute")
}

func writeSessions(w io.Writer, sessions map[string]inspect.Session) {
	for _, url := range sortedKeys(sessions) {
		s := sessions[url]
		fmt.Fprintf(w, "handshake  %s\n  %-12s %s, %s\n", url, "TLS", s.Version, s.Suite)
		if s.Protocol != "" {
			fmt.Fprintf(w, "  %-12s %s\n", "protocol", s.Protocol)
		}
		if s.WantsCert {
			fmt.Fprintf(w, "  %-12s %s\n", "wants", "a client certificate of "+cmp.Or(strings.Join(s.Accepts, "; "), "any issuer"))
		}
	}
}

// writeFindings prints one finding a line.
func writeFindings(w io.Writer, ds []diag.Diagnostic) {
	for _, d := range ds {
		where := d.Position.File
		if d.Field != "" {
			where += "[" + d.Field + "]"
		}
		if d.Position.Line > 1 {
			where += fmt.Sprintf(":%d", d.Position.Line)
		}
		fmt.Fprintf(w, "%-7s %s  %s: %s", d.Severity, d.Code, where, indent(d.Message))
		if d.Fix != "" {
			fmt.Fprintf(w, " — fix: %s", indent(d.Fix))
		}
		fmt.Fprintln(w)
	}
}

package main

import (
	"fmt"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// pages returns every generated page by its path below the root.
func pages() map[string]string {
	return map[string]string{
		"docs/codes.md":           markdown(diag.Catalogue()),
		"docs/man/hakone-codes.7": manual(diag.Catalogue()),
	}
}

// chapter is a range of codes, by the first two digits.
type chapter struct {
	first diag.Code
	title string
}

// chapters are the ranges of diag.Code. A code without a chapter is a fault that the test finds.
func chapters() []chapter {
	return []chapter{
		{1000, "Hello and negotiation"}, {1100, "Wrong protocol, transport"},
		{2100, "Client certificates"}, {2200, "The client refused our certificate"}, {2300, "Our credential is not available"},
		{3100, "TLS towards an upstream"}, {3200, "Upstream connection and answer"}, {3300, "Through an upstream proxy"},
		{4000, "Malformed or oversized requests"}, {4100, "Routing and policy"}, {4200, "Deadlines and bounds"}, {4300, "HTTP/2 connections"}, {4400, "Overload"}, {4500, "Forward proxies and connections"},
		{5000, "Files and syntax"}, {5100, "References"}, {5200, "Gateways and listeners"}, {5300, "Routes"}, {5400, "TLS settings"},
		{5500, "Certificates"}, {5600, "Services and upstreams"}, {5700, "Accepted without effect"}, {5800, "Policies, origin pools, edge hosts, egress"}, {5900, "Import"},
		{6000, "Process"}, {7000, "Authority and certificates"},
	}
}

// of returns the entries of a chapter.
func (c chapter) of(entries []diag.Entry) []diag.Entry {
	var out []diag.Entry
	for _, e := range entries {
		if e.Code/100 == c.first/100 {
			out = append(out, e)
		}
	}
	return out
}

func markdown(entries []diag.Entry) string {
	var b strings.Builder
	b.WriteString(`<!-- Made by "go run ./tools/docs" from internal/diag. Do not edit. -->
# Codes

Everything that Hakone refuses or finds wrong has a code: the same number and word in log, metric, answer, ` + "`hakone check`" + `,
` + "`hakone status`" + ` and ` + "`hakone explain`" + `. Numbers are never reused. 1xxx to 4xxx are reasons of refused handshakes and requests,
5xxx findings about the configuration, 6xxx are about the process. Where HTTP is reachable, the status is given.

`)
	for _, c := range chapters() {
		fmt.Fprintf(&b, "- [%02dxx %s](#%s)\n", c.first/100, c.title, anchor(c))
	}
	for _, c := range chapters() {
		fmt.Fprintf(&b, "\n## %02dxx %s\n", c.first/100, c.title)
		for _, e := range c.of(entries) {
			fmt.Fprintf(&b, "\n### %s %s\n\n**%s**", e.Code, e.Slug, inline(upper(e.Title)))
			if remark := remark(e); remark != "" {
				fmt.Fprintf(&b, " (%s)", remark)
			}
			fmt.Fprintf(&b, "\n\n%s\n\n*Fix:* %s\n", inline(e.Cause), inline(e.Fix))
		}
	}
	return b.String()
}

// remark says what is worth knowing of severity and status.
func remark(e diag.Entry) string {
	var parts []string
	if e.Severity != diag.Error {
		parts = append(parts, e.Severity.String())
	}
	if e.Status != 0 {
		parts = append(parts, fmt.Sprintf("HTTP %d", e.Status))
	}
	return strings.Join(parts, ", ")
}

// anchor is the name that renderers give to a chapter's heading.
func anchor(c chapter) string {
	text := strings.ToLower(fmt.Sprintf("%02dxx %s", c.first/100, c.title))
	return strings.ReplaceAll(strings.ReplaceAll(text, ",", ""), " ", "-")
}

// inline escapes what Markdown would take for markup.
func inline(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "<", "&lt;", "|", `\|`, "`", "\\`").Replace(s)
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func manual(entries []diag.Entry) string {
	var b strings.Builder
	b.WriteString(`.\" Made by "go run ./tools/docs" from internal/diag. Do not edit.
.TH HAKONE\-CODES 7 "" "hakone" "Hakone"
.SH NAME
hakone\-codes \- what Hakone refuses or finds wrong, by code
.SH DESCRIPTION
Every refused handshake and request, and every finding about the configuration, has a code: the same number and word in log, metric,
answer and command. Numbers are never reused. Where HTTP is reachable, the status of the answer is given.
.PP
.B hakone explain
.I HKnnnn
prints one entry.
`)
	for _, c := range chapters() {
		fmt.Fprintf(&b, ".SH %s\n", roff(strings.ToUpper(c.title)))
		for _, e := range c.of(entries) {
			fmt.Fprintf(&b, ".TP\n.B %s %s\n%s", e.Code, roff(e.Slug), roff(upper(e.Title)))
			if remark := remark(e); remark != "" {
				fmt.Fprintf(&b, " (%s)", remark)
			}
			fmt.Fprintf(&b, ".\n%s\n.br\nFix: %s\n", roff(e.Cause), roff(e.Fix))
		}
	}
	b.WriteString(".SH SEE ALSO\nhakone help\n")
	return b.String()
}

// roff escapes what troff would take for a request or an escape. Long lines are broken by it.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(strings.Join(strings.Fields(s), " "))
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

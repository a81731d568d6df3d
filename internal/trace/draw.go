package trace

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// pen writes indented rows.
type pen struct {
	w      io.Writer
	indent string
}

// line writes one line. Much of it is what others have sent: what a terminal would not print, but obey, is escaped.
func (p pen) line(format string, args ...any) {
	io.WriteString(p.w, Printable(p.indent+fmt.Sprintf(format, args...))+"\n")
}

// Printable escapes what is not printed: control characters, those that turn the direction of the text, bytes that
// are no UTF-8.
func Printable(s string) string {
	hidden := func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			fmt.Fprintf(&b, "\\u%04X", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// row writes a name and what is to be said of it, if there is anything.
func (p pen) row(name, value string) {
	if value != "" {
		p.line("  %-9s %s", name, value)
	}
}

// Draw writes the picture for people, in the order of what happened.
func (p *Picture) Draw(w io.Writer) {
	out := pen{w: w}
	head := p.URL
	if p.Proxy != "" {
		head += " through " + p.Proxy
	}
	out.line("%s", head)
	for i, h := range p.Hops {
		h.draw(out, i+1)
	}
	if p.Again != nil {
		p.Again.drawAgain(out)
	}
	if p.Answer != nil {
		p.Answer.draw(out)
	}
	if p.Direct != nil {
		p.Direct.draw(out)
	}
	out.line("took %s", p.Took)
	DrawFindings(w, p.Findings)
	if p.Next != nil {
		fmt.Fprintln(w)
		p.Next.Draw(w)
	}
}

// DrawFindings writes what was found, with its codes and fixes.
func DrawFindings(w io.Writer, ds []diag.Diagnostic) {
	out := pen{w: w}
	for _, d := range ds {
		code := ""
		if d.Code != 0 {
			code = " " + d.Code.String() + " " + d.Code.Slug()
		}
		out.line("%s%s: %s", d.Severity, code, d.Message)
		if d.Fix != "" {
			out.line("  fix: %s", d.Fix)
		}
	}
}

func (h *Hop) draw(out pen, n int) {
	where := ""
	if h.Inside != "" {
		where = ", inside the tunnel of " + h.Inside
	}
	out.line("%d %s %s%s", n, h.Name, h.Target, where)
	if d := h.DNS; d != nil {
		text := d.Host + " is " + strings.Join(d.Addresses, ", ")
		switch {
		case d.Error != "":
			text = d.Host + ": " + d.Error
		case len(d.Addresses) == 1 && d.Addresses[0] == d.Host:
			text = d.Override // an address
		case d.Override != "":
			text += ", by " + d.Override
		}
		out.row("dns", fmt.Sprintf("%s (%s)", text, d.Took))
	}
	if c := h.TCP; c != nil {
		for _, t := range c.Tried {
			out.row("tcp", t)
		}
		if c.Error == "" {
			out.row("tcp", fmt.Sprintf("%s to %s (%s)", c.Local, c.Remote, c.Took))
		}
	}
	if h.TLS != nil {
		h.TLS.draw(out)
	}
	if c := h.Connect; c != nil {
		text := "CONNECT " + c.Target
		if c.Login {
			text += " with a password"
		}
		switch {
		case c.Status != 0:
			text += fmt.Sprintf(": %d %s", c.Status, c.Reason)
		default:
			text += ": " + c.Error
		}
		out.row("connect", fmt.Sprintf("%s (%s)", text, c.Took))
		drawFields(out, c.Fields)
	}
}

func (t *TLS) draw(out pen) {
	offer := "SNI " + t.SNI
	if t.SNI == "" {
		offer = "no SNI"
	}
	if len(t.Offered) > 0 {
		offer += ", ALPN " + strings.Join(t.Offered, " ")
	}
	if t.JA4 != "" {
		offer += ", JA4 " + t.JA4
	}
	out.row("hello", offer)
	if t.Error == "" {
		alpn := "no ALPN"
		if t.ALPN != "" {
			alpn = "ALPN " + t.ALPN
		}
		out.row("tls", fmt.Sprintf("%s (%s)", joined("TLS "+t.Version, t.Suite, t.Group, alpn, t.session()), t.Took))
	} else {
		out.row("tls", fmt.Sprintf("failed: %s (%s)", t.Error, t.Took))
	}
	switch {
	case t.Ours != "":
		out.row("ours", t.Ours)
	case t.WantsCert:
		out.row("ours", joined("none, though one is asked for", worded("accepted: ", strings.Join(t.Accepts, "; "))))
	}
	for i, c := range t.Chain {
		name := "theirs"
		if i > 0 {
			name = "  chain"
		}
		c.draw(out, name, i == 0)
	}
	out.row("staple", t.Staple)
	t.Verified.draw(out)
}

func (t *TLS) session() string {
	switch {
	case t.Resumed:
		return "session resumed"
	case t.Tickets > 0:
		return fmt.Sprintf("full handshake, tickets: %d", t.Tickets)
	}
	return "full handshake"
}

func (c *Certificate) draw(out pen, name string, leaf bool) {
	out.row(name, c.Subject)
	out.row("", "issued by "+c.Issuer)
	out.row("", fmt.Sprintf("%s, %s, %s to %s", c.Key, c.Signature, c.NotBefore.Format("2006-01-02 15:04Z"), c.NotAfter.Format("2006-01-02 15:04Z")))
	if leaf {
		names := c.Names
		more := ""
		if len(names) > 8 {
			names, more = names[:8], fmt.Sprintf(" and %d more", len(c.Names)-8)
		}
		out.row("", worded("for ", strings.Join(names, ", ")+more))
	}
	out.row("", "sha256:"+c.Fingerprint)
}

func (v *Verification) draw(out pen) {
	if v == nil {
		return
	}
	for _, a := range v.Tried {
		out.row("verify", fmt.Sprintf("not by %s: %s %s", a.Anchors, a.Code, a.Detail))
	}
	switch {
	case v.By == "":
		out.row("verify", "nobody vouches for "+v.Name)
	case v.Code != 0:
		out.row("verify", fmt.Sprintf("%s leads to %s, by %s; yet %s %s", v.Name, v.Anchor, v.By, v.Code, v.Code.Slug()))
	case v.Intercepted:
		out.row("verify", fmt.Sprintf("%s leads to %s, by %s: intercepted", v.Name, v.Anchor, v.By))
	default:
		out.row("verify", fmt.Sprintf("%s leads to %s, by %s", v.Name, v.Anchor, v.By))
	}
}

func (t *TLS) drawAgain(out pen) {
	out.line("a second connection")
	if t.Error != "" {
		out.row("tls", "failed: "+t.Error)
		return
	}
	out.row("tls", fmt.Sprintf("%s (%s)", joined("TLS "+t.Version, t.session()), t.Took))
}

func (a *Answer) draw(out pen) {
	out.line("answer")
	if a.Status == 0 {
		out.row("http", fmt.Sprintf("none: %s (%s)", a.Error, a.Took))
		return
	}
	out.row("http", fmt.Sprintf("%s %d %s, head after %s, %d bytes after %s", a.Proto, a.Status, a.Reason, a.First, a.Bytes, a.Took))
	out.row("title", a.Title)
	drawFields(out, a.Fields)
}

func drawFields(out pen, fields map[string]string) {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		out.row("", name+": "+fields[name])
	}
}

func (c *Comparison) draw(out pen) {
	out.line("the direct path")
	if c.Error != "" {
		out.row("tls", c.Error)
		return
	}
	leaf := c.TLS.Chain[0]
	out.row("theirs", leaf.Subject)
	out.row("", "issued by "+leaf.Issuer)
	out.row("", "sha256:"+leaf.Fingerprint)
	switch {
	case c.By != "":
		out.line("intercepted by %s: on the direct path %s signs for the destination", c.By, leaf.Issuer)
	case c.Both:
		out.line("intercepted on both ways: on the direct path %s signs as well", leaf.Issuer)
	case c.Same:
		out.line("not intercepted: the same certificate on both ways")
	default:
		out.line("not intercepted, as far as issuers tell: another certificate of the same issuer")
	}
}

// joined puts what is there together.
func joined(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ", ")
}

// worded puts a word before what is there.
func worded(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

package native

import (
	"cmp"
	"fmt"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// Defaults of a Monitor, and the bytes of an answer's body that are looked at.
const (
	defaultCheckInterval = 60 * time.Second
	defaultCheckTimeout  = 5 * time.Second
	defaultCheckRetries  = 2
	maxExpectedBody      = 16 << 10
)

// monitor reads a pool's active health check; nil if there is none.
func (t *translator) monitor(p *resource.OriginPool) *ir.Monitor {
	spec := p.Spec.Monitor
	if spec == nil {
		return nil
	}
	m := &monitorReader{t: t, p: p, spec: spec}
	if spec.Type == "" || spec.Type == v1alpha1.MonitorNone {
		m.idle("has type none, so nobody asks", "type", "http, https or tcp", m.allFields())
		return nil
	}
	out := &ir.Monitor{
		Type: string(spec.Type), Port: uint16(spec.Port), Retries: defaultCheckRetries,
		Interval: t.duration(&p.Meta, diag.OriginMonitorInvalid, "spec.monitor.interval", spec.Interval, time.Second, defaultCheckInterval),
		Timeout:  t.duration(&p.Meta, diag.OriginMonitorInvalid, "spec.monitor.timeout", spec.Timeout, time.Millisecond, defaultCheckTimeout),
		Up:       max(int(spec.ConsecutiveUp), 1), Down: max(int(spec.ConsecutiveDown), 1),
	}
	if spec.Retries != nil {
		out.Retries = max(int(*spec.Retries), 0)
	}
	if spec.Type == v1alpha1.MonitorTCP {
		m.idle("only connects", "type", "http or https", m.httpFields())
	} else {
		m.request(out)
	}
	if spec.AllowInsecure {
		if spec.Type == v1alpha1.MonitorHTTPS {
			out.AllowInsecure = true
			t.report(&p.Meta, diag.VerificationOff, "spec.monitor.allowInsecure", "checks accept any certificate, so an origin counts as healthy to which no request can be sent", "Remove allowInsecure; checks verify as requests do.")
		} else {
			m.idle("looks at no certificate", "type", "https", []setField{{"allowInsecure", true}})
		}
	}
	m.port()
	return out
}

// monitorReader reads one Monitor.
type monitorReader struct {
	t    *translator
	p    *resource.OriginPool
	spec *v1alpha1.Monitor
}

// setField is a field and whether it says anything.
type setField struct {
	name string
	set  bool
}

func (m *monitorReader) httpFields() []setField {
	s := m.spec
	return []setField{{"method", s.Method != ""}, {"path", s.Path != ""}, {"headers", len(s.Headers) > 0}, {"expectedCodes", s.ExpectedCodes != ""},
		{"expectedBody", s.ExpectedBody != ""}, {"followRedirects", s.FollowRedirects}}
}

func (m *monitorReader) allFields() []setField {
	s := m.spec
	return append(m.httpFields(), setField{"port", s.Port != 0}, setField{"interval", s.Interval != ""}, setField{"timeout", s.Timeout != ""}, setField{"retries", s.Retries != nil},
		setField{"allowInsecure", s.AllowInsecure}, setField{"consecutiveUp", s.ConsecutiveUp != 0}, setField{"consecutiveDown", s.ConsecutiveDown != 0})
}

// idle reports fields that a monitor like this one does not look at.
func (m *monitorReader) idle(why, field, better string, fields []setField) {
	for _, f := range fields {
		if f.set {
			m.t.report(&m.p.Meta, diag.OriginSettingIdle, "spec.monitor."+f.name, fmt.Sprintf("the monitor %s, and %s does nothing", why, f.name), fmt.Sprintf("Set %s to %s, or remove it.", field, better))
		}
	}
}

func (m *monitorReader) report(field, message, fix string) {
	m.t.report(&m.p.Meta, diag.OriginMonitorInvalid, "spec.monitor."+field, message, fix)
}

// request reads what is sent and what is expected.
func (m *monitorReader) request(out *ir.Monitor) {
	s := m.spec
	out.Method, out.Path = cmp.Or(s.Method, "GET"), cmp.Or(s.Path, "/")
	out.FollowRedirects = s.FollowRedirects
	out.Codes = m.codes(cmp.Or(s.ExpectedCodes, "2xx"))
	if out.Method == "CONNECT" || out.Method == "TRACE" {
		m.report("method", fmt.Sprintf("a check cannot be a %s; GET is sent", out.Method), "Use GET or HEAD.")
		out.Method = "GET"
	}
	switch {
	case s.ExpectedBody == "":
	case out.Method == "HEAD":
		m.report("expectedBody", "an answer to HEAD has no body, so no check could succeed; the body is not looked at", "Use method GET, or remove expectedBody.")
	case len(s.ExpectedBody) > maxExpectedBody:
		m.report("expectedBody", "is longer than the 16 KiB of an answer that are looked at, so no check could succeed; the body is not looked at", "Expect a shorter text.")
	default:
		out.Body = s.ExpectedBody
	}
	for i, h := range s.Headers {
		switch textproto.CanonicalMIMEHeaderKey(h.Name) {
		case "Connection", "Content-Length", "Transfer-Encoding", "Keep-Alive", "Te", "Trailer", "Upgrade", "Proxy-Connection":
			m.report(fmt.Sprintf("headers[%d].name", i), fmt.Sprintf("%s belongs to the connection; it is left out", h.Name), "Remove it.")
			continue
		}
		out.Headers = append(out.Headers, ir.NameValue{Name: h.Name, Value: h.Value})
	}
}

// codes reads "2xx", "200", "200-299", or several with commas.
func (m *monitorReader) codes(text string) []ir.CodeRange {
	var out []ir.CodeRange
	redirects := false
	for item := range strings.SplitSeq(text, ",") {
		c, ok := codeRange(strings.TrimSpace(item))
		if !ok {
			m.report("expectedCodes", fmt.Sprintf("%q is no range of statuses; it is left out", item), `Write "200", "2xx" or "200-299", several with commas.`)
			continue
		}
		redirects = redirects || c.From < 400 && c.To >= 300
		out = append(out, c)
	}
	if len(out) == 0 {
		out = []ir.CodeRange{{From: 200, To: 299}}
	}
	if redirects && m.spec.FollowRedirects {
		m.t.report(&m.p.Meta, diag.OriginSettingIdle, "spec.monitor.followRedirects", "redirects are followed, so a status of 3xx among expectedCodes is met only after the third", "Keep one of the two.")
	}
	return out
}

func codeRange(s string) (ir.CodeRange, bool) {
	if digit, ok := strings.CutSuffix(strings.ToLower(s), "xx"); ok {
		n, err := strconv.Atoi(digit)
		return ir.CodeRange{From: n * 100, To: n*100 + 99}, err == nil && n >= 1 && n <= 5
	}
	first, last, two := strings.Cut(s, "-")
	from, err := strconv.Atoi(strings.TrimSpace(first))
	to := from
	if two && err == nil {
		to, err = strconv.Atoi(strings.TrimSpace(last))
	}
	return ir.CodeRange{From: from, To: to}, err == nil && from >= 100 && to <= 599 && from <= to
}

// port reports checks that meet another protocol than the one they speak.
func (m *monitorReader) port() {
	if m.spec.Port != 0 {
		return
	}
	switch {
	case m.spec.Type == v1alpha1.MonitorHTTPS && m.p.Spec.TLS == nil:
		m.report("type", "checks speak TLS to the port to which requests go in plain HTTP, so none could succeed", "Use type http, give port, or add spec.tls.")
	case m.spec.Type == v1alpha1.MonitorHTTP && m.p.Spec.TLS != nil:
		m.report("type", "checks speak plain HTTP to the port to which requests go with TLS, so none could succeed", "Use type https, or give port.")
	}
}

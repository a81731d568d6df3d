package forward

import (
	"bytes"
	"encoding/json"
	"html/template"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/proxy"
)

// pageFacts are what a page tells.
type pageFacts struct {
	Code, Slug, Reason, Detail, Fix, Host, URL, ID, Contact, Hostname string
	Status                                                            int
	Title                                                             string
}

// standardPage is the page where the policy has none of its own.
const standardPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{.Status}} {{.Title}}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:44em;margin:3em auto;padding:0 1em}code{overflow-wrap:anywhere}</style>
<h1>{{.Status}} {{.Title}}</h1>
<p><strong>{{.Reason}}</strong></p>
<p><code>{{.URL}}</code></p>
{{if .Detail}}<p>{{.Detail}}</p>{{end}}
{{if .Fix}}<p>What helps: {{.Fix}}</p>{{end}}
<p><small>{{.Code}} {{.Slug}} · request {{.ID}} · {{.Hostname}}{{if .Contact}} · {{.Contact}}{{end}}</small></p>
</html>
`

// pageTemplate returns the standard page for "", else the user's, whose words are in double braces.
func pageTemplate(own string) *template.Template {
	text := standardPage
	if own != "" {
		names := map[string]string{"code": "Code", "reason": "Reason", "detail": "Detail", "fix": "Fix", "host": "Host", "url": "URL", "id": "ID", "contact": "Contact", "status": "Status", "hostname": "Hostname"}
		// Only the known words are actions; everything else of the user's text is text.
		text = strings.NewReplacer("{{", "{{`{{`}}").Replace(own)
		for word, field := range names {
			for _, form := range []string{"{{`{{`}}" + word + "}}", "{{`{{`}} " + word + " }}", "{{`{{`}}." + word + "}}"} {
				text = strings.ReplaceAll(text, form, "{{."+field+"}}")
			}
		}
	}
	t, err := template.New("page").Parse(text)
	if err != nil {
		t = template.Must(template.New("page").Parse(standardPage))
	}
	return t
}

// deny answers a request with the page of a refusal.
func (t *Port) deny(q *asked, no *refusal) proxy.ForwardChoice {
	r := q.r
	if no.code == diag.ForwardDenied || no.code == diag.ForwardTerminated || no.status == 407 {
		r.Access.Result = "TCP_DENIED"
	} else if r.Access.Result == "" || r.Access.Result == "TCP_TUNNEL" {
		r.Access.Result = "NONE_NONE"
		if string(r.Request.Method) != "CONNECT" {
			r.Access.Result = "TCP_MISS"
		}
	}
	return t.answer(q, no)
}

// answer is deny without what the log says of the result.
func (t *Port) answer(q *asked, no *refusal) proxy.ForwardChoice {
	status := no.status
	entry, _ := diag.Lookup(no.code)
	if status == 0 {
		if status = entry.Status; status == 0 {
			status = 503
		}
	}
	r := q.r
	if r.Access.Hierarchy == "" {
		r.Access.Hierarchy = "HIER_NONE"
	}
	answer := &filter.Response{Status: status, Code: no.code, Detail: no.detail}
	answer.Body, answer.Type = t.render(r, status, no, &entry)
	if status == 407 {
		answer.Fields = append(answer.Fields, ir.NameValue{Name: "Proxy-Authenticate", Value: `Basic realm="` + quoted(t.realm) + `", charset="UTF-8"`})
	}
	return proxy.ForwardChoice{Respond: answer}
}

// Explain implements proxy.Forwarder.
func (t *Port) Explain(r *proxy.ForwardRequest, answer *filter.Response) (body []byte, contentType string) {
	entry, _ := diag.Lookup(answer.Code)
	return t.render(r, answer.Status, &refusal{code: answer.Code, detail: answer.Detail}, &entry)
}

// quoted makes a text fit into a quoted string (RFC 9110 section 5.6.4).
func quoted(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", "", "\n", "").Replace(s)
}

// render makes the page: HTML for people, JSON or plain text for programs.
func (t *Port) render(r *proxy.ForwardRequest, status int, no *refusal, entry *diag.Entry) (body []byte, kind string) {
	f := pageFacts{Code: no.code.String(), Slug: entry.Slug, Reason: entry.Title, Detail: no.detail, Fix: entry.Fix, Host: string(r.Request.Host),
		URL: string(r.Access.URL), ID: string(r.ID), Contact: t.ir.Contact, Hostname: t.ir.Hostname, Status: status, Title: message.StatusText(status)}
	if f.Title == "" {
		f.Title = "Error"
	}
	accept, _ := r.Request.Fields.Get(message.Accept)
	switch wants := string(accept); {
	case strings.Contains(wants, "text/html"):
		var out bytes.Buffer
		if err := t.page.Execute(&out, f); err == nil {
			return out.Bytes(), "text/html; charset=utf-8"
		}
	case strings.Contains(wants, "json"):
		out, err := json.Marshal(map[string]any{"status": status, "title": f.Title, "code": f.Code, "reason": f.Slug, "message": f.Reason, "detail": f.Detail, "fix": f.Fix,
			"url": f.URL, "requestId": f.ID, "contact": f.Contact, "proxy": f.Hostname})
		if err == nil {
			return append(out, '\n'), "application/json"
		}
	}
	var out strings.Builder
	line := func(label, value string) {
		if value != "" {
			out.WriteString(label + value + "\n")
		}
	}
	line(f.Code+" "+f.Slug+": ", f.Reason)
	line("url: ", f.URL)
	line("detail: ", f.Detail)
	line("fix: ", f.Fix)
	line("request: ", f.ID)
	line("contact: ", f.Contact)
	return []byte(out.String()), "text/plain; charset=utf-8"
}

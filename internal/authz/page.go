package authz

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"html"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/filter"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/message"
)

// Ask is what an answer depends on beside the decision.
type Ask struct {
	Accept []byte // the request's field
	Host   []byte
	ID     []byte // of the request
	GRPC   bool   // the answer will be one of gRPC, which has no page
}

// page is a policy's DenyPage, ready to be filled in. Without html or json it is Hakone's own.
type page struct {
	status     int
	location   string
	html, json template
	aud        string // of the preset that tells it; "": none
}

func newPage(p *ir.AccessPolicy) page {
	out := page{status: 403}
	if d := p.Page; d != nil {
		if d.Status != 0 {
			out.status = d.Status
		}
		out.location, out.html, out.json = d.Redirect, newTemplate(d.HTML), newTemplate(d.JSON)
	}
	if out.html == nil {
		out.html = newTemplate(ownPage)
	}
	if p.Preset == ir.PresetCloudflare {
		sum := sha256.Sum256([]byte(p.Name))
		if out.aud = hex.EncodeToString(sum[:]); p.Session != nil && p.Session.Audience != "" {
			out.aud = p.Session.Audience
		}
	}
	return out
}

// Answer makes the answer of a refusal. It tells the reason, and nothing of the configuration.
func (d *Decision) Answer(a Ask) *filter.Response {
	p := page{status: 403}
	if d.Policy != nil {
		p = d.Policy.page
	}
	r := &filter.Response{Status: p.status, Code: d.Code, Detail: d.Detail}
	if p.aud != "" {
		r.Fields = []ir.NameValue{{Name: "Cf-Ray", Value: string(a.ID)}, {Name: "Cf-Access-Aud", Value: p.aud}, {Name: "Cf-Access-Domain", Value: string(a.Host)}}
	}
	switch {
	case a.GRPC:
		if r.Status = 403; d.Code == diag.ClientCertMissing {
			r.Status = 401
		}
		return r
	case p.location != "":
		r.Status, r.Location = 302, p.location
	}
	r.Fields = append(r.Fields, ir.NameValue{Name: "X-Content-Type-Options", Value: "nosniff"})
	v := values{status: r.Status, code: d.Code, id: string(a.ID), host: string(a.Host)}
	if wantsJSON(a.Accept) {
		r.Type, r.Body = "application/json", ownJSON(v)
		if p.json != nil {
			r.Body = p.json.fill(v, jsonText)
		}
		return r
	}
	if p.html == nil {
		p.html = newTemplate(ownPage)
	}
	r.Type, r.Body = "text/html; charset=utf-8", p.html.fill(v, html.EscapeString)
	return r
}

// Alias returns the name of the field in which a policy of a preset tells the request's ID on every
// answer; "" for none.
func (d *Decision) Alias() string {
	if d.Policy == nil || d.Policy.page.aud == "" {
		return ""
	}
	return "Cf-Ray"
}

// wantsJSON reports whether an Accept field asks for JSON rather than a page.
func wantsJSON(accept []byte) bool {
	return bytes.Contains(accept, []byte("json")) && !bytes.Contains(accept, []byte("text/html"))
}

// values are what pages tell.
type values struct {
	status   int
	code     diag.Code
	id, host string
}

func (v values) get(name string) (string, bool) {
	switch name {
	case "code":
		return v.code.String(), true
	case "reason":
		return Sentence(v.code), true
	case "slug":
		return v.code.Slug(), true
	case "requestId":
		return v.id, true
	case "host":
		return v.host, true
	case "status":
		return strconv.Itoa(v.status), true
	}
	return "", false
}

// template is text with names of values between: at odd places stand names.
type template []string

// newTemplate cuts text at "${NAME}"; nil for "". What is no known name stays as it is.
func newTemplate(text string) template {
	if text == "" {
		return nil
	}
	out := template{""}
	for text != "" {
		before, rest, found := strings.Cut(text, "${")
		out[len(out)-1] += before
		if !found {
			break
		}
		name, after, closed := strings.Cut(rest, "}")
		if _, known := (values{}).get(name); !closed || !known {
			out[len(out)-1] += "${"
			text = rest
			continue
		}
		out = append(out, name, "")
		text = after
	}
	return out
}

func (t template) fill(v values, escape func(string) string) []byte {
	n := 0
	for i, s := range t {
		if n += len(s); i%2 == 1 {
			n += 64
		}
	}
	b := make([]byte, 0, n)
	for i, s := range t {
		if i%2 == 1 {
			s, _ = v.get(s)
			s = escape(s)
		}
		b = append(b, s...)
	}
	return b
}

// jsonText escapes for a place inside a JSON string; markup too, in case somebody shows it.
func jsonText(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	return string(b[1 : len(b)-1])
}

func ownJSON(v values) []byte {
	body, err := json.Marshal(struct {
		Status    int    `json:"status"`
		Title     string `json:"title"`
		Code      string `json:"code"`
		Reason    string `json:"reason"`
		Message   string `json:"message"`
		Host      string `json:"host"`
		RequestID string `json:"requestId"`
	}{v.status, message.StatusText(v.status), v.code.String(), v.code.Slug(), Sentence(v.code), v.host, v.id})
	if err != nil {
		return []byte("{}\n")
	}
	return append(body, '\n')
}

const ownPage = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="robots" content="noindex">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${status} – ${reason}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:12vh auto;padding:0 1.5em;color:#222}h1{font-size:1.4em}code{color:#555}</style>
</head>
<body>
<h1>${reason}</h1>
<p>If you think that you should be let in, tell those who run this site the request ID.</p>
<p><code>${code} ${slug}<br>${host}<br>request ${requestId}</code></p>
</body>
</html>
`

// Sentence tells people who were turned away why, without any name of the configuration or certificate.
func Sentence(code diag.Code) string {
	switch code {
	case diag.ClientCertMissing:
		return "A client certificate is needed here, and none was sent."
	case diag.ClientCertUnknownCA:
		return "The client certificate was issued by a CA that is not accepted here."
	case diag.ClientCertExpired:
		return "The client certificate has expired."
	case diag.ClientCertNotYetValid:
		return "The client certificate is not valid yet."
	case diag.ClientCertWrongEKU:
		return "The client certificate is not meant for client authentication."
	case diag.ClientCertRevoked, diag.ClientCertRevokedLocally, diag.ClientCertRevokedOCSP:
		return "The client certificate has been revoked."
	case diag.CRLStale, diag.CRLMissing, diag.ClientRevocationUnknown, diag.ClientOCSPInvalid, diag.ClientCRLInvalid:
		return "Whether the client certificate has been revoked cannot be found out at the moment."
	case diag.ClientCertWeakKey:
		return "The client certificate has a weak key or signature."
	case diag.ClientCertNotAuthorised:
		return "The client certificate is valid, but it is not authorised here."
	case diag.ClientCertDenied:
		return "This client certificate is not let in here."
	case diag.IdentityInvalid:
		return "The identity cookie is not valid here. Come with the client certificate."
	case diag.IdentityExpired:
		return "The identity cookie has expired. Come with the client certificate."
	case diag.IdentityRevoked:
		return "The identity cookie has been revoked. Come with the client certificate."
	case diag.PolicyNeedsTLS:
		return "This page is open over HTTPS with a client certificate only."
	}
	if code > 2100 && code < 2200 && code != diag.PolicyBroken {
		return "The client certificate is not accepted here."
	}
	return "Nobody is let in here at the moment."
}

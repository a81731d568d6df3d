package authz

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
)

func TestOwnPages(t *testing.T) {
	d := Decision{Verdict: Deny, Policy: &Policy{ir: &ir.AccessPolicy{Name: "secret-ns/secret-name"}, page: newPage(&ir.AccessPolicy{})}, Name: "secret-ns/secret-name", Code: diag.ClientCertMissing, Detail: "internal words"}
	for accept, kind := range map[string]string{"": "text/html; charset=utf-8", "*/*": "text/html; charset=utf-8", "text/html,application/json": "text/html; charset=utf-8",
		"application/json": "application/json", "application/problem+json": "application/json"} {
		r := d.Answer(Ask{Accept: []byte(accept), Host: []byte("h.test"), ID: []byte(`i"d<>`)})
		body := string(r.Body)
		if r.Type != kind || r.Status != 403 || r.Code != diag.ClientCertMissing || r.Detail != "internal words" {
			t.Errorf("%q: %+v", accept, r)
		}
		if strings.Contains(body, "internal") || strings.Contains(body, "secret") || strings.Contains(body, `i"d<`) ||
			!strings.Contains(body, "HK2101") || !strings.Contains(body, "client_cert_missing") || !strings.Contains(body, "none was sent") || !strings.Contains(body, "h.test") {
			t.Errorf("%q: %s", accept, body)
		}
		if kind == "application/json" && !json.Valid(r.Body) {
			t.Errorf("%q: %s", accept, body)
		}
	}
	if r := d.Answer(Ask{GRPC: true}); r.Status != 401 || r.Body != nil {
		t.Errorf("gRPC: %+v", r)
	}
	missing := Decision{Verdict: Deny, Name: "x", Code: diag.PolicyBroken}
	if r := missing.Answer(Ask{}); r.Status != 403 || len(r.Body) == 0 {
		t.Errorf("%+v", r)
	}
}

func TestCustomPages(t *testing.T) {
	page := &ir.DenyPage{Status: 404, HTML: "<b>${reason}</b> ${code} ${requestId} ${host} ${status} ${slug} ${other} ${ $", JSON: `{"id":"${requestId}","why":"${reason}","${code":1}`}
	p := &ir.AccessPolicy{Name: "n", Page: page, Preset: ir.PresetCloudflare, Session: &ir.Session{Audience: "aud"}}
	d := Decision{Verdict: Deny, Policy: &Policy{ir: p, page: newPage(p)}, Code: diag.ClientCertExpired}
	r := d.Answer(Ask{Host: []byte("h.test"), ID: []byte(`<"\>`)})
	if want := "<b>The client certificate has expired.</b> HK2103 &lt;&#34;\\&gt; h.test 404 client_cert_expired ${other} ${ $"; string(r.Body) != want || r.Status != 404 {
		t.Errorf("%d %s\nwant %s", r.Status, r.Body, want)
	}
	want := []ir.NameValue{{Name: "Cf-Ray", Value: `<"\>`}, {Name: "Cf-Access-Aud", Value: "aud"}, {Name: "Cf-Access-Domain", Value: "h.test"}}
	for i, f := range want {
		if r.Fields[i] != f {
			t.Errorf("%v", r.Fields)
		}
	}
	r = d.Answer(Ask{Accept: []byte("application/json"), ID: []byte(`<"\>`)})
	if want := `{"id":"\u003c\"\\\u003e","why":"The client certificate has expired.","${code":1}`; string(r.Body) != want {
		t.Errorf("%s\nwant %s", r.Body, want)
	}
	p = &ir.AccessPolicy{Page: &ir.DenyPage{Redirect: "https://help.test/"}}
	d.Policy = &Policy{ir: p, page: newPage(p)}
	if r = d.Answer(Ask{}); r.Status != 302 || r.Location != "https://help.test/" {
		t.Errorf("%+v", r)
	}
	if r = d.Answer(Ask{GRPC: true}); r.Status != 403 || r.Location != "" {
		t.Errorf("%+v", r)
	}
}

// Every reason that a policy can have is told in words.
func TestEveryReasonHasWords(t *testing.T) {
	for _, e := range diag.Catalogue() {
		if s := Sentence(e.Code); s == "" || strings.Contains(s, "HK") {
			t.Errorf("%s: %q", e.Code, s)
		}
	}
}

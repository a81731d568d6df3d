package admin

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"time"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// AuthorityPath is where the running process's authorities are asked: POST AuthorityPath/NAME/OPERATION.
const AuthorityPath = "/authority"

// AuthorityCall is the body of a question to an authority; which fields count depends on the operation:
// info, issue, sign, renew, revoke, release, get, list, crl, publish, rotate, bundle, crls.
type AuthorityCall struct {
	Request ca.Request       `json:"request,omitzero"`
	Renewal ca.Renewal       `json:"renewal,omitzero"`
	Rotate  ca.RotateOptions `json:"rotate,omitzero"`
	Step    ca.Step          `json:"step,omitempty"`
	Filter  ca.Filter        `json:"filter,omitzero"`
	CSR     []byte           `json:"csr,omitempty"`
	Refs    []string         `json:"refs,omitempty"`
	Reason  string           `json:"reason,omitempty"`
	ID      string           `json:"id,omitempty"`
	Life    time.Duration    `json:"life,omitempty"` // nanoseconds
}

// AuthorityAnswer is what an authority answers. Refused is set instead of all else but Findings where it
// did not do what was asked.
type AuthorityAnswer struct {
	Info     *ca.Info     `json:"info,omitempty"`
	Entries  []ca.Entry   `json:"entries,omitempty"`
	Chain    [][]byte     `json:"chain,omitempty"` // DER
	Key      string       `json:"key,omitempty"`   // PEM
	List     *ca.List     `json:"list,omitempty"`
	Rotation ca.Rotation  `json:"rotation,omitzero"`
	PEM      []byte       `json:"pem,omitempty"`
	Findings []ca.Finding `json:"findings,omitempty"`
	Refused  *Problem     `json:"refused,omitempty"`
}

// Authority is an authority of the running process. Its methods are those of ca.Authority; errors are
// *ca.Error, or those of Client.
type Authority struct {
	client *Client
	name   string
}

// Authority returns the authority of that name of the running process.
func (c *Client) Authority(name string) *Authority { return &Authority{c, name} }

func (a *Authority) call(ctx context.Context, operation string, c AuthorityCall) (*AuthorityAnswer, error) {
	var out AuthorityAnswer
	if err := a.client.Post(ctx, AuthorityPath+"/"+url.PathEscape(a.name)+"/"+operation, c, &out); err != nil {
		return &out, err
	}
	if p := out.Refused; p != nil {
		return &out, &ca.Error{Code: p.Code, Message: p.Title, Fix: p.Fix, Findings: out.Findings}
	}
	return &out, nil
}

// Info implements what "hakone ca show" asks.
func (a *Authority) Info(ctx context.Context) (ca.Info, error) {
	out, err := a.call(ctx, "info", AuthorityCall{})
	if err != nil || out.Info == nil {
		return ca.Info{}, err
	}
	for i := range out.Info.CAs {
		if p, _ := pem.Decode([]byte(out.Info.CAs[i].PEM)); p != nil {
			out.Info.CAs[i].Certificate, _ = x509.ParseCertificate(p.Bytes) // nil as documented for one that Go refuses
		}
	}
	return *out.Info, nil
}

// Issue is ca.Authority.Issue.
func (a *Authority) Issue(ctx context.Context, r ca.Request) (*ca.Issued, []ca.Finding, error) {
	return a.issued(ctx, "issue", AuthorityCall{Request: r})
}

// Sign is ca.Authority.Sign.
func (a *Authority) Sign(ctx context.Context, csr []byte, r ca.Request) (*ca.Issued, []ca.Finding, error) {
	return a.issued(ctx, "sign", AuthorityCall{CSR: csr, Request: r})
}

// Renew is ca.Authority.Renew.
func (a *Authority) Renew(ctx context.Context, ref string, r ca.Renewal) (*ca.Issued, []ca.Finding, error) {
	return a.issued(ctx, "renew", AuthorityCall{Refs: []string{ref}, Renewal: r})
}

// Get is ca.Authority.Get.
func (a *Authority) Get(ctx context.Context, ref string) (*ca.Issued, error) {
	i, _, err := a.issued(ctx, "get", AuthorityCall{Refs: []string{ref}})
	return i, err
}

func (a *Authority) issued(ctx context.Context, operation string, c AuthorityCall) (*ca.Issued, []ca.Finding, error) {
	out, err := a.call(ctx, operation, c)
	if err != nil {
		return nil, out.Findings, err
	}
	if len(out.Entries) != 1 || len(out.Chain) == 0 {
		return nil, nil, fmt.Errorf("%w: no certificate in it", ErrAnswer)
	}
	i := &ca.Issued{Entry: out.Entries[0]}
	if out.Key != "" {
		i.Key = secret.NewBytes([]byte(out.Key))
	}
	for _, der := range out.Chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		i.Chain = append(i.Chain, c)
	}
	i.Certificate = i.Chain[0]
	return i, out.Findings, nil
}

// Revoke is ca.Authority.Revoke.
func (a *Authority) Revoke(ctx context.Context, reason string, refs ...string) ([]ca.Entry, error) {
	out, err := a.call(ctx, "revoke", AuthorityCall{Reason: reason, Refs: refs})
	return out.Entries, err
}

// Release is ca.Authority.Release.
func (a *Authority) Release(ctx context.Context, refs ...string) ([]ca.Entry, error) {
	out, err := a.call(ctx, "release", AuthorityCall{Refs: refs})
	return out.Entries, err
}

// List is ca.Authority.List.
func (a *Authority) List(ctx context.Context, f ca.Filter) ([]ca.Entry, error) {
	out, err := a.call(ctx, "list", AuthorityCall{Filter: f})
	return out.Entries, err
}

// CRL is ca.Authority.CRL, or with publish set PublishCRLFor.
func (a *Authority) CRL(ctx context.Context, id string, publish bool, life time.Duration) (*ca.List, error) {
	operation := "crl"
	if publish {
		operation = "publish"
	}
	out, err := a.call(ctx, operation, AuthorityCall{ID: id, Life: life})
	return out.List, err
}

// Rotate is ca.Authority.Rotate.
func (a *Authority) Rotate(ctx context.Context, s ca.Step, o ca.RotateOptions) (ca.Rotation, []ca.Finding, error) {
	out, err := a.call(ctx, "rotate", AuthorityCall{Step: s, Rotate: o})
	return out.Rotation, out.Findings, err
}

// Bundle is ca.Authority.BundlePEM.
func (a *Authority) Bundle(ctx context.Context) ([]byte, error) {
	out, err := a.call(ctx, "bundle", AuthorityCall{})
	return out.PEM, err
}

// CRLs is ca.Authority.CRLBundlePEM.
func (a *Authority) CRLs(ctx context.Context) ([]byte, error) {
	out, err := a.call(ctx, "crls", AuthorityCall{})
	return out.PEM, err
}

// LocalAuthority makes an authority that this process has open answer as one of a running process does.
type LocalAuthority struct{ *ca.Authority }

// Info is ca.Authority.Info.
func (a LocalAuthority) Info(context.Context) (ca.Info, error) { return a.Authority.Info() }

// Get is ca.Authority.Get.
func (a LocalAuthority) Get(_ context.Context, ref string) (*ca.Issued, error) {
	return a.Authority.Get(ref)
}

// List is ca.Authority.List.
func (a LocalAuthority) List(_ context.Context, f ca.Filter) ([]ca.Entry, error) {
	return a.Authority.List(f)
}

// CRL is ca.Authority.CRL, or with publish set PublishCRLFor.
func (a LocalAuthority) CRL(ctx context.Context, id string, publish bool, life time.Duration) (*ca.List, error) {
	if publish {
		return a.PublishCRLFor(ctx, id, life)
	}
	return a.Authority.CRL(ctx, id)
}

// Bundle is ca.Authority.BundlePEM.
func (a LocalAuthority) Bundle(context.Context) ([]byte, error) { return a.BundlePEM() }

// CRLs is ca.Authority.CRLBundlePEM.
func (a LocalAuthority) CRLs(ctx context.Context) ([]byte, error) { return a.CRLBundlePEM(ctx) }

// AnswerAuthority does what a call asks of an authority: the other side of Authority.
func AnswerAuthority(ctx context.Context, a LocalAuthority, operation string, c AuthorityCall) (*AuthorityAnswer, error) {
	out := &AuthorityAnswer{}
	var err error
	issued := func(i *ca.Issued, found []ca.Finding, e error) {
		out.Findings, err = found, e
		if e != nil {
			return
		}
		out.Entries, out.Key = []ca.Entry{i.Entry}, string(i.Key.Expose())
		for _, x := range i.Chain {
			out.Chain = append(out.Chain, x.Raw)
		}
	}
	ref := ""
	if len(c.Refs) > 0 {
		ref = c.Refs[0]
	}
	switch operation {
	case "info":
		var info ca.Info
		info, err = a.Info(ctx)
		out.Info = &info
	case "issue":
		issued(a.Issue(ctx, c.Request))
	case "sign":
		issued(a.Sign(ctx, c.CSR, c.Request))
	case "renew":
		issued(a.Renew(ctx, ref, c.Renewal))
	case "get":
		i, e := a.Get(ctx, ref)
		issued(i, nil, e)
	case "revoke":
		out.Entries, err = a.Revoke(ctx, c.Reason, c.Refs...)
	case "release":
		out.Entries, err = a.Release(ctx, c.Refs...)
	case "list":
		out.Entries, err = a.List(ctx, c.Filter)
	case "crl", "publish":
		out.List, err = a.CRL(ctx, c.ID, operation == "publish", c.Life)
	case "rotate":
		out.Rotation, out.Findings, err = a.Rotate(ctx, c.Step, c.Rotate)
	case "bundle":
		out.PEM, err = a.Bundle(ctx)
	case "crls":
		out.PEM, err = a.CRLs(ctx)
	default:
		err = &ca.Error{Code: diag.IssueInvalid, Message: fmt.Sprintf("an authority has no operation %q", operation), Fix: "Use the command of the same release as the running process."}
	}
	return out, err
}

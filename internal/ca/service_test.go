package ca_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/hakone-gateway/hakone/internal/ca"
	"github.com/hakone-gateway/hakone/internal/secret"
)

type got struct {
	status int
	header http.Header
	body   []byte
}

func get(t *testing.T, url string, header ...string) got {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return do(t, req)
}

func post(t *testing.T, url, media string, body []byte) got {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", media)
	return do(t, req)
}

func do(t *testing.T, req *http.Request) got {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got{resp.StatusCode, resp.Header, b}
}

func mustBundle(t *testing.T, a *ca.Authority) []byte {
	t.Helper()
	b, err := a.BundlePEM()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// responder is an authority with one certificate, served.
type responder struct {
	*ca.Authority
	url    string
	leaf   *ca.Issued
	issuer *x509.Certificate
	now    *clock
	dir    string
}

func serve(t *testing.T) *responder {
	t.Helper()
	r := &responder{now: newClock(), dir: t.TempDir()}
	o := ca.Options{Now: r.now.now}
	r.Authority = create(t, ca.Dir(r.dir), ca.Setup{}, o)
	service, err := ca.NewService(t.Context(), ca.Dir(r.dir), o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(service)
	t.Cleanup(srv.Close)
	r.url = srv.URL
	if r.leaf, _, err = r.Issue(t.Context(), ca.Request{Profile: ca.Server, Names: []string{"a.test"}}); err != nil {
		t.Fatal(err)
	}
	r.issuer = r.leaf.Chain[1]
	return r
}

func (r *responder) ask(t *testing.T, h crypto.Hash) string {
	t.Helper()
	der, err := ocsp.CreateRequest(r.leaf.Certificate, r.issuer, &ocsp.RequestOptions{Hash: h})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func (r *responder) read(t *testing.T, g got) *ocsp.Response {
	t.Helper()
	a, err := ocsp.ParseResponseForCert(g.body, r.leaf.Certificate, r.issuer)
	if err != nil || g.status != http.StatusOK || g.header.Get("Content-Type") != "application/ocsp-response" {
		t.Fatalf("status %d %v: %v", g.status, g.header, err)
	}
	return a
}

// What golang.org/x/crypto reads of our answers, for every hash and every way to write a GET.
func TestOCSPOverGET(t *testing.T) {
	t.Parallel()
	r := serve(t)
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		text := r.ask(t, h)
		for how, path := range map[string]string{
			"escaped": url.PathEscape(text), "as it is": text, "for URLs": base64.URLEncoding.EncodeToString(must(base64.StdEncoding.DecodeString(text))), "without padding": strings.TrimRight(text, "="),
		} {
			a := r.read(t, get(t, r.url+"/ocsp/"+path))
			if a.Status != ocsp.Good || a.IssuerHash != h || !a.ThisUpdate.Equal(r.now.t) || !a.NextUpdate.Equal(r.now.t.Add(12*time.Hour)) || a.Certificate.NotAfter.Sub(a.Certificate.NotBefore) > 15*day {
				t.Errorf("%s %s: %+v", h, how, a)
			}
		}
	}
	g := get(t, r.url+"/ocsp/"+url.PathEscape(r.ask(t, crypto.SHA1)))
	for k, want := range map[string]string{"Cache-Control": "max-age=300, public, no-transform, must-revalidate", "Expires": "Sun, 01 Mar 2026 12:05:00 GMT", "Last-Modified": "Sun, 01 Mar 2026 12:00:00 GMT"} {
		if g.header.Get(k) != want {
			t.Errorf("%s: %q", k, g.header.Get(k))
		}
	}
	if again := get(t, r.url+"/ocsp/"+url.PathEscape(r.ask(t, crypto.SHA1)), "If-None-Match", g.header.Get("ETag")); again.status != http.StatusNotModified {
		t.Errorf("status %d for what has not changed", again.status)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// The same answer is given until half of its life is over or the certificate's standing changes; by
// another process too.
func TestOCSPCache(t *testing.T) {
	t.Parallel()
	r := serve(t)
	path := r.url + "/ocsp/" + url.PathEscape(r.ask(t, crypto.SHA1))
	first := r.read(t, get(t, path))
	r.now.t = r.now.t.Add(5 * time.Hour)
	if a := r.read(t, get(t, path)); !a.ThisUpdate.Equal(first.ThisUpdate) || !bytes.Equal(a.Signature, first.Signature) {
		t.Error("signed anew")
	}
	r.now.t = r.now.t.Add(2 * time.Hour)
	second := r.read(t, get(t, path))
	if !second.ThisUpdate.Equal(r.now.t) {
		t.Error("an old answer:", second.ThisUpdate)
	}
	if _, err := r.Revoke(t.Context(), "superseded", r.leaf.Entry.Serial); err != nil {
		t.Fatal(err)
	}
	a := r.read(t, get(t, path))
	if a.Status != ocsp.Revoked || a.RevocationReason != ocsp.Superseded || !a.RevokedAt.Equal(r.now.t) {
		t.Errorf("%+v", a)
	}
	// The responder's certificate is replaced long before its end, and kept as long as it need not be.
	same := first.Certificate.SerialNumber
	for range 3 {
		r.now.t = r.now.t.Add(6 * day)
		b := r.read(t, get(t, path))
		if r.now.t.After(b.Certificate.NotAfter.Add(-6*day)) || b.NextUpdate.After(b.Certificate.NotAfter) {
			t.Errorf("the responder's certificate ends %s at %s", b.Certificate.NotAfter, r.now.t)
		}
		if same.Cmp(b.Certificate.SerialNumber) == 0 && r.now.t.Sub(first.Certificate.NotBefore) > 8*day {
			t.Error("the responder's certificate is not replaced")
		}
	}
	service, err := ca.NewService(t.Context(), ca.Dir(r.dir), ca.Options{Now: r.now.now})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	before := r.read(t, get(t, path))
	service.ServeHTTP(w, httptest.NewRequest(http.MethodGet, strings.TrimPrefix(path, r.url), nil))
	if b := r.read(t, got{w.Code, w.Header(), w.Body.Bytes()}); b.Certificate.SerialNumber.Cmp(before.Certificate.SerialNumber) != 0 {
		t.Error("a restart made another responder")
	}
}

func TestOCSPOverPOST(t *testing.T) {
	r := serve(t)
	plain := must(base64.StdEncoding.DecodeString(r.ask(t, crypto.SHA256)))
	const media = "application/ocsp-request"
	if a := r.read(t, post(t, r.url+"/ocsp", media, plain)); a.Status != ocsp.Good {
		t.Errorf("%+v", a)
	}
	unknown := &ocsp.Request{HashAlgorithm: crypto.SHA1, IssuerNameHash: make([]byte, 20), IssuerKeyHash: make([]byte, 20), SerialNumber: big.NewInt(1)}
	for name, c := range map[string]struct {
		body   []byte
		media  string
		status int
		code   ocsp.ResponseStatus
	}{
		"other issuer": {must(unknown.Marshal()), media, 200, ocsp.Unauthorized},
		"garbage":      {[]byte("hello"), media, 200, ocsp.Malformed},
		"empty":        {nil, media, 200, ocsp.Malformed},
		"trailing":     {append(bytes.Clone(plain), 0), media, 200, ocsp.Malformed},
		"long nonce":   {withNonce(t, plain, make([]byte, 129)), media, 200, ocsp.Malformed},
		"empty nonce":  {withNonce(t, plain, nil), media, 200, ocsp.Malformed},
		"too large":    {make([]byte, 1<<20), media, 413, 0},
		"wrong type":   {plain, "text/plain", 415, 0},
	} {
		g := post(t, r.url+"/ocsp", c.media, c.body)
		if g.status != c.status {
			t.Errorf("%s: status %d", name, g.status)
		}
		if c.status == 200 {
			if _, err := ocsp.ParseResponse(g.body, nil); err == nil || err.Error() != "ocsp: error from server: "+c.code.String() {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	nonce := bytes.Repeat([]byte{7}, 32)
	g := post(t, r.url+"/ocsp", media, withNonce(t, plain, nonce))
	if a := r.read(t, g); a.Status != ocsp.Good || !bytes.Contains(a.TBSResponseData, append([]byte{4, 32}, nonce...)) {
		t.Error("the nonce is not in what is signed")
	}
	if g.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", g.header)
	}
}

// withNonce adds the extension to a request that has none.
func withNonce(t *testing.T, der, nonce []byte) []byte {
	t.Helper()
	var req struct{ TBS struct{ List asn1.RawValue } }
	if _, err := asn1.Unmarshal(der, &req); err != nil {
		t.Fatal(err)
	}
	type extension struct {
		ID    asn1.ObjectIdentifier
		Value []byte
	}
	type tbs struct {
		List       asn1.RawValue
		Extensions []extension `asn1:"explicit,tag:2"`
	}
	value, err := asn1.Marshal(nonce)
	if nonce == nil {
		value = nil
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := asn1.Marshal(struct{ TBS tbs }{tbs{req.TBS.List, []extension{{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}, value}}}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestListsAndCertificatesAreServed(t *testing.T) {
	r := serve(t)
	if _, err := r.Revoke(t.Context(), "", r.leaf.Entry.Serial); err != nil {
		t.Fatal(err)
	}
	g := get(t, r.url+"/crl/default-issuer-1.crl")
	list, err := x509.ParseRevocationList(g.body)
	if err != nil || list.CheckSignatureFrom(r.issuer) != nil || len(list.RevokedCertificateEntries) != 1 || g.header.Get("Content-Type") != "application/pkix-crl" {
		t.Fatalf("%v %v", err, g.header)
	}
	if other := get(t, r.url+"/crl/default.crl"); !bytes.Equal(other.body, g.body) {
		t.Error("the list of the issuing CA differs")
	}
	text := get(t, r.url+"/crl/default.pem")
	if lists, err := secret.ParseCRLs(text.body); err != nil || len(lists) != 1 || lists[0].Len() != 1 {
		t.Errorf("%v %s", err, text.body)
	}
	// A new number when half of its life is over, and after every revocation; not before.
	number := list.Number.Uint64()
	for _, step := range []struct {
		wait time.Duration
		want uint64
	}{{3 * day, number}, {day, number + 1}, {3 * day, number + 1}, {3 * day, number + 2}} {
		r.now.t = r.now.t.Add(step.wait)
		list, err := x509.ParseRevocationList(get(t, r.url+"/crl/default.crl").body)
		if err != nil || list.Number.Uint64() != step.want || r.now.t.After(list.NextUpdate) {
			t.Errorf("number %v at %s, want %d, %v", list.Number, r.now.t, step.want, err)
		}
	}
	if c, err := x509.ParseCertificate(get(t, r.url+"/ca/default-root-1.crt").body); err != nil || !bytes.Equal(c.Raw, must(pemBytes(mustBundle(t, r.Authority)))) {
		t.Error(err)
	}
	if c, err := x509.ParseCertificate(get(t, r.url+"/ca/default.crt").body); err != nil || !c.Equal(r.issuer) {
		t.Error(err)
	}
	if g := get(t, r.url+"/ca/default.pem"); !bytes.Equal(g.body, mustBundle(t, r.Authority)) {
		t.Errorf("%s", g.body)
	}
	for _, path := range []string{"/", "/crl/", "/crl/none.crl", "/crl/default-issuer-9.crl", "/ca/default-issuer-1.key", "/ca/..%2fdefault%2fissuer-1.key", "/ca/default", "/issuer-1.key", "/ocsp/", "/ocsp/%zz", "/ocsp/@@"} {
		if g := get(t, r.url+strings.ReplaceAll(path, "%zz", "!!")); g.status != http.StatusNotFound && g.status != http.StatusBadRequest || bytes.Contains(g.body, []byte("PRIVATE")) {
			t.Errorf("%s: %d %s", path, g.status, g.body)
		}
	}
}

func pemBytes(b []byte) ([]byte, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, io.ErrUnexpectedEOF
	}
	return block.Bytes, nil
}

// Expired certificates leave the list, but not before a list after their end has named them.
func TestListsForgetWhatHasExpired(t *testing.T) {
	r := serve(t)
	if _, err := r.Revoke(t.Context(), "", r.leaf.Entry.Serial); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   time.Time
		want int
	}{{r.leaf.Certificate.NotAfter.Add(-time.Hour), 1}, {r.leaf.Certificate.NotAfter.Add(time.Hour), 1}, {r.leaf.Certificate.NotAfter.Add(8 * day), 0}} {
		r.now.t = c.at
		if l, err := r.PublishCRL(t.Context(), ""); err != nil || l.Entries != c.want {
			t.Errorf("at %s: %+v %v", c.at, l, err)
		}
	}
}

// An authority that cannot be opened takes nothing from the others, and one that is made later is found.
func TestServiceKeepsWhatWorks(t *testing.T) {
	dir := t.TempDir()
	create(t, ca.Dir(dir), ca.Setup{Key: ca.Ed25519}, ca.Options{})
	if err := os.MkdirAll(filepath.Join(dir, "bad"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bad", "authority.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := ca.NewService(t.Context(), ca.Dir(dir), ca.Options{})
	if err != nil || fmt.Sprint(s.Names()) != "[default]" {
		t.Fatal(s.Names(), err)
	}
	if _, err := s.Authority(t.Context(), "later"); err == nil {
		t.Error("there is none yet")
	}
	if _, _, err := ca.Create(t.Context(), ca.Dir(dir), "later", ca.Setup{Subject: must2("CN=Later"), Key: ca.Ed25519}, ca.Options{}); err != nil {
		t.Fatal(err)
	}
	if a, err := s.Authority(t.Context(), "later"); err != nil || a.Name() != "later" {
		t.Error(err)
	}
}

// Issuing, revoking, asking and listing go on beside each other, from two openings of one authority.
func TestBesideEachOther(t *testing.T) {
	t.Parallel()
	r := serve(t)
	other, err := ca.Open(t.Context(), ca.Dir(r.dir), "default", ca.Options{Now: r.now.now})
	if err != nil {
		t.Fatal(err)
	}
	path := r.url + "/ocsp/" + url.PathEscape(r.ask(t, crypto.SHA256))
	var wg sync.WaitGroup
	for _, a := range []*ca.Authority{r.Authority, other, r.Authority, other} {
		wg.Go(func() {
			for range 5 {
				out, _, err := a.Issue(t.Context(), ca.Request{Profile: ca.Client, Names: []string{"x.test"}})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := a.Revoke(t.Context(), "", out.Entry.Serial); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				if g := get(t, path); g.status != http.StatusOK {
					t.Errorf("status %d", g.status)
				}
				if _, err := a.List(ca.Filter{State: "revoked"}); err != nil {
					t.Error(err)
				}
				if _, err := a.Info(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	l, err := other.CRL(t.Context(), "")
	if err != nil || l.Entries != 20 || l.Number < 21 {
		t.Errorf("%+v %v", l, err)
	}
	if info, err := r.VerifyJournal(); err != nil {
		t.Error(info, err)
	}
}

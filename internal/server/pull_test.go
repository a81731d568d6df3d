package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/enroll"
	"github.com/hakone-gateway/hakone/internal/source/file"
	"github.com/hakone-gateway/hakone/test/testca"
)

// Switching keeps what a person has added, and the namespace of the certificate.
func TestSwitchKeepsTheSetting(t *testing.T) {
	dir := t.TempDir()
	managed := filepath.Join(dir, file.ManagedFile)
	old := "apiVersion: hakone.dev/v1alpha1\nkind: OriginPull\nmetadata: {name: p, namespace: edge, labels: {team: shop}, annotations: {example.com/why: \"a: \\\"b\\\"\", hakone.dev/uploaded-on: 2026-01-02T03:04:05Z}}\n" +
		"spec: {displayName: of the shop, hosts: [a.test], enabled: true, certificateRef: {name: of-the-shop, namespace: certs}}\n"
	if err := os.WriteFile(managed, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, enabled := range []bool{false, true} {
		pulls, err := OpenPulls(t.Context(), []string{dir}, "edge")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pulls.Switch(admin.PullSwitch{Host: "a.test", Enabled: enabled}); err != nil {
			t.Fatal(err)
		}
		if pulls, err = OpenPulls(t.Context(), []string{dir}, "edge"); err != nil {
			t.Fatal(err)
		}
		all := pulls.Set.OriginPulls()
		if len(all) != 1 {
			t.Fatalf("%d settings", len(all))
		}
		o := all[0]
		if o.Spec.CertificateRef == nil || o.Spec.CertificateRef.Namespace != "certs" || o.Spec.CertificateRef.Name != "of-the-shop" || *o.Spec.Enabled != enabled || o.Spec.DisplayName != "of the shop" ||
			o.Labels["team"] != "shop" || o.Annotations["example.com/why"] != `a: "b"` || o.Annotations["hakone.dev/uploaded-on"] != "2026-01-02T03:04:05Z" {
			t.Errorf("%v: %+v %+v", enabled, o.Meta, o.Spec)
		}
	}
}

// A request may hold the largest upload.
func TestTheLargestUploadFits(t *testing.T) {
	b, err := json.Marshal(admin.PullUpload{Zone: strings.Repeat("a", 253), Host: strings.Repeat("a", 253), Body: make([]byte, enroll.MaxUpload)})
	if err != nil || len(b) > maxPullBody {
		t.Errorf("%d bytes, %d are taken: %v", len(b), maxPullBody, err)
	}
	for _, e := range (&process{}).pullEndpoints() {
		if e.Secret && e.MaxBody != maxPullBody {
			t.Errorf("%s takes %d bytes", e.Pattern, e.MaxBody)
		}
	}
}

// A setting that is there keeps what the upload does not speak of.
func TestUploadKeepsTheSetting(t *testing.T) {
	dir := t.TempDir()
	managed := filepath.Join(dir, file.ManagedFile)
	old := "apiVersion: hakone.dev/v1alpha1\nkind: OriginPull\nmetadata: {name: origin-pull-host-a.test, namespace: edge}\n" +
		"spec: {displayName: of the shop, hosts: [a.test], enabled: true, certificateRef: {name: of-the-shop}}\n"
	if err := os.WriteFile(managed, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	client := testca.New(t, testca.Spec{}).Issue(testca.Spec{CommonName: "edge"})
	body, err := json.Marshal(map[string]string{"certificate": string(client.CertPEM()), "private_key": string(client.KeyPEM())})
	if err != nil {
		t.Fatal(err)
	}
	pulls, err := OpenPulls(t.Context(), []string{dir}, "edge")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pulls.Upload(admin.PullUpload{Host: "a.test", Body: body}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(managed)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`displayName: "of the shop"`, "enabled: true", "name: origin-pull-host-a.test}"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

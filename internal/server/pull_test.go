package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/internal/admin"
	"github.com/hakone-gateway/hakone/internal/source/file"
	"github.com/hakone-gateway/hakone/test/testca"
)

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

package gatewayapi

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/hakone-gateway/hakone/internal/source/manifest"
	"github.com/hakone-gateway/hakone/internal/translate"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sections are what a golden file holds beside its input.
var sections = []string{"fragment", "status", "diagnostics"}

// TestGolden reads each testdata/*.txtar: a sentence on the rule with a link to the specification,
// input.yaml, and what comes of it. Placeholders such as ${httpbin.crt} stand for the base64 of
// certificates that are the same in every run.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d goldens, %v", len(files), err)
	}
	for _, file := range files {
		name, isGolden := strings.CutSuffix(filepath.Base(file), ".txtar")
		if !isGolden {
			t.Errorf("%s is no golden", file)
			continue
		}
		t.Run(name, func(t *testing.T) { golden(t, file) })
	}
}

func golden(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if c := string(archive.Comment); !strings.Contains(c, "https://") {
		t.Error("the golden has no sentence on its rule with a link to the specification")
	}
	texts, want := map[string]string{}, map[string]string{}
	ctx := testContext()
	var inputs []txtar.File
	for _, f := range archive.Files {
		switch {
		case slices.Contains(sections, f.Name):
			want[f.Name] = string(f.Data)
			continue
		case f.Name == "complete": // the set is all there is, as in a cluster
			ctx.Complete = true
		case strings.HasSuffix(f.Name, ".yaml"):
			texts[f.Name] = fillIn(string(f.Data))
		default:
			t.Errorf("%s: section %q is of no use", file, f.Name)
		}
		inputs = append(inputs, f)
	}
	set, bad := manifest.Set(texts)
	for _, d := range bad {
		t.Errorf("the input is at fault: %s", d)
	}
	fragment, status := Translate(set, ctx, nil)
	again, _ := Translate(set, ctx, nil)
	got := map[string]string{"fragment": dumpFragment(t, fragment), "status": dumpStatus(status), "diagnostics": ""}
	if got["fragment"] != dumpFragment(t, again) {
		t.Error("two translations of one set differ")
	}
	for _, d := range fragment.Diagnostics {
		got["diagnostics"] += d.String() + "\n"
	}
	for _, s := range sections {
		if strings.Contains(got[s], "PRIVATE KEY") {
			t.Errorf("%s shows a key", s)
		}
	}
	if *update {
		for _, s := range sections {
			inputs = append(inputs, txtar.File{Name: s, Data: []byte(got[s])})
		}
		archive.Files = inputs
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, s := range sections {
		if got[s] != want[s] {
			t.Errorf("%s\n%s\nwant\n%s", s, got[s], want[s])
		}
	}
}

func testContext() translate.Context {
	return translate.Context{
		Namespace: "istio-system", AssumeClasses: []string{"istio", "hakone"}, ControllerName: "hakone.dev/gateway-controller",
		EndpointFlags: map[string][]string{"httpbin.default:8000": {"127.0.0.1:8000"}, "helloworld.default:5000": {"127.0.0.1:5000"}},
	}
}

func dumpFragment(t *testing.T, f *translate.Fragment) string {
	var b strings.Builder
	line := func(format string, v any) {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, format, withoutOrigin(data))
	}
	for _, l := range f.Listeners {
		fmt.Fprintf(&b, "listener %s on %q port %d, %s %s\n", l.Chain.Name, l.Bind, l.Port, l.Chain.Origin, l.Section)
		line("  hosts %s\n", l.Chain.Hosts)
		if l.Refused != "" {
			fmt.Fprintf(&b, "  refused: %s\n", l.Refused)
			continue
		}
		if l.TLS {
			line("  tls %s\n", l.Chain.TLS)
			fmt.Fprintf(&b, "  client authentication from %s\n", l.Chain.TLS.ClientAuth.Origin)
		}
		for _, v := range l.Chain.VirtualHosts {
			fmt.Fprintf(&b, "  host %s\n", v.Hosts[0])
			for _, r := range v.Routes {
				line("    %s\n", r)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Upstreams)) {
		line("upstream %s", f.Upstreams[name])
		line(" %s\n", f.Endpoints[name])
	}
	for _, ref := range slices.Sorted(maps.Keys(f.Secrets)) {
		c := f.Secrets[ref]
		if c.Pair != nil {
			fmt.Fprintf(&b, "secret %s: %s %s\n", ref, c.Pair.KeyType(), c.Pair.Fingerprint)
		} else {
			fmt.Fprintf(&b, "secret %s: none, %s %s\n", ref, c.Code, c.Detail)
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(f.Trust)) {
		c := f.Trust[ref]
		if c.Bundle != nil {
			fmt.Fprintf(&b, "trust %s: %d anchors, %s\n", ref, c.Bundle.Len(), c.Bundle.Digest)
		} else {
			fmt.Fprintf(&b, "trust %s: none, %s %s\n", ref, c.Code, c.Detail)
		}
	}
	return b.String()
}

// withoutOrigin removes origins from JSON: positions in the input say more, and diagnostics show them.
func withoutOrigin(data []byte) string {
	origin := regexp.MustCompile(`"origin":\{"object":\{[^{}]*\}(,"field":"[^"]*")?\},?`)
	return strings.ReplaceAll(origin.ReplaceAllString(string(data), ""), ",}", "}")
}

func dumpStatus(s *Status) string {
	var b strings.Builder
	conditions := func(indent string, list []Condition) {
		for _, c := range list {
			fmt.Fprintf(&b, "%s%s=%t %s %s %s\n", indent, c.Type, c.True, c.Reason, c.Code, c.Message)
		}
	}
	for _, c := range s.Classes {
		fmt.Fprintln(&b, c.Object)
		conditions("  ", []Condition{c.Accepted})
	}
	for _, g := range s.Gateways {
		fmt.Fprintf(&b, "%s %s\n", g.Object, g.Address)
		conditions("  ", g.Conditions)
		for _, l := range g.Listeners {
			fmt.Fprintf(&b, "  listener %s kinds %v attached %d serves %t\n", l.Name, l.SupportedKinds, l.AttachedRoutes, l.Serves)
			conditions("    ", l.Conditions)
		}
	}
	for _, r := range s.Routes {
		fmt.Fprintln(&b, r.Object)
		for _, p := range r.Parents {
			fmt.Fprintf(&b, "  parent %s/%s section %q port %d\n", deref(p.Ref.Namespace), p.Ref.Name, deref(p.Ref.SectionName), deref(p.Ref.Port))
			conditions("    ", p.Conditions)
		}
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

// fillIn replaces ${NAME.crt} and ${NAME.key} by the base64 of a certificate of the CA "ca" for
// NAME.example.com and of its key, and ${ca.crt} by that of the CA. Names that begin with "ed" have
// Ed25519 keys, others P-256.
func fillIn(text string) string {
	return regexp.MustCompile(`\$\{([a-z0-9-]+)\.(crt|key|pem)\}`).ReplaceAllStringFunc(text, func(p string) string {
		name, part, _ := strings.Cut(strings.Trim(p, "${}"), ".")
		cert, key := fixture(name)
		data := cert
		if part == "key" {
			data = key
		}
		if part == "pem" { // for block scalars of ConfigMaps
			return strings.ReplaceAll(strings.TrimSpace(string(data)), "\n", "\n    ")
		}
		return base64.StdEncoding.EncodeToString(data)
	})
}

// fixture makes a certificate that depends on its name alone.
func fixture(name string) (certPEM, keyPEM []byte) {
	key, ca := fixtureKey(name), strings.HasSuffix(name, "ca")
	sum := sha256.Sum256([]byte(name))
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(sum[:8]), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: from.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: ca,
	}
	issuer, issuerKey := &x509.Certificate{Subject: pkix.Name{CommonName: "ca"}}, fixtureKey("ca")
	if ca {
		template.KeyUsage = x509.KeyUsageCertSign
		issuer, issuerKey = template, key
	} else {
		template.DNSNames = []string{name + ".example.com"}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	der, err := x509.CreateCertificate(nil, template, issuer, key.Public(), issuerKey)
	if err != nil {
		panic(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func fixtureKey(name string) crypto.Signer {
	seed := sha256.Sum256([]byte("key of " + name))
	if strings.HasPrefix(name, "ed") {
		return ed25519.NewKeyFromSeed(seed[:])
	}
	seed[0] = 0 // below the order of the curve
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), seed[:])
	if err != nil {
		panic(err)
	}
	return key
}

func TestFixturesAreTheSameEachTime(t *testing.T) {
	for _, name := range []string{"httpbin", "edwards", "ca"} {
		a, _ := fixture(name)
		b, _ := fixture(name)
		if !bytes.Equal(a, b) {
			t.Errorf("two certificates for %s differ, so goldens cannot hold fingerprints", name)
		}
	}
}

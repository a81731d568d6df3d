//go:build e2e

package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hakone-gateway/hakone/test/gateway"
	"github.com/hakone-gateway/hakone/test/testca"
)

// TestShuffled serves the same documents from differently named files in different order: the snapshot
// is byte-equal.
func TestShuffled(t *testing.T) {
	t.Parallel()
	docs := shuffledDocuments(t)
	var first string
	for round := range 6 {
		rng := rand.New(rand.NewPCG(7, uint64(round)))
		rng.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
		files := map[string]string{}
		for i := 0; i < len(docs); {
			n := min(len(docs)-i, 1+rng.IntN(4))
			files[fmt.Sprintf("%s%d/%d.yaml", strings.Repeat("x", rng.IntN(3)), rng.IntN(100), round*100+i)] = strings.Join(docs[i:i+n], "---\n")
			i += n
		}
		g := gateway.Start(t, gateway.Options{Files: files, Endpoints: []string{"backend.default:8000=192.0.2.1:1", "canary.default:8000=192.0.2.2:1"}})
		r := g.Run("dump", "snapshot", "-o", "json")
		if r.Code != 0 || len(r.Out) < 1000 {
			t.Fatalf("dump: exit %d\n%s%s", r.Code, r.Out, r.Err)
		}
		if first == "" {
			first = r.Out
		}
		if r.Out != first {
			a, b := strings.Split(first, "\n"), strings.Split(r.Out, "\n")
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Fatalf("round %d: line %d of the snapshot differs:\n%s\n%s", round, i+1, a[i], b[i])
				}
			}
			t.Fatalf("round %d: the snapshot has %d lines instead of %d", round, len(b), len(a))
		}
	}
}

// shuffledDocuments are objects of both APIs with ties that only creation times decide: two routes with
// the same match, two gateways with the same host, and policies with the same target.
func shuffledDocuments(t *testing.T) []string {
	t.Helper()
	s := newSite(t, "a.test", "*.wild.test")
	var docs []string
	minute := 0
	add := func(text string) {
		for doc := range strings.SplitSeq(text, "---\n") {
			if strings.Contains(doc, "creationTimestamp: null") {
				doc = strings.Replace(doc, "creationTimestamp: null", fmt.Sprintf("creationTimestamp: \"2026-01-02T03:%02d:05Z\"", minute), 1)
			} else {
				doc = strings.Replace(doc, "metadata:\n", fmt.Sprintf("metadata:\n  creationTimestamp: \"2026-01-02T03:%02d:05Z\"\n", minute), 1)
			}
			minute++
			docs = append(docs, doc)
		}
	}
	add(document(t, "match", "istio.yaml"))
	add(strings.NewReplacer("name: gw\n", "name: kgw\n", "  hostname: \"a.test\"\n", "  hostname: \"k.test\"\n", "\"*.wild.test\"", "\"*.kwild.test\"", "\"a.test\"", "\"k.test\"",
		"one.wild.test", "one.kwild.test", "w.wild.test", "w.kwild.test").Replace(document(t, "match", "gatewayapi.yaml")))
	add(secretTLS("site", s.leaf))
	add(strings.Replace(document(t, "gatewayapi", "httpbin.yaml"), "name: httpbin\nspec", "name: tie\nspec", 1))
	add(routeAll("tie-1", "tie.wild.test", "backend"))
	add(routeAll("tie-2", "tie.wild.test", "canary"))
	add(strings.Replace(istioGateway(istioServer{host: "a.test", secret: "site"}), "name: gw", "name: rival", 1))
	for i, version := range []string{"1.2", "1.3"} {
		add(fmt.Sprintf("apiVersion: hakone.dev/v1alpha1\nkind: TLSPolicy\nmetadata:\n  name: tie-%d\nspec:\n  minVersion: %q\n  hosts:\n  - a.test\n", i, version))
	}
	add(testca.SecretYAML("istio-system", "unused", s.leaf.SecretData(testca.FormatGeneric, s.ca.CertPEM(), nil)))
	return docs
}

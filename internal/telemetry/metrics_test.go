package telemetry

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hakone-gateway/hakone/internal/diag"
)

func scrapeAs(m *Metrics, accept string) string {
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	return w.Body.String()
}

func TestMetricsAreOpenMetricsUnlessAskedOtherwise(t *testing.T) {
	m := NewMetrics(Sources{})
	for accept, open := range map[string]bool{"": true, "*/*": true, "application/openmetrics-text; version=1.0.0": true, "text/plain": false} {
		if got := strings.HasSuffix(scrapeAs(m, accept), "# EOF\n"); got != open {
			t.Errorf("Accept %q: OpenMetrics %v", accept, got)
		}
	}
}

func TestConfigMetrics(t *testing.T) {
	var s ConfigState
	m := NewMetrics(Sources{Config: func() ConfigState { return s }})
	if got := scrapeAs(m, ""); strings.Contains(got, "hakone_config_last_reload") {
		t.Errorf("before the first reload there is nothing to tell:\n%s", got)
	}
	s = ConfigState{Findings: map[Finding]int{{diag.Error, diag.SecretInvalid}: 2}, Kept: 3, Reloaded: time.UnixMilli(1700000000500)}
	got := scrapeAs(m, "")
	for _, want := range []string{`hakone_config_diagnostics{code="HK5105",severity="error"} 2`, "hakone_config_objects_kept 3",
		"hakone_config_last_reload_timestamp_seconds 1.7000000005e+09", "hakone_config_last_reload_success 0"} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

// described returns what is registered under our name: "name" → "label label".
func described(m *Metrics) map[string]string {
	ch := make(chan *prometheus.Desc)
	go func() { m.registry.Describe(ch); close(ch) }()
	name, labels := regexp.MustCompile(`fqName: "(hakone_[a-z0-9_]+)"`), regexp.MustCompile(`variableLabels: \{([^}]*)\}`)
	constant := regexp.MustCompile(`constLabels: \{([a-z]*)`)
	out := map[string]string{}
	for d := range ch {
		text := d.String()
		if n := name.FindStringSubmatch(text); n != nil {
			list := strings.ReplaceAll(labels.FindStringSubmatch(text)[1], ",", " ")
			out[n[1]] = strings.TrimSpace(constant.FindStringSubmatch(text)[1] + " " + list)
		}
	}
	return out
}

// docs/metrics.md has a row for every metric, with its labels, and names no other in its rules.
func TestMetricsAreDocumented(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := NewMetrics(Sources{})
	m.WatchRevocation(func() RevocationState { return RevocationState{} })
	m.WatchOrigins(func() OriginState { return OriginState{} })
	m.WatchEgress(func() EgressState { return EgressState{} })
	m.WatchMint(func() MintState { return MintState{} })
	m.WatchForward(func() ForwardState { return ForwardState{} })
	m.WatchLogStore(func() LogStoreState { return LogStoreState{} })
	registered := described(m)
	if len(registered) < 20 {
		t.Fatalf("only %v", registered)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(hakone_[a-z0-9_]+)` \\| [a-z]+ \\| ([^|]*) \\|").FindAllStringSubmatch(string(b), -1) {
		documented[row[1]] = strings.ReplaceAll(strings.NewReplacer("`", "", ",", "", "–", "").Replace(row[2]), "  ", " ")
	}
	for name, labels := range registered {
		if got, ok := documented[name]; !ok || strings.TrimSpace(got) != labels {
			t.Errorf("%s has labels %q, documented %q (%v)", name, labels, got, ok)
		}
	}
	for name := range documented {
		if _, ok := registered[name]; !ok {
			t.Errorf("%s is documented and does not exist", name)
		}
	}
	rules := strings.Count(string(b), "- alert: ")
	for _, name := range regexp.MustCompile(`hakone_[a-z0-9_]+`).FindAllString(string(b), -1) {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"), "_sum")
		if _, ok := registered[base]; !ok && !strings.HasSuffix(name, "_") {
			t.Errorf("%s is no metric", name)
		}
	}
	if rules < 3 {
		t.Error(fmt.Sprint("alert rules: ", rules))
	}
}

package translate

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"httpbin", "web", "app1", "helloworld"}
	for name, want := range map[string]string{"htpbin": "httpbin", "httpbni": "httpbin", "HTTPBin": "httpbin", "app2": "", "ap1": "app1",
		"api": "", "x": "", "helo-world": "helloworld", "": ""} {
		if got := Nearest(name, names); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := NearestOfAll("app2", names); got != "app1" {
		t.Errorf("digits aside: %q", got)
	}
}

func TestSuiteFixProposesNothingWeak(t *testing.T) {
	const other = "Write an IANA or OpenSSL name, one an item."
	for name, want := range map[string]string{
		"ECDHE-RSA-AES128-GCM-SHA265":             "Did you mean ECDHE-RSA-AES128-GCM-SHA256?",
		"ecdhe-ecdsa-aes256-gcm-sha38":            "Did you mean ECDHE-ECDSA-AES256-GCM-SHA384?",
		"TLS_ECDHE_RSA_WITH_AES_182_GCM_SHA256":   "Did you mean TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256?",
		"AES128-SA":                               other,
		"TLS_RSA_WITH_AES_128_CBC_SAH":            other,
		"X":                                       other,
		"ECDHE-RSA-SOMETHING-ELSE-ALTOGETHER-256": other,
	} {
		if got := SuiteFix(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

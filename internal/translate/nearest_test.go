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

package forward

import (
	"testing"

	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
)

// TestRegistryFindsWhatTheOrderedListHas compares the index with a walk over the list.
func TestRegistryFindsWhatTheOrderedListHas(t *testing.T) {
	var list []ir.KnownHost
	for _, x := range []struct {
		host string
		port uint16
	}{{"a.example.com", 443}, {"a.example.com", 80}, {"192.0.2.1", 8080}, {"2001:db8::1", 0}, {"*.b.example.com", 443}, {"*.example.com", 443}, {"*.example.com", 0}, {"*", 9}} {
		p, err := hostname.Parse(x.host)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, ir.KnownHost{Host: p, Port: x.port})
	}
	r := newRegistry(list)
	found := 0
	for _, host := range []string{"a.example.com", "x.b.example.com", "b.example.com", "x.y.b.example.com", "example.com", "192.0.2.1", "192.0.2.2", "2001:db8::1", "other.test", ""} {
		for _, port := range []uint16{9, 80, 443, 8080} {
			var want *ir.KnownHost
			for i := range list {
				if k := &list[i]; want == nil && (k.Port == 0 || k.Port == port) && k.Host.Match(host) {
					want = k
				}
			}
			if want != nil {
				found++
			}
			if got := r.find(host, port); got != want {
				t.Errorf("%s:%d: %v, want %v", host, port, got, want)
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d of the questions have an answer", found)
	}
}

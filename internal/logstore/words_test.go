package logstore

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A zone may be pasted with its port.
func TestZoneName(t *testing.T) {
	for in, want := range map[string]string{"a.test": "a.test", "A.test:8443": "a.test", " a.test. ": "a.test", "a.test.:443": "a.test", "[::1]:8443": "[::1]", "[::1]": "[::1]", "all": "all"} {
		if got := ZoneName(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// Each fault says what its own parameter may be, and only near names of fields are suggested.
func TestFaultsOfQueries(t *testing.T) {
	for query, want := range map[string]string{"start=soon": "Times", "end=x": "Times", "count=x": "Count", "sample=2": "Sample", "status=abc": "Status", "code=nope": "Codes", "kind=x": "Words", "start=1h&end=2h": "from start"} {
		v, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseQuery(v, time.Now())
		var bad *QueryError
		if !errors.As(err, &bad) || !strings.Contains(bad.Cause, want) || strings.Count(bad.Cause, ";") > 1 {
			t.Errorf("%s: %v, %+v", query, err, bad)
		}
	}
	for name, near := range map[string]bool{"Foo": false, "RayId2": true, "ClientIp": false, "ClientRequestHots": true, "zzzzzz": false} {
		_, err := ParseFields(name)
		if err != nil && strings.Contains(err.Error(), "did you mean") != near {
			t.Errorf("%s: %v", name, err)
		}
	}
}

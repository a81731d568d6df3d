package authz

import "testing"

func TestMisleads(t *testing.T) {
	for name, want := range map[string]bool{
		"X-Original-URL": true, "x-rewrite-url": true, "X_Original.Url": true, "Cf-Access-Jwt-Assertion": true, "cf_access_authenticated_user_email": true,
		"X-Original-URL2": false, "X-Original-Method": false, "Cf-Access": false, "Cf-Ray": false, "": false,
	} {
		if Misleads([]byte(name)) != want {
			t.Errorf("%q: want %v", name, want)
		}
	}
}

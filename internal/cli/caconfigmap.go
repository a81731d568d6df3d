package cli

import (
	"context"

	"github.com/hakone-gateway/hakone/internal/enroll"
)

// trustConfigMap writes the authority's trust bundle and the lists of all its CAs as one ConfigMap, for
// the caRefs of policies and Gateways. name is NAME or NAMESPACE/NAME; empty: hakone-ca-AUTHORITY.
func trustConfigMap(ctx context.Context, s Streams, a authority, at *authorityFlags, name string) error {
	object, err := enroll.ParseObjectName(firstOf(name, "hakone-ca-"+at.name), "default")
	if err != nil {
		return authorityFailure("--config-map cannot be used", err)
	}
	bundle, err := a.Bundle(ctx)
	if err != nil {
		return authorityFailure("the trust bundle cannot be made", err)
	}
	lists, err := a.CRLs(ctx)
	if err != nil {
		return authorityFailure("the lists cannot be made", err)
	}
	_, err = s.Out.Write(enroll.TrustConfigMap(object, bundle, lists))
	return err
}

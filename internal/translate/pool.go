package translate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/resource"
)

// PoolUpstream returns the name of the upstream that an OriginPool is. grpc asks for the one to which
// HTTP/2 is spoken although the pool does not say so, because a GRPCRoute leads to it.
func PoolUpstream(namespace, name string, grpc bool) string {
	name = "pool:" + namespace + "/" + name
	if grpc {
		name += "/grpc"
	}
	return name
}

// AbsentPool says that there is no OriginPool of a name, and what to do about it.
func AbsentPool(set *resource.Set, namespace, name string) (message, fix string) {
	key := resource.Key{Group: resource.GroupHakone, Kind: resource.KindOriginPool, Namespace: namespace, Name: name}
	if stands := set.Unaccepted(key); stands != "" {
		return fmt.Sprintf("OriginPool %s/%s %s", namespace, name, stands), "Mend what is reported there."
	}
	message, fix = fmt.Sprintf("there is no OriginPool %s/%s", namespace, name), "Create it, or correct the name."
	var names, elsewhere []string
	for _, p := range set.OriginPools() {
		switch {
		case p.Namespace == namespace:
			names = append(names, p.Name)
		case p.Name == name:
			elsewhere = append(elsewhere, p.Namespace)
		}
	}
	if near := Nearest(name, names); near != "" {
		return message, fmt.Sprintf("Did you mean %s?", near)
	}
	if len(elsewhere) > 0 {
		slices.Sort(elsewhere)
		message += "; one of this name is in " + strings.Join(elsewhere, ", ")
	}
	return message, fix
}

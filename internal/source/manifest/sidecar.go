package manifest

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// sidecarAnnotation returns what is to be said of a workload that has files mounted into its sidecar: there
// is none here, and CAs are read by reference.
func sidecarAnnotation(root *yaml.Node) (fault, bool) {
	for _, place := range []struct {
		path string
		node *yaml.Node
	}{
		{"metadata", child(root, "metadata")},
		{"spec.template.metadata", child(child(child(root, "spec"), "template"), "metadata")},
		{"spec.jobTemplate.spec.template.metadata", child(child(child(child(child(root, "spec"), "jobTemplate"), "spec"), "template"), "metadata")},
	} {
		annotations := child(place.node, "annotations")
		var name string
		line := 0
		eachEntry(annotations, func(key string, value *yaml.Node) {
			if name == "" && strings.HasPrefix(key, "sidecar.istio.io/userVolume") {
				name, line = key, value.Line
			}
		})
		if name != "" {
			return fault{code: diag.SidecarAnnotation, line: line, field: fmt.Sprintf("%s.annotations[%s]", place.path, name),
				message: fmt.Sprintf("%s mounts files into a sidecar, of which there is none here: CA certificates are read from Secrets and ConfigMaps by reference.", name),
				fix:     "Remove the annotation; name the Secret in caRef of an UpstreamProxy, or in credentialName of a DestinationRule."}, true
		}
	}
	return fault{}, false
}

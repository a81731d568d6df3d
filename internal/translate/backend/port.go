package backend

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// port is the port that a destination asks for.
type port struct {
	number   uint32
	name     string // of the Service's or ServiceEntry's port; empty if not known
	known    bool   // a Service or ServiceEntry declares the port
	protocol string // as declared, in lower case
	explicit bool   // by appProtocol
	entry    *resource.ServiceEntry
	target   uint32 // ServiceEntry's targetPort, or number
}

// declared is one port that could be meant.
type declared struct {
	number   uint32
	name     string
	protocol string
	explicit bool
	target   uint32
	entry    *resource.ServiceEntry
}

// port finds the port number of t. 0 means the only one.
func (r *Resolver) port(t target, number uint32, from ir.Origin) (port, *ir.Fault) {
	at := below(from, "port")
	all := declaredPorts(t)
	if number > 65535 {
		return port{}, r.fault(diag.DestinationInvalid, at, fmt.Sprintf("port %d is no port number", number), "Use 1 to 65535.").Fault
	}
	if number == 0 {
		if t.internal() && t.service == nil && len(t.entries) == 0 {
			message, fix, _ := r.absent(t)
			return port{}, r.fault(diag.DestinationInvalid, at, message+", so the destination must name a port", "Add port.number. "+fix).Fault
		}
		if len(all) != 1 {
			return port{}, r.fault(diag.DestinationInvalid, at, fmt.Sprintf("%s has %d ports, so the destination must name one%s", t, len(all), list(all)), "Add port.number.").Fault
		}
		number = all[0].number
	}
	for _, d := range all {
		if d.number == number {
			return port{number: number, name: d.name, known: true, protocol: d.protocol, explicit: d.explicit, entry: d.entry, target: d.target}, nil
		}
	}
	p := port{number: number, target: number}
	switch {
	case len(r.flagged(t, number, "")) > 0:
		return p, nil
	case t.service != nil && !(t.service.Spec.Type == corev1.ServiceTypeExternalName && len(all) == 0), t.service == nil && len(t.entries) > 0:
		return port{}, r.fault(diag.ServicePortMissing, at, fmt.Sprintf("%s has no port %d%s", t, number, list(all)), "Use one of its ports.").Fault
	case r.ctx.Complete && t.service == nil:
		if !t.internal() {
			return port{}, r.fault(diag.ServiceNotFound, from, fmt.Sprintf("%s does not exist", t), "Create it, or correct the name.").Fault
		}
		message, fix, _ := r.absent(t)
		return port{}, r.fault(diag.ServiceNotFound, from, message, fix).Fault
	}
	return p, nil
}

func declaredPorts(t target) []declared {
	var all []declared
	if t.service != nil {
		for _, p := range t.service.Spec.Ports {
			if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
				all = append(all, declared{number: uint32(p.Port), name: p.Name, protocol: serviceProtocol(p), explicit: p.AppProtocol != nil, target: uint32(p.Port)})
			}
		}
		return all
	}
	for _, e := range t.entries {
		for _, p := range e.Spec.Ports {
			if slices.ContainsFunc(all, func(d declared) bool { return d.number == p.GetNumber() }) {
				continue
			}
			d := declared{number: p.GetNumber(), name: p.GetName(), protocol: strings.ToLower(p.GetProtocol()), target: p.GetTargetPort(), entry: e}
			if d.target == 0 {
				d.target = d.number
			}
			if d.protocol == "" {
				d.protocol = prefix(p.GetName())
			}
			all = append(all, d)
		}
	}
	return all
}

// list names ports for a message.
func list(all []declared) string {
	if len(all) == 0 {
		return ""
	}
	var out []string
	for _, d := range all {
		s := fmt.Sprint(d.number)
		if d.name != "" {
			s += " (" + d.name + ")"
		}
		out = append(out, s)
	}
	return "; it has " + strings.Join(out, ", ")
}

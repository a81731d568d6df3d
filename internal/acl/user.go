package acl

import (
	"slices"
	"strings"
)

// users is proxy_auth: the verified user, any or some.
type users struct {
	any  bool
	fold bool
	set  map[string]struct{}
}

func makeUsers(b *builder, opts, values []string) matcher {
	u := &users{set: map[string]struct{}{}, fold: folds(opts)}
	u.add(b, values)
	return u
}

func (u *users) add(_ *builder, values []string) {
	for _, v := range values {
		if v == "REQUIRED" {
			u.any = true
			continue
		}
		if u.fold {
			v = strings.ToLower(v)
		}
		u.set[v] = struct{}{}
	}
}

func (u *users) match(f *Facts) verdict {
	if !f.Authenticated {
		return unauthenticated
	}
	if u.any {
		return yes
	}
	name := f.User
	if u.fold {
		name = strings.ToLower(name)
	}
	_, ok := u.set[name]
	return truth(ok)
}

// userPattern is proxy_auth_regex.
type userPattern struct{ *patterns }

func makeUserPattern(b *builder, opts, values []string) matcher {
	u := userPattern{&patterns{fold: folds(opts), get: func(f *Facts, have func(string) bool) bool { return have(f.User) }}}
	if i := slices.Index(values, "REQUIRED"); i >= 0 {
		values = append(slices.Clone(values[:i]), values[i+1:]...)
		values = append(values, ".")
	}
	u.add(b, values)
	return u
}

func (u userPattern) match(f *Facts) verdict {
	if !f.Authenticated {
		return unauthenticated
	}
	return u.patterns.match(f)
}

// encrypted is connections_encrypted.
type encrypted struct{}

func makeEncrypted(*builder, []string, []string) matcher { return encrypted{} }

func (encrypted) match(f *Facts) verdict { return truth(f.Encrypted) }

// steps is at_step.
type steps [4]bool

func makeSteps(b *builder, _, values []string) matcher {
	s := &steps{}
	s.add(b, values)
	return s
}

func (s *steps) add(b *builder, values []string) {
	for _, v := range values {
		switch v {
		case "SslBump1":
			s[1] = true
		case "SslBump2":
			s[2] = true
		case "SslBump3":
			s[3] = true
		default:
			b.fatal("use SslBump1, SslBump2 and SslBump3", "%q is no step", v)
		}
	}
}

func (s *steps) match(f *Facts) verdict { return truth(f.Step >= 1 && f.Step <= 3 && s[f.Step]) }

package native

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/ir"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// maxUsers bounds the users of one password file.
const maxUsers = 100_000

// authentication reads who may log in. One that asks and has no list closes the forward proxy: nobody could
// answer.
func (b *forwardBuilder) authentication() {
	s := b.s.Authentication
	if s == nil {
		return
	}
	const field = "spec.authentication"
	b.out.Realm = s.Realm
	if b.out.Realm == "" {
		b.out.Realm = b.out.Hostname
	}
	b.out.PasswordOK = b.duration(b.m, diag.ForwardProxyInvalid, field+".ttl", s.TTL, 0, defaultPasswordOK)
	if s.HtpasswdRef == nil {
		b.report(b.m, diag.MissingField, field+".htpasswdRef", "users are asked for a password, and there is no list of them", "Name the Secret with the password file (htpasswd -cB auth USER), or remove authentication.")
		b.close(diag.ForwardProxyInvalid, "authentication names no password file")
		return
	}
	to, fault := b.refer(b.m, s.HtpasswdRef, field+".htpasswdRef", resource.KindSecret)
	ref := ir.SecretRef(to.Namespace + "/" + to.Name)
	if s.HtpasswdRef.Key != "" {
		ref += ir.SecretRef("#" + s.HtpasswdRef.Key)
	}
	if fault != "" {
		ref = "denied:" + ref
		b.translator.out.Passwords[ref] = &ir.Passwords{Origin: ir.Origin{Object: b.m.Object(), Field: field + ".htpasswdRef"}, Fault: &ir.Fault{Code: diag.ProxyLoginInvalid, Detail: fault}}
	}
	if b.out.Passwords = ref; b.translator.out.Passwords[ref] == nil {
		b.translator.out.Passwords[ref] = b.passwords(to.Namespace, to.Name, s.HtpasswdRef.Key, field+".htpasswdRef")
	}
}

// passwords reads a password file.
func (b *forwardBuilder) passwords(namespace, name, key, field string) *ir.Passwords {
	out := &ir.Passwords{Origin: ir.Origin{Object: b.m.Object(), Field: field}}
	fail := func(message, fix string) *ir.Passwords {
		b.report(b.m, diag.ProxyLoginInvalid, field, message+"; nobody can log in", fix)
		out.Fault = &ir.Fault{Code: diag.ProxyLoginInvalid, Detail: message}
		return out
	}
	s := b.set.Secret(namespace, name)
	if s == nil {
		message, fix := b.noSecret(namespace, name)
		return fail(message, fix+fmt.Sprintf(": kubectl create -n %s secret generic %s --from-file=auth (for a folder with --dry-run=client -o yaml).", namespace, name))
	}
	out.Origin = ir.Origin{Object: s.Object()}
	keys := []string{key}
	if key == "" {
		keys = []string{"auth", ".htpasswd"}
	}
	var content []byte
	found := ""
	for _, k := range slices.Backward(keys) {
		if v, ok := s.Data[k]; ok {
			content, found = v, k
		}
	}
	if found == "" {
		return fail(fmt.Sprintf("%s has no entry %s", s.Object(), strings.Join(keys, " or ")), "Put the password file there, or name its entry with key.")
	}
	sum := sha256.Sum256(append([]byte("hakone htpasswd\x00"), content...))
	out.Digest = hex.EncodeToString(sum[:8])
	out.Users = b.users(&s.Meta, "data["+found+"]", content)
	if len(out.Users) == 0 {
		return fail(fmt.Sprintf("%s has no user who can log in", s.Object()), "Add one: htpasswd -B FILE USER.")
	}
	return out
}

// users reads the lines of a password file: the first of a name counts. Hashes are never shown.
func (b *forwardBuilder) users(m *resource.Meta, field string, content []byte) map[string]secret.Bytes {
	out := map[string]secret.Bytes{}
	n := 0
	for text := range bytes.Lines(content) {
		n++
		text = bytes.TrimSpace(text)
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		user, hash, ok := bytes.Cut(text, []byte(":"))
		if !ok || len(user) == 0 || hasControl(user) {
			b.report(m, diag.PasswordEntryUnusable, field, fmt.Sprintf("line %d is not USER:HASH; it is left out", n), "Make the file with htpasswd -B.")
			continue
		}
		if _, twice := out[string(user)]; twice {
			b.report(m, diag.PasswordEntryUnusable, field, fmt.Sprintf("user %q stands there twice; the first line counts", user), "Remove one of the two.")
			continue
		}
		hash, _, _ = bytes.Cut(hash, []byte(":")) // htdigest and passwd files have more
		if fault := hashFault(string(hash)); fault != "" {
			b.report(m, diag.PasswordEntryUnusable, field, fmt.Sprintf("user %q cannot log in: %s", user, fault), fmt.Sprintf("Set the password again: htpasswd -B FILE %s.", user))
			continue
		}
		if len(out) == maxUsers {
			b.report(m, diag.PasswordEntryUnusable, field, fmt.Sprintf("there are more than %d users; the rest is left out", maxUsers), "Split the file over several forward proxies.")
			break
		}
		out[string(user)] = secret.NewBytes(slices.Clone(hash))
	}
	return out
}

// hashFault says why a hash cannot be verified; "" if it can be.
func hashFault(hash string) string {
	parts := strings.Split(hash, "$")
	switch {
	case hash == "":
		return "there is no hash"
	case strings.HasPrefix(hash, "$2y$"), strings.HasPrefix(hash, "$2a$"), strings.HasPrefix(hash, "$2b$"):
		if len(hash) != 60 {
			return "the bcrypt hash is cut off"
		}
	case strings.HasPrefix(hash, "$5$"), strings.HasPrefix(hash, "$6$"):
		want := map[byte]int{'5': 43, '6': 86}[hash[1]]
		if len(parts) < 4 || len(parts) > 5 || len(parts[len(parts)-1]) != want || len(parts) == 5 && !strings.HasPrefix(parts[2], "rounds=") {
			return "the SHA-crypt hash is cut off"
		}
	case strings.HasPrefix(hash, "$apr1$"):
		if len(parts) != 4 || len(parts[3]) != 22 {
			return "the apr1 hash is cut off"
		}
	case strings.HasPrefix(hash, "{SHA}"):
		if v, err := base64.StdEncoding.DecodeString(hash[5:]); err != nil || len(v) != 20 {
			return "the {SHA} hash is cut off"
		}
	case strings.HasPrefix(hash, "$"), strings.HasPrefix(hash, "{"):
		return "the hash is of a scheme that is not verified here"
	case len(hash) == 13:
		return "it has the length of a DES crypt hash, which looks at eight characters and is not verified here"
	default:
		return "there is no hash but, by its looks, the password itself"
	}
	return ""
}

package ca

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hakone-gateway/hakone/internal/diag"
)

const (
	secretPrefix   = "hakone-ca-"
	secretSuffix   = ".yaml"
	secretMax      = 1 << 20   // what Kubernetes allows, of all values together
	journalPart    = 512 << 10 // of the journal in one Secret, so that the rest has room too
	journalParts   = 64        // Secrets that a journal may spread over
	labelAuthority = "hakone.dev/authority"
)

// SecretStore is a folder of Kubernetes Secret manifests. The Secret hakone-ca-NAME holds an authority:
// entries of the journal beyond its first 512 KiB are in hakone-ca-NAME.journal-1 and so on, up to 64
// Secrets, which is enough for about 15,000 certificates. Files have mode 0600. Create it with Secrets.
type SecretStore struct{ folder, namespace string }

// Secrets returns the store of Secret manifests in a folder, which need not exist yet.
func Secrets(folder, namespace string) *SecretStore { return &SecretStore{folder, namespace} }

// String returns the folder and the namespace.
func (s *SecretStore) String() string {
	return fmt.Sprintf("Secrets of namespace %s in %s", s.namespace, s.folder)
}

// object returns the name of the Secret that holds part n of an authority's journal; part 0 holds
// everything else too.
func (s *SecretStore) object(authority string, n int) string {
	if n == 0 {
		return secretPrefix + authority
	}
	return fmt.Sprintf("%s%s.journal-%d", secretPrefix, authority, n)
}

func (s *SecretStore) file(authority string, n int) string {
	return filepath.Join(s.folder, s.object(authority, n)+secretSuffix)
}

// Authorities implements Store.
func (s *SecretStore) Authorities() ([]string, error) {
	list, err := os.ReadDir(s.folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, broken(err, "the folder %s cannot be read", s.folder)
	}
	var out []string
	for _, e := range list {
		name, ok := strings.CutSuffix(e.Name(), secretSuffix)
		if !ok {
			continue
		}
		if name, ok = strings.CutPrefix(name, secretPrefix); ok && checkName(name) == nil {
			out = append(out, name)
		}
	}
	return out, nil
}

// read returns the data of one Secret, or nil if there is none.
func (s *SecretStore) read(authority string, n int) (map[string][]byte, error) {
	path := s.file(authority, n)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, broken(err, "the Secret in %s cannot be read", path)
	}
	var m struct {
		Kind       string            `yaml:"kind"`
		Data       map[string]string `yaml:"data"`
		StringData map[string]string `yaml:"stringData"`
	}
	if err := yaml.Unmarshal(b, &m); err != nil {
		// The parser's error may quote the file.
		return nil, fail(diag.AuthorityStore, "Restore the file from a backup.", "%s is no YAML", path)
	}
	if m.Kind != "Secret" {
		return nil, fail(diag.AuthorityStore, "Restore the file from a backup, or give another folder.", "%s holds a %q, not a Secret", path, m.Kind)
	}
	out := map[string][]byte{}
	for k, v := range m.Data {
		d, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			return nil, fail(diag.AuthorityStore, "Restore the file from a backup.", "%s: data[%s] is no base64", path, k)
		}
		out[k] = d
	}
	for k, v := range m.StringData {
		out[k] = []byte(v)
	}
	return out, nil
}

// write replaces one Secret.
func (s *SecretStore) write(authority string, n int, data map[string][]byte) error {
	size := 0
	for _, v := range data {
		size += len(v)
	}
	if size > secretMax {
		return fail(diag.AuthorityStoreFull, "Keep the authority in a directory (--ca-dir); it has no such bound.",
			"the Secret %s would hold %d bytes, and Kubernetes allows %d", s.object(authority, n), size, secretMax)
	}
	var b bytes.Buffer
	b.WriteString("apiVersion: v1\nkind: Secret\nmetadata:\n")
	fmt.Fprintf(&b, "  name: %s\n  namespace: %s\n  labels:\n    %s: %q\ntype: Opaque\ndata:\n", s.object(authority, n), s.namespace, labelAuthority, authority)
	for _, k := range slices.Sorted(maps.Keys(data)) {
		fmt.Fprintf(&b, "  %s: %q\n", k, base64.StdEncoding.EncodeToString(data[k]))
	}
	if err := replaceFile(s.file(authority, n), b.Bytes()); err != nil {
		return broken(err, "the Secret in %s cannot be written", s.file(authority, n))
	}
	return nil
}

// List implements Store.
func (s *SecretStore) List(authority string) ([]string, error) {
	data, err := s.read(authority, 0)
	delete(data, fileJournal)
	return slices.Sorted(maps.Keys(data)), err
}

// Get implements Store.
func (s *SecretStore) Get(authority, entry string) ([]byte, error) {
	data, err := s.read(authority, 0)
	if err != nil {
		return nil, err
	}
	b, ok := data[entry]
	if !ok {
		return nil, fmt.Errorf("%s in Secret %s: %w", entry, s.object(authority, 0), fs.ErrNotExist)
	}
	return b, nil
}

// Put implements Store.
func (s *SecretStore) Put(authority, entry string, data []byte) error {
	all, err := s.read(authority, 0)
	if err != nil {
		return err
	}
	if all == nil {
		all = map[string][]byte{}
	}
	all[entry] = data
	return s.write(authority, 0, all)
}

// parts returns the journal's parts, at least one.
func (s *SecretStore) parts(authority string) ([][]byte, error) {
	var out [][]byte
	for n := range journalParts {
		data, err := s.read(authority, n)
		if err != nil {
			return nil, err
		}
		if n > 0 && len(data[fileJournal]) == 0 {
			break
		}
		out = append(out, data[fileJournal])
	}
	return out, nil
}

// Journal implements Store.
func (s *SecretStore) Journal(authority string, from int64) (io.ReadCloser, error) {
	parts, err := s.parts(authority)
	if err != nil {
		return nil, err
	}
	all := bytes.Join(parts, nil)
	return io.NopCloser(bytes.NewReader(all[min(from, int64(len(all))):])), nil
}

// Append implements Store.
func (s *SecretStore) Append(authority string, at int64, data []byte) error {
	parts, err := s.parts(authority)
	if err != nil {
		return err
	}
	n := 0
	for ; n < len(parts)-1 && at > int64(len(parts[n])); n++ {
		at -= int64(len(parts[n]))
	}
	if at > int64(len(parts[n])) {
		return fail(diag.AuthorityStore, "Restore the Secrets from a backup.", "the journal in the Secrets of %q is shorter than it was", authority)
	}
	last := len(parts) - 1
	part := append(slices.Clip(parts[n][:at]), data...)
	if at > 0 && len(part) > journalPart {
		n, part = n+1, data
	}
	if n >= journalParts {
		return fail(diag.AuthorityStoreFull, "Keep the authority in a directory (--ca-dir); it has no such bound.", "the journal fills %d Secrets, and no more are used", journalParts)
	}
	// Later parts go first: a crash in between leaves a shorter journal, not one with a hole.
	for ; last > n; last-- {
		if err := os.Remove(s.file(authority, last)); err != nil {
			return broken(err, "the Secret in %s cannot be removed", s.file(authority, last))
		}
	}
	all := map[string][]byte{}
	if n == 0 {
		if all, err = s.read(authority, 0); err != nil {
			return err
		}
		if all == nil {
			all = map[string][]byte{}
		}
	}
	all[fileJournal] = part
	return s.write(authority, n, all)
}

// Mark implements Store.
func (s *SecretStore) Mark(authority string) (Mark, error) {
	var m Mark
	for n := range journalParts {
		st, err := os.Stat(s.file(authority, n))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return Mark{}, broken(err, "the Secret in %s cannot be looked at", s.file(authority, n))
		}
		m.Size += st.Size()
		m.Time = max(m.Time, st.ModTime().UnixNano())
	}
	return m, nil
}

// Exposed implements Store.
func (s *SecretStore) Exposed(authority string) []string {
	path := s.file(authority, 0)
	if st, err := os.Stat(path); err == nil && st.Mode().Perm()&0o077 != 0 {
		return []string{fmt.Sprintf("%s (mode %04o)", path, st.Mode().Perm())}
	}
	return nil
}

// Lock implements Store.
func (s *SecretStore) Lock(ctx context.Context, authority string) (func(), error) {
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return nil, broken(err, "the folder %s cannot be made", s.folder)
	}
	return lockFile(ctx, filepath.Join(s.folder, "."+s.object(authority, 0)+".lock"))
}

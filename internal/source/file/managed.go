package file

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/hakone-gateway/hakone/api/v1alpha1"
	"github.com/hakone-gateway/hakone/internal/resource"
	"github.com/hakone-gateway/hakone/internal/source/manifest"
)

// The files that Hakone writes into a configuration folder: one of mode 0600 for Secrets, and one for
// everything else.
const (
	ManagedFile    = "hakone-managed.yaml"
	ManagedSecrets = "hakone-managed-secrets.yaml"
)

// managedFile is one of the two.
type managedFile struct {
	name, header string
	mode         fs.FileMode // of a new file
}

func managed(secrets bool) managedFile {
	const rest = "Edit it if you like: objects that\n# hakone does not change are kept as they are.\n"
	if secrets {
		return managedFile{ManagedSecrets, "# Written by hakone (hakone origin pull, hakone origin enroll). It holds private keys. " + rest, 0o600}
	}
	return managedFile{ManagedFile, "# Written by hakone (hakone tls-version set, hakone origin pull). " + rest, 0o644}
}

// Document is the YAML of one object, with its key.
type Document struct {
	Key  resource.Key
	YAML []byte
}

// ErrReadOnly says that a configuration folder is not for writing: its file system or permissions
// forbid it, or it is a volume of Kubernetes, which would undo the change. Apply the object by other
// means.
var ErrReadOnly = errors.New("configuration folder is read-only")

// errLink says that something is a symbolic link, through which nothing is ever written.
var errLink = errors.New("it is a symbolic link")

// WriteManaged puts policies into the managed file of a folder, replacing those of the same name and
// namespace there and keeping everything else as it stands. The file is replaced in one step and is
// on disk when WriteManaged returns. The error wraps ErrReadOnly if the folder cannot be written.
func WriteManaged(dir string, policies ...*v1alpha1.TLSPolicy) error {
	var docs [][]byte
	replaced := map[resource.Key]bool{}
	for _, p := range policies {
		doc, err := Render(p)
		if err != nil {
			return err
		}
		docs = append(docs, doc)
		replaced[PolicyKey(p)] = true
	}
	return editManaged(dir, managed(false), replaced, docs)
}

// Replace puts objects into the managed files of a folder, replacing those of the same key there, and
// takes those of gone out. Secrets are written first and taken out last, so that no reference dangles. Each
// file is replaced in one step and is on disk when Replace returns. The error wraps ErrReadOnly if the
// folder cannot be written.
func Replace(dir string, docs []Document, gone ...resource.Key) error {
	out := [2]map[resource.Key]bool{{}, {}}
	var in [2][][]byte
	class := func(k resource.Key) int {
		if k.Kind == resource.KindSecret {
			return 1
		}
		return 0
	}
	for _, d := range docs {
		n := class(d.Key)
		out[n][d.Key], in[n] = true, append(in[n], d.YAML)
	}
	for _, k := range gone {
		out[class(k)][k] = true
	}
	order := []int{0, 1}
	if len(in[1]) > 0 {
		order = []int{1, 0}
	}
	for _, n := range order {
		if len(out[n]) == 0 {
			continue
		}
		if err := editManaged(dir, managed(n == 1), out[n], in[n]); err != nil {
			return err
		}
	}
	return nil
}

// RemoveManaged takes objects out of the managed file of a folder. What is not there is not missed.
func RemoveManaged(dir string, keys ...resource.Key) error {
	gone := map[resource.Key]bool{}
	for _, k := range keys {
		gone[k] = true
	}
	return editManaged(dir, managed(false), gone, nil)
}

// Managed returns the policy of a key in the managed file of a folder, or nil if there is none. The
// error wraps ErrReadOnly if the folder is not for us to read.
func Managed(dir string, key resource.Key) (*resource.TLSPolicy, error) {
	fail := func(err error) error {
		if readOnly(err) {
			err = fmt.Errorf("%w: %w", ErrReadOnly, err)
		}
		return fmt.Errorf("read %s in %q: %w", ManagedFile, dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fail(err)
	}
	defer root.Close()
	text, _, err := readManaged(root, managed(false))
	if err != nil {
		return nil, fail(err)
	}
	chunks, bad := manifest.Split(ManagedFile, text)
	if len(bad) > 0 {
		return nil, fail(errors.New(bad[0].Message))
	}
	parser := manifest.NewParser()
	var b resource.Builder
	for _, c := range chunks {
		parser.Parse(c).AddTo(&b, ManagedFile, c.Line, 0)
	}
	set, _ := b.Build()
	policy, _ := set.Lookup(key).(*resource.TLSPolicy)
	return policy, nil
}

// Render returns a policy as the YAML document that WriteManaged writes, for people who apply it by
// other means.
func Render(p *v1alpha1.TLSPolicy) ([]byte, error) {
	p = p.DeepCopy()
	p.APIVersion, p.Kind = v1alpha1.APIVersion, v1alpha1.KindTLSPolicy
	body := struct {
		APIVersion string                 `json:"apiVersion"`
		Kind       string                 `json:"kind"`
		Metadata   any                    `json:"metadata"`
		Spec       v1alpha1.TLSPolicySpec `json:"spec"`
	}{p.APIVersion, p.Kind, p.ObjectMeta, p.Spec}
	doc, err := yaml.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("render TLSPolicy %q: %w", p.Name, err)
	}
	return doc, nil
}

// PolicyKey returns the key under which a policy stands in the managed file.
func PolicyKey(p *v1alpha1.TLSPolicy) resource.Key {
	key := resource.Key{Group: resource.GroupHakone, Kind: resource.KindTLSPolicy, Namespace: p.Namespace, Name: p.Name}
	if key.Namespace == "" {
		key.Namespace = "default"
	}
	return key
}

// editManaged rewrites a managed file without the documents of gone, and with docs at its end.
func editManaged(dir string, file managedFile, gone map[resource.Key]bool, docs [][]byte) error {
	fail := func(err error) error {
		if readOnly(err) {
			return fmt.Errorf("write %s in %q: %w: %w", file.name, dir, ErrReadOnly, err)
		}
		return fmt.Errorf("write %s in %q: %w", file.name, dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fail(err)
	}
	defer root.Close()
	if _, err := root.Lstat("..data"); err == nil {
		return fail(fmt.Errorf("%w: the folder is a Kubernetes volume", ErrReadOnly))
	}
	unlock, err := lock(root)
	if err != nil {
		return fail(err)
	}
	defer unlock()
	old, mode, err := readManaged(root, file)
	if err != nil {
		return fail(err)
	}
	text := []byte(file.header)
	parser := manifest.NewParser()
	chunks, bad := manifest.Split(file.name, old)
	if len(bad) > 0 {
		return fail(errors.New(bad[0].Message))
	}
	for _, c := range chunks {
		if !holds(parser.Parse(c), gone) {
			text = appendDocument(text, c.Text)
		}
	}
	for _, doc := range docs {
		text = appendDocument(text, doc)
	}
	if err := replace(root, file.name, text, mode); err != nil {
		return fail(err)
	}
	return nil
}

// holds reports whether a document defines one of the keys.
func holds(p *manifest.Parsed, keys map[resource.Key]bool) bool {
	for _, k := range append(p.Keys(), p.Lost()...) {
		if keys[k] {
			return true
		}
	}
	return false
}

func appendDocument(text, doc []byte) []byte {
	text = append(text, "---\n"...)
	text = append(text, bytes.Trim(doc, "\r\n")...)
	return append(text, '\n')
}

// readManaged returns a managed file's content and mode; nothing and the mode of a new one if there is none.
func readManaged(root *os.Root, file managedFile) ([]byte, fs.FileMode, error) {
	info, err := root.Lstat(file.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, file.mode, nil
	case err != nil:
		return nil, 0, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, 0, errLink
	case !info.Mode().IsRegular():
		return nil, 0, errors.New("it is no regular file")
	case info.Size() > manifest.MaxFileSize:
		return nil, 0, fmt.Errorf("it is larger than %d MiB", manifest.MaxFileSize>>20)
	}
	text, err := root.ReadFile(file.name)
	mode := info.Mode().Perm()
	if file.name == ManagedSecrets {
		mode &^= 0o007 // a group may be meant to read keys, everybody never is
	}
	return text, mode, err
}

// replace writes a new file beside the managed one and renames it over.
func replace(root *os.Root, name string, text []byte, mode fs.FileMode) (err error) {
	tmp := fmt.Sprintf(".%s.%d-%d.tmp", strings.TrimSuffix(name, ".yaml"), os.Getpid(), time.Now().UnixNano())
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = root.Remove(tmp)
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := root.Rename(tmp, name); err != nil {
		return err
	}
	return syncDir(root)
}

// syncDir makes the rename durable.
func syncDir(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lock keeps other writers of the folder away until unlock, and gives up after five seconds.
func lock(root *os.Root) (unlock func(), err error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	for range 50 {
		if err = syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return func() { d.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	d.Close()
	return nil, fmt.Errorf("lock the folder: %w", err)
}

// readOnly reports whether err says that the folder is not for writing.
func readOnly(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, ErrReadOnly)
}

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

// ManagedFile is the name of the one file that Hakone writes into a configuration folder.
const ManagedFile = "hakone-managed.yaml"

const managedHeader = `# Written by hakone (hakone tls-version set). Edit it if you like: objects that
# hakone does not change are kept as they are.
`

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
	return editManaged(dir, replaced, docs)
}

// RemoveManaged takes objects out of the managed file of a folder. What is not there is not missed.
func RemoveManaged(dir string, keys ...resource.Key) error {
	gone := map[resource.Key]bool{}
	for _, k := range keys {
		gone[k] = true
	}
	return editManaged(dir, gone, nil)
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
	text, _, err := readManaged(root)
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

// editManaged rewrites the managed file without the documents of gone, and with docs at its end.
func editManaged(dir string, gone map[resource.Key]bool, docs [][]byte) error {
	fail := func(err error) error {
		if readOnly(err) {
			return fmt.Errorf("write %s in %q: %w: %w", ManagedFile, dir, ErrReadOnly, err)
		}
		return fmt.Errorf("write %s in %q: %w", ManagedFile, dir, err)
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
	old, mode, err := readManaged(root)
	if err != nil {
		return fail(err)
	}
	text := []byte(managedHeader)
	parser := manifest.NewParser()
	chunks, bad := manifest.Split(ManagedFile, old)
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
	if err := replace(root, text, mode); err != nil {
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

// readManaged returns the managed file's content and mode; nothing and 0644 if there is none.
func readManaged(root *os.Root) ([]byte, fs.FileMode, error) {
	info, err := root.Lstat(ManagedFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0o644, nil
	case err != nil:
		return nil, 0, err
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, 0, errLink
	case !info.Mode().IsRegular():
		return nil, 0, errors.New("it is no regular file")
	case info.Size() > manifest.MaxFileSize:
		return nil, 0, fmt.Errorf("it is larger than %d MiB", manifest.MaxFileSize>>20)
	}
	text, err := root.ReadFile(ManagedFile)
	return text, info.Mode().Perm(), err
}

// replace writes a new file beside the managed one and renames it over.
func replace(root *os.Root, text []byte, mode fs.FileMode) (err error) {
	tmp := fmt.Sprintf(".%s.%d-%d.tmp", strings.TrimSuffix(ManagedFile, ".yaml"), os.Getpid(), time.Now().UnixNano())
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
	if err := root.Rename(tmp, ManagedFile); err != nil {
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

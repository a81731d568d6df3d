package mint

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

// leafMagic begins a kept leaf. What follows: SHA-256 of all behind it, the entry's key, the key's ID, when a new
// one is wanted (Unix seconds), the DER.
const leafMagic = "HKLEAF1\n"

const leafHeader = len(leafMagic) + sha256.Size + sha256.Size + 16 + 8

// unfinishedAfter is how old a file is that was never finished.
const unfinishedAfter = time.Minute

// maxFile bounds what is read of a file.
const maxFile = 256 << 10

func (d *disk) path(k key) string {
	name := hex.EncodeToString(k[:])
	return filepath.Join(d.root, name[:2], name)
}

func (d *disk) keyPath(id [16]byte) string {
	return filepath.Join(d.root, "keys", hex.EncodeToString(id[:]))
}

func encodeLeaf(k key, m *made) []byte {
	der := m.pair.Leaf.Raw
	out := make([]byte, 0, leafHeader+len(der))
	out = append(out, leafMagic...)
	out = append(out, make([]byte, sha256.Size)...)
	out = append(out, k[:]...)
	out = append(out, m.key.id[:]...)
	out = binary.BigEndian.AppendUint64(out, uint64(m.renew.Unix()))
	out = append(out, der...)
	sum := sha256.Sum256(out[len(leafMagic)+sha256.Size:])
	copy(out[len(leafMagic):], sum[:])
	return out
}

// decodeLeaf reads what encodeLeaf wrote. The error says what is wrong with the file.
func (d *disk) decodeLeaf(k key, data []byte, by issuer) (*made, error) {
	if len(data) < leafHeader || !bytes.HasPrefix(data, []byte(leafMagic)) {
		return nil, errors.New("it is no kept certificate, or cut off")
	}
	body := data[len(leafMagic)+sha256.Size:]
	if sha256.Sum256(body) != [sha256.Size]byte(data[len(leafMagic):]) {
		return nil, errors.New("its checksum is wrong")
	}
	if key(body[:sha256.Size]) != k {
		return nil, errors.New("it is another entry's")
	}
	body = body[sha256.Size:]
	held, err := d.key([16]byte(body[:16]))
	if err != nil {
		return nil, fmt.Errorf("its key: %w", err)
	}
	renew := time.Unix(int64(binary.BigEndian.Uint64(body[16:])), 0)
	leaf, err := x509.ParseCertificate(body[24:])
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(leaf.RawIssuer, by.cert.RawSubject) {
		return nil, errors.New("another CA has signed it")
	}
	if pub, ok := held.signer.Public().(interface{ Equal(x crypto.PublicKey) bool }); !ok || !pub.Equal(leaf.PublicKey) {
		return nil, errors.New("its key is another one")
	}
	pair := secret.NewKeyPair(append([]*x509.Certificate{leaf}, by.chain...), held.signer)
	return &made{pair: pair, renew: renew, expires: leaf.NotAfter, key: held}, nil
}

// writeKey writes a key, unless that was done; before leaves that need it. It belongs to the goroutine that
// writes.
func (d *disk) writeKey(k *leafKey) error {
	if d.written[k.id] {
		return nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: "PRIVATE KEY", Headers: map[string]string{"Kind": k.kind, "Made": k.made.UTC().Format(time.RFC3339)}, Bytes: der}
	if err := place(d.keyPath(k.id), pem.EncodeToMemory(block)); err != nil {
		return err
	}
	d.written[k.id] = true
	return nil
}

// place writes a file that appears complete or not at all.
func place(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.new") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(os.Remove(f.Name())))
	}
	return nil
}

// key returns a key by its ID.
func (d *disk) key(id [16]byte) (*leafKey, error) {
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	if k := d.keys[id]; k != nil {
		return k, nil
	}
	k, err := readKey(d.keyPath(id))
	if err != nil {
		return nil, err
	}
	if k.id != id {
		return nil, errors.New("the file holds another key")
	}
	d.keys[id] = k
	return k, nil
}

// readKey reads a key file. Errors quote nothing of it.
func readKey(path string) (*leafKey, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("it is no PEM, or cut off")
	}
	signer, err := secret.ParseKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	made, err := time.Parse(time.RFC3339, block.Headers["Made"])
	if err != nil {
		return nil, errors.New("it does not say when it was made")
	}
	return newLeafKey(block.Headers["Kind"], signer, made)
}

// newestKey returns the key of a type that was made last; nil if there is none.
func (d *disk) newestKey(kind string) *leafKey {
	files, err := os.ReadDir(filepath.Join(d.root, "keys"))
	if err != nil {
		return nil
	}
	var newest *leafKey
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".new") {
			continue
		}
		k, err := readKey(filepath.Join(d.root, "keys", f.Name()))
		if err != nil || k.kind != kind {
			continue
		}
		if newest == nil || k.made.After(newest.made) {
			newest = k
		}
	}
	if newest != nil {
		d.keyMu.Lock()
		d.keys[newest.id] = newest
		d.keyMu.Unlock()
	}
	return newest
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// open makes and reads the folder, and sweeps what other CAs left.
func (d *disk) open(parent string) {
	if err := os.MkdirAll(d.root, 0o700); err != nil {
		d.fail(err)
		return
	}
	now := d.now()
	if err := os.Chtimes(d.root, now, now); err != nil {
		d.fail(err)
	}
	d.sweep(parent, now)
	d.index()
	d.evict(d.bound)
}

// sweep removes folders of CAs that are gone. Only what looks like one is touched.
func (d *disk) sweep(parent string, now time.Time) {
	folders, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, f := range folders {
		if _, err := hex.DecodeString(f.Name()); err != nil || len(f.Name()) != 32 || !f.IsDir() || f.Name() == filepath.Base(d.root) {
			continue
		}
		info, err := f.Info()
		if err == nil && now.Sub(info.ModTime()) > staleAfter {
			if err := os.RemoveAll(filepath.Join(parent, f.Name())); err != nil {
				d.log.Warn("the kept certificates of another CA cannot be removed", "code", diag.MintDiskUnusable, "path", f.Name(), "err", err)
			}
		}
	}
}

// index reads which leaves are kept, the oldest as the least recently used, and removes what writing left
// unfinished.
func (d *disk) index() {
	type found struct {
		kept
		at time.Time
	}
	var all []found
	shelves, err := os.ReadDir(d.root)
	if err != nil {
		d.fail(err)
	}
	for _, shelf := range shelves {
		dir := filepath.Join(d.root, shelf.Name())
		files, err := os.ReadDir(dir)
		if err != nil {
			continue // a file that is not ours
		}
		for _, f := range files {
			raw, err := hex.DecodeString(f.Name())
			info, statErr := f.Info()
			if strings.HasSuffix(f.Name(), ".new") {
				if statErr == nil && d.now().Sub(info.ModTime()) > unfinishedAfter { // else somebody is writing it
					d.remove(filepath.Join(dir, f.Name()))
				}
				continue
			}
			if statErr == nil && shelf.Name() == "keys" && d.now().Sub(info.ModTime()) > d.keyLife {
				d.remove(filepath.Join(dir, f.Name())) // no leaf of its time is of use any more
			}
			if err != nil || statErr != nil || len(raw) != sha256.Size {
				continue
			}
			all = append(all, found{kept{key(raw), blocks(info.Size())}, info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b found) int { return a.at.Compare(b.at) })
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range all {
		d.add(f.key, f.size)
	}
	d.ready = true
}

package mint

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hakone-gateway/hakone/internal/diag"
	"github.com/hakone-gateway/hakone/internal/secret"
)

const (
	queued     = 1024                // leaves that wait to be written; what comes beyond is not kept
	blockBytes = 4096                // what a file takes at least
	retryAfter = 30 * time.Second    // after a failed write
	staleAfter = 30 * 24 * time.Hour // folders of other CAs that nobody opened for so long are removed
)

// disk keeps leaves and their keys in a folder of their CA's, DiskPath/FINGERPRINT: keys in keys/ID, leaves in
// xx/KEY, mode 0600. One goroutine writes; files appear under their names only when they are complete, and a
// checksum tells those that a crash has cut. The zero value is not usable.
type disk struct {
	// Fixed after construction.
	root  string
	bound int64
	now   func() time.Time
	log   *slog.Logger
	jobs  chan job
	stop  context.CancelFunc
	done  chan struct{}

	keyLife time.Duration // how long keys may be of use

	written map[[16]byte]bool // keys that are there; owned by the goroutine that writes

	failing         atomic.Bool
	broken, dropped atomic.Uint64

	mu     sync.Mutex // guards the index
	files  map[key]*list.Element
	order  list.List // of *kept, the most recently used first
	bytes  int64
	ready  bool // the folder was read
	closed bool

	keyMu sync.Mutex // guards keys
	keys  map[[16]byte]*leafKey
}

// kept is a leaf in the index.
type kept struct {
	key  key
	size int64
}

// job is something to write.
type job struct {
	key  key
	leaf *made
}

// openDisk begins to keep leaves. The folder is made, read and swept on a goroutine of its own.
func openDisk(o Options, pair *secret.KeyPair) *disk {
	name := "none"
	if pair != nil {
		name = pair.Fingerprint[:32]
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &disk{root: filepath.Join(o.DiskPath, name), bound: o.DiskBytes, now: o.Now, log: o.Logger, jobs: make(chan job, queued),
		stop: stop, done: make(chan struct{}), files: map[key]*list.Element{}, keys: map[[16]byte]*leafKey{},
		written: map[[16]byte]bool{}, keyLife: o.KeyLife + o.Validity + 24*time.Hour}
	go d.run(ctx, o.DiskPath)
	return d
}

// close ends writing, after what waits is written.
func (d *disk) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.stop()
	<-d.done
}

// run is the goroutine that writes.
func (d *disk) run(ctx context.Context, parent string) {
	defer close(d.done)
	d.open(parent)
	var pause time.Time
	write := func(j job) {
		if now := d.now(); now.Before(pause) {
			d.dropped.Add(1)
			return
		}
		if err := d.write(j); err != nil {
			pause = d.now().Add(retryAfter)
			d.fail(err)
			return
		}
		if d.failing.Swap(false) {
			d.log.Info("made certificates are kept on disk again", "path", d.root)
		}
	}
	for {
		select {
		case j := <-d.jobs:
			write(j)
		case <-ctx.Done():
			for {
				select {
				case j := <-d.jobs:
					write(j)
				default:
					return
				}
			}
		}
	}
}

// fail tells, once per row of failures, that nothing can be kept.
func (d *disk) fail(err error) {
	d.dropped.Add(1)
	if !d.failing.Swap(true) {
		d.log.Warn("made certificates cannot be kept on disk", "code", diag.MintDiskUnusable, "path", d.root, "err", err)
	}
}

// write puts a leaf, and its key, in their places and keeps the bound.
func (d *disk) write(j job) error {
	data := encodeLeaf(j.key, j.leaf)
	size := blocks(int64(len(data)))
	if size > d.bound {
		return nil
	}
	d.evict(d.bound - size)
	if err := d.writeKey(j.leaf.key); err != nil {
		return err
	}
	if err := place(d.path(j.key), data); err != nil {
		return err
	}
	d.mu.Lock()
	d.add(j.key, size)
	d.mu.Unlock()
	return nil
}

// blocks returns what a file of so many bytes takes.
func blocks(size int64) int64 { return max((size+blockBytes-1)/blockBytes, 1) * blockBytes }

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// add enters a leaf as the most recently used. mu is held.
func (d *disk) add(k key, size int64) {
	d.forget(k)
	d.files[k] = d.order.PushFront(&kept{k, size})
	d.bytes += size
}

// forget takes a leaf out of the index. mu is held.
func (d *disk) forget(k key) {
	if at := d.files[k]; at != nil {
		d.bytes -= at.Value.(*kept).size
		d.order.Remove(at)
		delete(d.files, k)
	}
}

// evict removes the least recently used leaves until no more than bound bytes are left.
func (d *disk) evict(bound int64) {
	for {
		d.mu.Lock()
		last := d.order.Back()
		if d.bytes <= bound || last == nil {
			d.mu.Unlock()
			return
		}
		k := last.Value.(*kept).key
		d.forget(k)
		d.mu.Unlock()
		d.remove(d.path(k))
	}
}

// remove removes a file; one that cannot be removed is told.
func (d *disk) remove(path string) {
	if err := ignoreMissing(os.Remove(path)); err != nil {
		d.log.Warn("a kept certificate cannot be removed", "code", diag.MintDiskUnusable, "path", path, "err", err)
	}
}

// keep has a leaf written, unless too many wait.
func (d *disk) keep(k key, m *made) {
	d.keyMu.Lock()
	d.keys[m.key.id] = m.key
	d.keyMu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	select {
	case d.jobs <- job{k, m}:
	default:
		d.dropped.Add(1)
	}
}

// load returns a kept leaf; nil if there is none that is of use now.
func (d *disk) load(k key, by issuer, now time.Time) *made {
	d.mu.Lock()
	at := d.files[k]
	if at != nil {
		d.order.MoveToFront(at)
	}
	known := at != nil || !d.ready
	d.mu.Unlock()
	if !known {
		return nil
	}
	path := d.path(k)
	data, err := readSmall(path)
	if err != nil {
		return nil
	}
	m, err := d.decodeLeaf(k, data, by)
	if err != nil {
		d.broken.Add(1)
		d.log.Warn("a kept certificate is damaged and is made again", "code", diag.MintDiskEntryBroken, "path", path, "err", err)
	}
	if err != nil || !now.Before(m.renew) {
		d.mu.Lock()
		d.forget(k)
		d.mu.Unlock()
		d.remove(path)
		return nil
	}
	return m
}

// addStats adds what is known of the disk.
func (d *disk) addStats(s *Stats) {
	d.mu.Lock()
	s.DiskLeaves, s.DiskBytes = len(d.files), d.bytes
	d.mu.Unlock()
	s.DiskFailing, s.DiskBroken, s.DiskDropped = d.failing.Load(), d.broken.Load(), d.dropped.Load()
}

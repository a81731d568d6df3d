package mux

import "sync"

// Sizes of pooled memory in bytes.
const (
	readBuffer  = 32 << 10 // holds a frame of the default size and most of another
	writeBuffer = DefaultOutBytes + 8<<10
	smallChunk  = 2 << 10
	largeChunk  = 16 << 10
	keptBuffer  = 2 * writeBuffer // what grew beyond is left to the garbage collector
)

// The pools are shared by all connections, so that idle ones hold nothing.
var (
	readBuffers  = sync.Pool{New: func() any { return &buffer{b: make([]byte, readBuffer)} }}
	writeBuffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, writeBuffer)} }}
	smallChunks  = sync.Pool{New: func() any { return &chunk{b: make([]byte, smallChunk)} }}
	largeChunks  = sync.Pool{New: func() any { return &chunk{b: make([]byte, largeChunk)} }}
)

// buffer is bytes on their way in or out of a connection.
type buffer struct{ b []byte }

func putWriteBuffer(o *buffer) {
	if cap(o.b) <= keptBuffer {
		o.b = o.b[:0]
		writeBuffers.Put(o)
	}
}

// chunk holds a piece of a received body: b[r:w] has not been consumed.
type chunk struct {
	next *chunk
	r, w int
	b    []byte
}

// newChunk returns an empty chunk for n bytes or more to come.
func newChunk(n int) *chunk {
	if n <= smallChunk {
		return smallChunks.Get().(*chunk)
	}
	return largeChunks.Get().(*chunk)
}

func putChunk(k *chunk) {
	k.next, k.r, k.w = nil, 0, 0
	if len(k.b) == smallChunk {
		smallChunks.Put(k)
	} else {
		largeChunks.Put(k)
	}
}

// Package edge tests the edge with the built binary and real clients and origins: client certificates per
// host and path, origin pools, authenticated origin pull, our own authority, and logs that are pulled. The
// walk of the document is in seed3_test.go, on a network of its own; the rest is on loopback.
package edge

// Package logstore keeps records of requests and handshakes for a time and up to a size, and gives them
// back by time or by request ID: in files of compressed blocks, or in a small ring in memory.
//
// Store is a telemetry.Sink: whoever serves a request copies its record into a buffer, and one goroutine
// sorts, compresses and writes what is there at most a second later. Folder reads the files of a store,
// also while a process writes them. Query selects and renders records as Cloudflare's Logpull does, and
// Handler serves it over HTTP.
//
// The package refuses to know who may read, and how records came about. The layout of the files is in
// record.go, block.go and segment.go, what can be relied on in DESIGN.md. Begin reading at Store.
package logstore

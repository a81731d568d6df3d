// Package hostile attacks the built binary as hostile and slow peers do, each attack for a few seconds,
// while well-behaved clients keep asking over HTTP/1.1 and HTTP/2. It holds that none of their requests
// fails, that memory stays within a bound, that goroutines and connections fall back afterwards, and that
// the log and the metrics name the attack.
//
// The tests need the build tag e2e and $HAKONE_BIN. Begin reading at arena_test.go.
package hostile

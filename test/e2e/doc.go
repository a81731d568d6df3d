// Package e2e tests the built binary ($HAKONE_BIN) from outside, with real clients on loopback: the
// users' walks, every reason for which a handshake or request is refused, changes while it serves, and
// the commands. Build tag e2e; "make e2e" builds and runs.
//
// It knows nothing of the program's inside beyond codes and the corpus of requests. Begin reading at
// seed4_test.go.
package e2e

// Package interop runs published suites and real clients against the built binary: h2spec, the
// conformance suite of Connect, the interoperability tests of grpc-go, testssl.sh, sslscan, and seven TLS
// clients. Each test asserts how many checks ran, so that a suite that shrinks fails too.
//
// The tests need the build tag e2e and $HAKONE_BIN. Begin reading at fixture_test.go.
package interop

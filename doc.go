// Package hakone is the root of the module; it holds the test that keeps the architecture true.
// Read ARCHITECTURE.md, then cmd/hakone.
package hakone

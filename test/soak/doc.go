// Package soak has the tests that take minutes: ten thousand hosts with a certificate each, certificates
// that rotate under load, an authority that has issued 100,000, more clients than verdicts are remembered
// and revocation lists that are swapped under load, ten thousand policies, and the ordeals of the way out. "make soak" runs
// them; they print what they measure and fail only beyond bounds that hold on a slow machine.
package soak

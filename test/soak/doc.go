// Package soak has the tests that take minutes: ten thousand hosts with a certificate each, and
// certificates that rotate under load. "make soak" runs them; they print what they measure and fail
// only beyond bounds that hold on a slow machine.
package soak

// Package egress tests the way out with the built binary, Debian's Squid and real clients, each on a host of
// its own in a network namespace: a company's intercepting proxy whose CA only the gateway knows, the three
// ways in which workloads come to the gateway, Hakone in Squid's place, and Istio's objects for egress.
//
// Begin reading at seed2_test.go, the document's walk.
package egress

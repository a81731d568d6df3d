// Package passthrough tests connections that are not HTTP with the kernel's part in them: capture by nftables
// (redirect and tproxy) in a network namespace, and splice(2) under load. It needs root and nft.
//
// Begin reading at TestCapture.
package passthrough

// Command hakone is the TLS checkpoint of a network. It only hands signals and the exit code to
// package cli, which decides.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/hakone-gateway/hakone/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := cli.Execute(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	os.Exit(code)
}

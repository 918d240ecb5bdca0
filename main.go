// Tmnotes deploys Terramate stacks and remembers each result as a git note.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tmnotes/tmnotes/runner/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first one asks; where nobody listens the second one ends the process
	code := cli.Main(ctx, os.Args[1:], cli.Process())
	stop()
	os.Exit(code)
}
